"""A small HTTP server for fakes: requests and replies as values."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from podbuild.system.records import JSONValue


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as it came in; header names are lower case, the path is not decoded."""

    method: str
    path: str
    query: Mapping[str, tuple[str, ...]]
    headers: Mapping[str, str]
    body: bytes = b""
    target: str = ""  # path and query as sent

    def value(self, name: str, default: str = "") -> str:
        """Give a query parameter's first value."""
        return self.query.get(name, (default,))[0]

    @property
    def json(self) -> dict[str, JSONValue]:
        """Give the body's JSON object; empty where it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def origin(self) -> str:
        """Give the origin under which the client reached us (a proxy may stand before us)."""
        return f"http://{self.headers.get('host', '')}"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def json_reply(status: int, value: JSONValue, **headers: str) -> Reply:
    """Give a JSON answer; header names are written with underscores."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(
        status=status,
        body=json.dumps(value).encode(),
        headers={"Content-Type": "application/json", **named},
    )


@dataclass
class Wire:
    """A running server: `host` is 127.0.0.1:port, `seen` what came in, `before` may interfere."""

    host: str
    seen: list[Request] = field(default_factory=list)
    before: Callable[[Request], Reply | None] = lambda _request: None

    def requests(self, method: str, part: str = "") -> list[Request]:
        """Give what came in with this method and a path that holds `part`."""
        return [one for one in self.seen if one.method == method and part in one.path]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    answer: Callable[[Request], Reply]
    wire: Wire

    def handle_error(self, *_: object) -> None:
        return


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60.0
    server: _Server

    def handle_one_request(self) -> None:
        with suppress(ConnectionError, TimeoutError):
            super().handle_one_request()

    def log_message(self, *_: object) -> None:
        return

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        request = Request(
            method=self.command,
            path=parts.path,
            query={name: tuple(values) for name, values in parse_qs(parts.query).items()},
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(length),
            target=self.path,
        )
        self.server.wire.seen.append(request)
        reply = self.server.wire.before(request) or self.server.answer(request)
        self.send_response_only(reply.status)
        headers = {"Content-Length": str(len(reply.body)), **reply.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815


@contextmanager
def served(answer: Callable[[Request], Reply]) -> Iterator[Wire]:
    """Serve while the block runs."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.answer = answer
    server.wire = Wire(f"127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.wire
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
