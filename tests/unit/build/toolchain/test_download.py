"""Downloads from servers that mean harm."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from podbuild.build.toolchain import download
from podbuild.build.toolchain.download import Download, UnreachableError, fetch
from podbuild.system.retry import Retry

DATA = b"0123456789" * 1000
RETRY = Retry(attempts=2, sleep=lambda _seconds: None)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        begin = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(DATA) - begin))
        self.end_headers()
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
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.handle_error = lambda *_: None  # type: ignore[method-assign]
        made.daemon_threads = True
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


def order(url: str) -> Download:
    return Download(url=url, sha256=hashlib.sha256(DATA).hexdigest())


def test_one_that_drips_ends(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PATIENCE", 0.3)
    with pytest.raises(UnreachableError, match="too slowly"):
        fetch(order(f"{server}/dripping"), tmp_path / "x", retry=RETRY)
    assert not (tmp_path / "x").exists()


def test_one_that_breaks_off_goes_on_where_it_was(server: str, tmp_path: Path) -> None:
    found = fetch(order(f"{server}/breaking"), tmp_path / "x", retry=RETRY)
    assert found.read_bytes() == DATA
