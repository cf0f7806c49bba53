"""A registry that does its worst: every answer ends soon, in one clear line and the right class."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from podbuild.errors import CleanupError, PodbuildError
from podbuild.oci.client import RegistryClient
from podbuild.oci.delete.rest import RestClient
from podbuild.oci.manifest import MANIFEST_CAP, Descriptor, Manifest, MediaType
from podbuild.oci.names import Digest, Repository, Tag
from podbuild.oci.referrers import Referrers
from podbuild.oci.registry import RegistryStore
from podbuild.oci.store import BytesBlob, read_blob
from podbuild.oci.transport.endpoint import Conduct, Endpoint, Timeouts, WayOut
from podbuild.oci.transport.problem import Response
from podbuild.system.retry import Retry

DIGEST = Digest.of(b"x")
BLOB = Descriptor(media_type=MediaType.OCI_CONFIG, digest=DIGEST, size=100)
# Tight where an answer that never ends is the subject, ample where a busy machine must not matter.
AMPLE = Timeouts()
TIMEOUTS = Timeouts(connect=5, read=5, head=0.3, body=0.5, slow=100_000)
RETRY = Retry(attempts=2, sleep=lambda _seconds: None)

Say = Callable[[str], Iterator[bytes]]  # what goes over the wire for a path


@contextmanager
def serving(say: Say) -> Iterator[str]:
    """Answer each connection's first request by a script; give the host and port."""
    server = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def answer(client: socket.socket) -> None:
        with client, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = client.recv(65536)
                if not piece:
                    return
                head += piece
            for piece in say(head.split(b" ", 2)[1].decode()):
                if ended.is_set():
                    return
                client.sendall(piece)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                threading.Thread(target=answer, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.getsockname()[1]}"
    finally:
        ended.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def answer(
    body: bytes = b"", *headers: str, status: str = "200 OK", length: str | None = None
) -> bytes:
    count = str(len(body)) if length is None else length
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {count}", "Connection: close", *headers)
    return "\r\n".join((*lines, "", "")).encode() + body


def always(*pieces: bytes) -> Say:
    return lambda _path: iter(pieces)


def dripping(first: bytes, piece: bytes = b"x") -> Say:
    def say(_path: str) -> Iterator[bytes]:
        yield first
        while True:
            time.sleep(0.02)
            yield piece

    return say


def flooding(first: bytes) -> Say:
    return lambda _path: itertools.chain([first], itertools.repeat(b"x" * 65536))


def numbered(make: Callable[[int], bytes]) -> Say:
    numbers = itertools.count(1)
    return lambda _path: iter([make(next(numbers))])


def tag_page(number: int, tags: int) -> bytes:
    body = json.dumps({"tags": [f"t{number}-{each}" for each in range(tags)]}).encode()
    return answer(body, f'Link: </v2/a/tags/list?last={number}>; rel="next"')


DEEP = b"[" * 100_000
NESTED = b'{"manifests":' + b'[{"a":' * 400 + b"1" + b"}]" * 400 + b"}"
INDEX = f"Content-Type: {MediaType.OCI_INDEX}"
TYPE = f"Content-Type: {MediaType.OCI_MANIFEST}"
HUGE = "9" * 5000

ANSWERS: dict[str, Callable[[], Say]] = {
    "nothing": lambda: always(b""),
    "no http": lambda: always(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "dripping status": lambda: dripping(b"HTTP/1.1 2"),
    "dripping header": lambda: dripping(b"HTTP/1.1 200 OK\r\nX: "),
    "dripping headers": lambda: dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "endless continue": lambda: dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "dripping body": lambda: dripping(answer(length="100000000")),
    "dripping chunks": lambda: dripping(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"
    ),
    "dripping error": lambda: dripping(answer(length="60000", status="500 No")),
    "endless body": lambda: flooding(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"),
    "endless error": lambda: flooding(b"HTTP/1.1 404 No\r\nConnection: close\r\n\r\n"),
    "endless header": lambda: flooding(b"HTTP/1.1 200 OK\r\nX: "),
    "many headers": lambda: always(answer(b"{}", *(f"X-{each}: y" for each in range(5000)))),
    "length of 5000 digits": lambda: always(answer(b"{}", TYPE, length=HUGE)),
    "length that is none": lambda: always(answer(b"{}", TYPE, length="-5")),
    "length too long": lambda: always(answer(b"{}", TYPE, length="500")),
    "digest that is none": lambda: always(answer(b"{}", TYPE, "Docker-Content-Digest: sha256:x")),
    "digest of another": lambda: always(
        answer(b"{}", TYPE, f"Docker-Content-Digest: {Digest.of(b'other')}")
    ),
    "deep": lambda: always(answer(DEEP, INDEX)),
    "nested": lambda: always(answer(NESTED, INDEX)),
    "deep error": lambda: always(answer(DEEP, status="403 No")),
    "numbers": lambda: always(answer(b'{"tags":[1e400,NaN,-1],"manifests":[1e999]}', INDEX)),
    "long number": lambda: always(answer(b'{"tags":[' + HUGE.encode() + b"]}", INDEX)),
    "null": lambda: always(answer(b"null", INDEX)),
    "half a character": lambda: always(answer(b'{"tags":["\\ud800"],"errors":[{}]}', INDEX)),
    "no utf-8": lambda: always(answer(b"\xff\xfe{}", INDEX)),
    "gzip": lambda: always(answer(b"\x1f\x8b\x08" + bytes(200), "Content-Encoding: gzip")),
    "retry after": lambda: always(answer(b"", "Retry-After: 1e400", status="429 No")),
    "retry after digits": lambda: always(answer(b"", f"Retry-After: {HUGE}", status="429 No")),
    "retry after date": lambda: always(
        answer(b"", "Retry-After: Fri, 31 Dec 9999 23:59:59 -9999", status="503 No")
    ),
    "rate limit": lambda: always(
        answer(b"", "X-RateLimit-Remaining: 0", f"X-RateLimit-Reset: {HUGE}", status="403 No")
    ),
    "wait in message": lambda: always(
        answer(b'{"message":"retry-after: ' + b"9" * 400 + b'h"}', status="429 No")
    ),
    "redirects": lambda: always(answer(b"", "Location: /v2/again", status="307 Go")),
    "redirect nowhere": lambda: always(answer(b"", "Location: http://[::1", status="307 Go")),
    "challenge": lambda: always(
        answer(b"", 'WWW-Authenticate: Bearer realm="http://[x"', status="401 No")
    ),
    "challenge of commas": lambda: always(
        answer(b"", f"WWW-Authenticate: Bearer {',=' * 15000}", status="401 No")
    ),
    "endless pages": lambda: numbered(lambda number: tag_page(number, 1)),
    "endless empty pages": lambda: numbered(lambda number: tag_page(number, 0)),
}


def store(host: str, timeouts: Timeouts = TIMEOUTS) -> RegistryStore:
    client = RegistryClient(
        Endpoint(host=host, insecure=True),
        conduct=Conduct(retry=RETRY),
        network=WayOut(timeouts=timeouts),
    )
    return RegistryStore(client, Repository(host, "a"))


def rest(host: str) -> RestClient:
    return RestClient(
        f"http://{host}", conduct=Conduct(retry=RETRY), network=WayOut(timeouts=TIMEOUTS)
    )


_numbers = itertools.count()


def _another(page: Response) -> str:
    value = page.json()
    if not isinstance(value, dict) or "tags" not in value:
        raise CleanupError("no page")
    return f"/{next(_numbers)}"


def _asking(client: RestClient) -> Callable[[str], Response]:
    return lambda path: client.request("GET", path)


def _children(manifest: Manifest | None) -> object:
    return manifest and (manifest.children, manifest.config)


QUESTIONS: dict[str, Callable[[str], object]] = {
    "tags": lambda host: store(host).tags(),
    "head": lambda host: store(host).head(Tag("latest")),
    "manifest": lambda host: _children(store(host).manifest(Tag("latest"))),
    "config": lambda host: read_blob(store(host), BLOB),
    "has": lambda host: store(host).has_blob(BLOB),
    "put": lambda host: store(host).put_blob(BLOB, BytesBlob(b"x" * 100)),
    "push right": lambda host: store(host).check_push(),
    "referrers": lambda host: Referrers(store(host))(DIGEST),
    "api": lambda host: [
        page.json() for page in rest(host).pages("/a", _another, _asking(rest(host)))
    ],
}


def _failure(action: Callable[[], object]) -> PodbuildError | None:
    try:
        action()
    except PodbuildError as error:
        return error
    return None


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_ends_in_a_value_or_one_clear_line(name: str, question: str) -> None:
    began = time.monotonic()
    with serving(ANSWERS[name]()) as host:
        error = _failure(lambda: QUESTIONS[question](host))
    if error:
        assert error.exit_code in (4, 7, 9, 12), error
        assert "\n" not in error.message
        assert len(error.message) < 1000
    assert time.monotonic() - began < 300


@pytest.mark.parametrize("tags", [1, 0])
def test_endless_pages_of_tags_end_after_few(tags: int) -> None:
    asked = []

    def page(number: int) -> bytes:
        asked.append(number)
        return tag_page(number, tags)

    with serving(numbered(page)) as host, pytest.raises(PodbuildError, match="does not end"):
        store(host, AMPLE).tags()
    assert len(asked) < 200


def test_a_config_of_six_gigabytes_is_not_asked_for() -> None:
    asked = []

    def say(path: str) -> Iterator[bytes]:
        asked.append(path)
        yield answer()

    huge = Descriptor(media_type=MediaType.OCI_CONFIG, digest=DIGEST, size=6 << 30)
    with serving(say) as host, pytest.raises(PodbuildError, match="too many") as caught:
        read_blob(store(host, AMPLE), huge)
    assert caught.value.exit_code == 7
    assert asked == []
    assert huge.size > MANIFEST_CAP


@pytest.mark.parametrize(
    "life", ["1e400", "NaN", "-1", "0", '"soon"', "null", "true", "[]", HUGE[:400], "1e-300"]
)
def test_a_token_s_life_is_bounded(life: str) -> None:
    def say(path: str) -> Iterator[bytes]:
        if path.startswith("/token"):
            yield answer(f'{{"token":"t0ken-t0ken","expires_in":{life}}}'.encode())
        elif path.startswith("/v2/") and not seen:
            seen.append(path)
            realm = f'Bearer realm="http://{host}/token",service="s"'
            yield answer(b"", f"WWW-Authenticate: {realm}", status="401 No")
        else:
            yield answer(b'{"tags":["a"]}')

    seen: list[str] = []
    with serving(say) as host:
        assert store(host, AMPLE).tags() == (Tag("a"),)


@pytest.mark.parametrize("proxied", [False, True], ids=["TLS", "CONNECT"])
def test_a_handshake_that_drips_ends(proxied: bool) -> None:
    """One record of 16 kB, or a proxy's answer, a byte at a time."""
    server = socket.create_server(("127.0.0.1", 0))
    host = f"127.0.0.1:{server.getsockname()[1]}"

    def drip() -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                threading.Thread(target=spell, args=(client,), daemon=True).start()

    def spell(client: socket.socket) -> None:
        with client, suppress(OSError):
            client.sendall(b"HTTP/1.1 200 OK\r\nX: " if proxied else b"\x16\x03\x03\x40\x00\x02")
            while True:
                client.sendall(b"x")
                time.sleep(0.02)

    threading.Thread(target=drip, daemon=True).start()
    way = WayOut(timeouts=TIMEOUTS, proxies={"https": f"http://{host}"} if proxied else {})
    target = "registry.example" if proxied else host
    client = RestClient(f"https://{target}", conduct=Conduct(retry=RETRY), network=way)
    try:
        error = _failure(lambda: client.request("GET", "/"))
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
    assert error is not None
    assert "too slowly" in error.message
