"""Secrets in every form that tools print and renderers write them in."""

from __future__ import annotations

import base64
import html
import json
import secrets
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pytest

from podbuild.oci.names import Tag
from podbuild.report.markdown import text as markdown
from podbuild.system.redact import Redactor, logins_in

TOKEN = "ghp_Abcd1efGh2ijKLmnop_Qrst9UVwxyz"
PASSWORD = "Pa&ss<w>_*rd'1\"\\|~ö%2F"
KEY = (
    "-----BEGIN PRIVATE KEY-----\n"
    + "\n".join(textwrap.wrap(base64.b64encode(bytes(range(7, 256)) * 3).decode(), 64))
    + "\n-----END PRIVATE KEY-----\n"
)
SECRETS = (TOKEN, PASSWORD, KEY)


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    found = Redactor()
    for secret in SECRETS:
        found.add(secret)
    return found


def lower_percent(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


ENCODERS: tuple[Callable[[str], str], ...] = (
    lambda text: quote(text, safe=""),
    quote_plus,
    lambda text: quote(quote(text, safe=""), safe=""),
    lower_percent,
    lambda text: lower_percent(text).upper(),
    lambda text: text.encode().hex(),
    lambda text: text.encode().hex().upper(),
    lambda text: text.encode().hex(" "),
    lambda text: text.encode().hex(":"),
    lambda text: text.encode().hex(" ", 2),
    html.escape,
    escape,
    lambda text: "".join(f"&#{ord(sign)};" for sign in text),
    lambda text: "".join(f"&#x{ord(sign):X};" for sign in text),
    lambda text: html.escape(html.escape(text)),
    json.dumps,
    lambda text: json.dumps(json.dumps(text)),
    lambda text: json.dumps(html.escape(text)),
    lambda text: "".join(f"\\u{ord(sign):04x}" for sign in text),
    lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode("latin-1")),
    markdown,
    lambda text: markdown(html.escape(text)),
    lambda text: base64.b64encode(text.encode()).decode(),
    lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    lambda text: base64.b64encode(f"u:{text}".encode()).decode(),
    lambda text: base64.b64encode(f"me:{text}\n".encode()).decode(),
    lambda text: base64.encodebytes(text.encode()).decode(),
    "\x1b[31m".join,
    "\u200b".join,
)


@pytest.mark.parametrize("secret", SECRETS, ids=["token", "password", "key"])
@pytest.mark.parametrize("encode", ENCODERS)
def test_every_form_is_cut(redactor: Redactor, encode: Callable[[str], str], secret: str) -> None:
    form = encode(secret.strip())
    cut = redactor.cut(f"before {form} after")
    assert cut.startswith("before ")
    assert cut.endswith(" after")
    assert "***" in cut
    assert longest_common(cut, form) < 20, cut


@pytest.mark.parametrize("width", [1, 3, 4, 7, 10, 16, 19, 20, 33, 60, 64, 76])
@pytest.mark.parametrize(
    "encode",
    [lambda text: base64.b64encode(text.encode()).decode(), lambda text: text.encode().hex(), str],
    ids=["base64", "hex", "plain"],
)
@pytest.mark.parametrize("secret", [TOKEN, KEY], ids=["token", "key"])
def test_what_is_wrapped_at_any_width_is_cut_line_by_line(
    redactor: Redactor, secret: str, encode: Callable[[str], str], width: int
) -> None:
    form = "".join(encode(secret.strip()).split())
    lines = [form[at : at + width] for at in range(0, len(form), width)]
    found: list[str] = []
    stream = redactor.stream(found.append)
    for line in ("first", *lines, "", "last"):
        stream.take(line)
    stream.end()
    assert len(found) == len(lines) + 3
    assert (found[0], found[-2], found[-1]) == ("first", "", "last")
    assert longest_common("".join(found[1:-2]), form) < 20


@pytest.mark.parametrize("start", range(0, 400, 37))
def test_any_window_of_twenty_characters_is_cut(redactor: Redactor, start: int) -> None:
    for offset in range(3):
        form = base64.b64encode(b"x" * offset + KEY.encode()).decode()
        window = form[8 + start :][:20]
        assert redactor.cut(f"debug: {window}!") == "debug: ***!"


def test_a_secret_split_over_chunks_of_a_line_s_output_is_cut(redactor: Redactor) -> None:
    for at in range(1, len(TOKEN)):
        found: list[str] = []
        stream = redactor.stream(found.append)
        stream.take(f"token is {TOKEN[:at]}")
        stream.take(f"{TOKEN[at:]} it was")
        stream.end()
        assert found[0] == ("token is ***" if at > 1 else f"token is {TOKEN[0]}")
        assert found[1] == "*** it was", at


def test_a_line_that_begins_no_secret_is_written_at_once(redactor: Redactor) -> None:
    found: list[str] = []
    stream = redactor.stream(found.append)
    stream.take("STEP 1/3: FROM debian:13")
    assert found == ["STEP 1/3: FROM debian:13"]


@pytest.mark.parametrize(
    "text",
    [
        "STEP 4/9: RUN --mount=type=cache,target=/root/.cache pip install -r requirements.txt",
        f"sha256:{'0123456789abcdef' * 4}",
        "/usr/lib/python3/dist-packages/PrivateKeyInfo/BEGIN/METADATA",
        "https://github.com/acme/web@v1 and docker://r.example:5000/acme/web@sha256:1234",
        "100%|█████| 5/5 &amp; C:\\new\\table \\u00fc 12:34:56 00:11:22:33:44:55",
        "Basic authentication is required; the bearer token has expired",
        "git@github.com:acme/web.git ssh://git@host/x",
    ],
)
def test_ordinary_text_stays(redactor: Redactor, text: str) -> None:
    assert redactor.cut(text) == text


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("http://me:s3cret@proxy:3128/x", "http://***@proxy:3128/x"),
        ("socks5h://me:p@ss@proxy", "socks5h://***@proxy"),
        ("https://ghp_x@github.com/a", "https://***@github.com/a"),
        ("GET /a?x=1&private_token=abc&y=2", "GET /a?x=1&private_token=***&y=2"),
        ("> Authorization: Bearer abc.def", "> Authorization: Bearer ***"),
        ('"authorization": "Basic eHg6eXk="', '"authorization": "Basic ***"'),
    ],
)
def test_what_is_secret_by_its_place_is_cut_unknown(text: str, cut: str) -> None:
    assert Redactor().cut(text) == cut


@pytest.mark.parametrize(
    ("text", "logins"),
    [
        ("http://me:secret@proxy:3128", ["me:secret", "secret"]),
        ("http://me:a@b@proxy", ["me:a@b", "a@b"]),
        ("http://me:a/b@proxy", ["me:a/b", "a/b"]),
        ("http://me%40x:p%2Fq@proxy/", ["me%40x:p%2Fq", "p%2Fq", "me@x:p/q", "p/q"]),
        ("https://0123456789abcdef@github.com/a/b", ["0123456789abcdef"]),
        ("https://github.com/acme/web@v1", []),
        ("https://r.example:5000/acme/web@v1", []),
        ("ssh://git@github.com/a", []),
        ("/var/tmp,a@b", []),
    ],
)
def test_logins_of_urls(text: str, logins: list[str]) -> None:
    assert list(logins_in(text)) == logins


@dataclass(frozen=True)
class Part:
    text: str
    tag: Tag
    inner: tuple[Part, ...] = ()


def test_texts_of_values_are_cut_and_names_stay(redactor: Redactor) -> None:
    part = Part(f"is {TOKEN}", Tag("latest"), (Part(PASSWORD, Tag("a")), Part("x", Tag("b"))))
    cut = redactor.cut_value(part)
    assert cut == Part("is ***", Tag("latest"), (Part("***", Tag("a")), Part("x", Tag("b"))))


def test_a_whole_file_is_known_and_cut_in_pieces() -> None:
    found = Redactor()
    data = secrets.token_urlsafe(300_000)
    found.add(data)
    assert found.cut(f"x {data[70_000:70_064]} y") == "x *** y"
    assert found.cut(f"x {base64.b64encode(data.encode()).decode()[99_000:99_076]} y") == "x *** y"


def test_what_tools_dump_is_cut(redactor: Redactor) -> None:
    data = KEY.encode()
    rows = [data[at : at + 16].hex(" ") for at in range(0, len(data), 16)]  # od -An -tx1
    found: list[str] = []
    stream = redactor.stream(found.append)
    for row in rows:
        stream.take(f" {row}")
    stream.end()
    assert longest_common("".join(found).replace(" ", ""), data.hex()) < 20


def longest_common(one: str, other: str) -> int:
    """Give the length of the longest text in both; the judge knows nothing of forms.

    What a key's first and last line say is no secret.
    """
    for known in ("BEGIN PRIVATE KEY", "BEGINPRIVATEKEY", "END PRIVATE KEY", "ENDPRIVATEKEY"):
        one = one.replace(known, "\n")
    best = 0
    for first in range(len(one)):
        while one[first : first + best + 1] in other and first + best < len(one):
            best += 1
    return best
