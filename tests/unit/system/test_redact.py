from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbuild.oci.auth.credentials import Keyring
from podbuild.oci.names import Repository
from podbuild.system.process import Runner
from podbuild.system.records import JSONValue
from podbuild.system.redact import ORDINARY, Redactor
from podbuild.system.redact.forms import literals

SECRET = "gh_p4$ss/wörd+&x"


def redactor(*secrets: str) -> Redactor:
    found = Redactor()
    for secret in secrets:
        found.add(secret)
    return found


def test_secret_is_cut_wherever_it_stands() -> None:
    assert redactor(SECRET).cut(f"a {SECRET}, {SECRET}") == "a ***, ***"


@pytest.mark.parametrize(
    "form",
    [
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        quote(SECRET, safe=""),
        json.dumps(SECRET),
    ],
)
def test_encoded_forms_are_cut(form: str) -> None:
    cut = redactor(SECRET).cut(f"<{form}>")
    assert form.strip('"') not in cut
    assert "***" in cut


@pytest.mark.parametrize("user", ["", "u", "ab", "abc", "someone"])
def test_basic_authorization_does_not_give_the_secret_away(user: str) -> None:
    header = base64.b64encode(f"{user}:{SECRET}".encode()).decode()
    cut = redactor(SECRET).cut(header)
    assert "***" in cut
    kept = cut.split("***")[0]
    assert SECRET[:4].encode() not in base64.b64decode(kept + "=" * (-len(kept) % 4))


def test_the_longest_secret_wins() -> None:
    assert redactor("token-1", "token-1-and-more").cut("token-1-and-more token-1") == "*** ***"


def test_each_line_of_a_key_is_cut() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n"
    cut = redactor(key).cut("line MIIEvQIBADANBg\n-----BEGIN KEY-----")
    assert cut == "line ***\n-----BEGIN KEY-----"


def test_secret_read_from_a_file_is_found_without_its_line_end() -> None:
    assert redactor("s3cret-value\n").cut("is s3cret-value!") == "is ***!"


@pytest.mark.parametrize(
    "ordinary", ["", " ", "\n", "abcd", "true", "True", "none", "latest", "amd64"]
)
def test_short_values_and_ordinary_words_are_left_alone(ordinary: str) -> None:
    text = "true none latest linux/amd64 abcd and spaces"
    assert redactor(ordinary).cut(text) == text


def test_json_is_cut_inside_its_texts() -> None:
    value: JSONValue = {"a": [f"x{SECRET}", 1, None, True], SECRET: {"b": 1.5}}
    assert redactor(SECRET).cut_json(value) == {"a": ["x***", 1, None, True], "***": {"b": 1.5}}


def test_secrets_may_be_added_while_others_are_cut() -> None:
    shared = Redactor()

    def add(part: list[str]) -> None:
        for each in part:
            shared.add(each)

    secrets = [f"secret-number-{number}-end" for number in range(200)]
    threads = [
        threading.Thread(target=add, args=(part,)) for part in (secrets[:100], secrets[100:])
    ]
    for thread in threads:
        thread.start()
    for _ in range(50):
        shared.cut("secret-number-7-end")
    for thread in threads:
        thread.join()
    assert shared.cut(" ".join(secrets)) == " ".join(["***"] * 200)


@given(st.text(min_size=5), st.text(), st.text())
def test_no_secret_survives(secret: str, before: str, after: str) -> None:
    if len(secret.strip()) < 5 or secret.strip().lower() in ORDINARY or "***" in secret:
        return
    assert secret not in redactor(secret).cut(before + secret + after).replace("***", "")


def test_logins_are_cut_as_soon_as_they_are_found(tmp_path: Path) -> None:
    auth = base64.b64encode(b"someone:from-a-file").decode()
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({"auths": {"r.example": {"auth": auth}}}))
    environment = {"REGISTRY_AUTH_FILE": str(file), "PODBUILD_HUB_USERNAME": "someone"}
    environment["PODBUILD_HUB_TOKEN"] = "from-a-variable"
    known = Redactor()
    keyring = Keyring(environment=environment, runner=Runner(env={}), on_secret=known.add)
    keyring.find(Repository.parse("r.example/acme/web"))
    keyring.find(Repository.parse("hub.example/acme/web"), "hub")
    assert known.cut("from-a-file from-a-variable someone") == "*** *** someone"


@pytest.mark.timeout(60)
def test_a_signal_handler_that_speaks_meanwhile_waits_for_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It runs in the very thread that it interrupts."""
    redactor = Redactor()
    said: list[str] = []

    def interrupted(secret: str) -> Iterator[str]:
        monkeypatch.undo()
        said.append(redactor.cut("SIGTERM, and first-secret"))
        yield from literals(secret)

    monkeypatch.setattr("podbuild.system.redact.literals", interrupted)
    for secret in ("first-secret", "second-secret"):
        redactor.add(secret)
    assert redactor.cut("first-secret second-secret") == "*** ***"
    assert said == ["SIGTERM, and ***"]
