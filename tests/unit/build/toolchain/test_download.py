"""Downloads from servers that mean harm."""

from __future__ import annotations

import hashlib
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from podbuild.build.toolchain.download import Download, UnreachableError, fetch
from podbuild.oci.transport.endpoint import WayOut
from podbuild.system.retry import Retry
from tests.registries import make_authority

DATA = b"0123456789" * 1000
RETRY = Retry(attempts=2, sleep=lambda _seconds: None)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        moved = self.path.partition("/to")[2]
        if self.path.endswith("/gone") or moved:
            self.send_response(302 if moved else 404)
            self.send_header("Location", moved)
            self.end_headers()
            return
        begin = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(DATA) - begin))
        self.end_headers()
        if self.path.endswith("/whole"):
            self.wfile.write(DATA[begin:])
            return
        if self.path == "/breaking":
            self.wfile.write(DATA[begin : begin + 6000])
            return
        for at in range(begin, len(DATA)):
            self.wfile.write(DATA[at : at + 1])
            time.sleep(0.02)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving() as made:
        yield f"http://127.0.0.1:{made.server_port}"


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        if tls is not None:
            made.socket = tls.wrap_socket(made.socket, server_side=True)
        made.handle_error = lambda *_: None  # type: ignore[method-assign]
        made.daemon_threads = True
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def order(url: str) -> Download:
    return Download(url=url, sha256=hashlib.sha256(DATA).hexdigest())


def test_one_that_drips_ends(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podbuild.build.toolchain.download._PATIENCE", 0.3)
    monkeypatch.setattr("podbuild.build.toolchain.download._SLOWEST", 1e6)
    with pytest.raises(UnreachableError, match="too slowly"):
        fetch(order(f"{server}/dripping"), tmp_path / "x", retry=RETRY)
    assert not (tmp_path / "x").exists()


def test_one_that_breaks_off_goes_on_where_it_was(server: str, tmp_path: Path) -> None:
    found = fetch(order(f"{server}/breaking"), tmp_path / "x", retry=RETRY)
    assert found.read_bytes() == DATA


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("gone", r"/gone: HTTP 404 Not Found$"),
        ("to/gone", r"/to/gone: HTTP 404 Not Found$"),
        ("tofile:///etc/passwd", "does not answer: .*'file'"),
        ("tohttp://127.0.0.1:99999/", "does not answer: Port"),
    ],
)
def test_what_is_not_there_is_one_error_at_once(
    server: str, tmp_path: Path, path: str, says: str
) -> None:
    with pytest.raises(UnreachableError, match=says):
        fetch(order(f"{server}/{path}"), tmp_path / "x", retry=RETRY)
    assert not (tmp_path / "x").exists()


def test_it_goes_where_it_is_sent_and_through_the_proxy(server: str, tmp_path: Path) -> None:
    url = f"http://me:secret@mirror.invalid/to{server}/whole"
    network = WayOut(proxies={"http": server})
    assert fetch(order(url), tmp_path / "x", retry=RETRY, network=network).read_bytes() == DATA
    with pytest.raises(UnreachableError, match="does not answer") as caught:
        fetch(order(url), tmp_path / "y", retry=RETRY)
    assert "secret" not in str(caught.value)


def test_it_trusts_whom_all_else_trusts(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority.certificate, authority.key)
    with serving(tls) as made:
        wanted = order(f"https://localhost:{made.server_port}/whole")
        with pytest.raises(UnreachableError, match="certificate is not trusted"):
            fetch(wanted, tmp_path / "x", retry=RETRY)
        network = WayOut.from_environment({"SSL_CERT_FILE": str(authority.ca)})
        assert fetch(wanted, tmp_path / "x", retry=RETRY, network=network).read_bytes() == DATA
