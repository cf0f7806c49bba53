"""A proxy in front of a real registry that breaks things by a script, or at random by a seed.

    script = Script(On("PUT", "/manifests/", nth=1, fault=Status(503)))
    with registry_server() as server, fault_proxy(server.host, script) as proxy:
        ...  # talk to proxy.host; proxy.seen holds what was asked

Rules are tried in order; `nth` counts the requests that match the rule's method and path.
"""

from __future__ import annotations

import random
import re
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

from podbuild.oci.manifest import MANIFEST_TYPES
from tests.registries import free_port

_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection"})
_PIECE = 64 * 1024
_PATIENCE = 60.0  # seconds; no test waits that long unless it is stuck


@dataclass(frozen=True)
class Status:
    """Answer by ourselves; the real server is not asked."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reset:
    """Reset the connection after this many bytes of the request's body."""

    after: int = 0


@dataclass(frozen=True)
class LostReply:
    """Let the real server do it, then reset the connection instead of answering."""


@dataclass(frozen=True)
class Truncate:
    """Give the real answer's head, and of its body only this many bytes."""

    length: int


@dataclass(frozen=True)
class Delay:
    """Go on only when the event is set."""

    until: threading.Event


@dataclass(frozen=True)
class Stale:
    """Let a write through; the next reads of the same path still see the state before it."""

    reads: int


@dataclass(frozen=True)
class Down:
    """Reset this connection and refuse new ones for some seconds (0: until `Proxy.up`)."""

    seconds: float = 0.0


Fault = Status | Reset | LostReply | Truncate | Delay | Stale | Down

HTML = Status(200, b"<!doctype html><title>Sign in</title>", {"Content-Type": "text/html"})


def too_many(wait: str = "0") -> Status:
    """Give a 429 with Retry-After."""
    body = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}'
    return Status(429, body, {"Retry-After": wait, "Content-Type": "application/json"})


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One request as it came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    fault: Fault | None


class Faults(Protocol):
    """Chooses what goes wrong with each request."""

    def choose(self, method: str, path: str) -> Fault | None:
        """Give the fault for this request; None for none. Called from several threads."""


@dataclass(frozen=True)
class On:
    """A rule: the nth matching request, and the `times - 1` after it, meet this fault.

    `method` must match as a whole, `path` anywhere (regular expressions).
    """

    method: str
    path: str
    fault: Fault = field(kw_only=True)
    nth: int = field(default=1, kw_only=True)
    times: int = field(default=1, kw_only=True)

    def matches(self, method: str, path: str) -> bool:
        """Tell whether a request counts."""
        return bool(re.fullmatch(self.method, method) and re.search(self.path, path))


class Script:
    """Rules in order; the first that has a fault for a request wins, but all of them count."""

    def __init__(self, *rules: On) -> None:
        self._rules = rules
        self._counts = [0] * len(rules)
        self._lock = threading.Lock()

    def choose(self, method: str, path: str) -> Fault | None:
        """Give the fault for this request."""
        found: list[Fault] = []
        with self._lock:
            for position, rule in enumerate(self._rules):
                if rule.matches(method, path):
                    self._counts[position] += 1
                    if 0 <= self._counts[position] - rule.nth < rule.times:
                        found.append(rule.fault)
        return found[0] if found else None


class RandomFaults:
    """Faults that pass, by a seed: each request fails with `rate`; at most `total` faults."""

    def __init__(self, seed: int, *, rate: float = 0.1, total: int = 1000) -> None:
        self._random = random.Random(seed)
        self._rate = rate
        self._left = total
        self._lock = threading.Lock()

    def choose(self, method: str, path: str) -> Fault | None:
        with self._lock:
            if self._left == 0 or self._random.random() >= self._rate:
                return None
            self._left -= 1
            return self._random.choice(self._kinds(method, path))

    def _kinds(self, method: str, path: str) -> list[Fault]:
        kinds: list[Fault] = [
            Status(500, b""),
            Status(502, b"<html>bad gateway</html>", {"Content-Type": "text/html"}),
            Status(503, b'{"errors":[{"code":"UNAVAILABLE","message":"later"}]}'),
            too_many(),
            Reset(),
            LostReply(),
        ]
        if method in ("PUT", "PATCH"):
            kinds += [Reset(after=self._random.randrange(1, 200_000))]
        if method == "GET":
            kinds += [Truncate(self._random.randrange(0, 50))]
        if method == "PUT" and "/manifests/" in path:
            kinds += [Stale(reads=1)]
        return kinds


class Proxy:
    """A running proxy: `host` is 127.0.0.1:port, `seen` what came in."""

    def __init__(self, upstream: str, faults: Faults) -> None:
        self.upstream = upstream
        self.faults = faults
        self.seen: list[Seen] = []
        self.stale: dict[str, list[tuple[int, dict[str, str], bytes]]] = {}
        self.lock = threading.Lock()
        self._switching = threading.RLock()
        self._closed = False
        self._listening: tuple[_Server, threading.Thread] | None = None
        self._port = free_port()  # which stays its own while it is down
        self._timer: threading.Timer | None = None
        self._up()
        self.host = f"127.0.0.1:{self._port}"

    def down(self, seconds: float = 0.0) -> None:
        """Refuse connections, for some seconds or (0) until `up`."""
        with self._switching:
            if self._listening is None:
                return
            server, thread = self._listening
            self._listening = None
            server.shutdown()
            thread.join()
            server.server_close()
            if seconds:
                self._timer = threading.Timer(seconds, self.up)
                self._timer.start()

    def up(self) -> None:
        """Accept connections again."""
        with self._switching:
            if self._listening is None and not self._closed:
                self._up()

    def requests(self, method: str, path: str = "") -> list[Seen]:
        """Give what came in with this method and a path that holds this pattern."""
        return [one for one in self.seen if one.method == method and re.search(path, one.path)]

    def close(self) -> None:
        """Stop for good."""
        self._closed = True
        if self._timer:
            self._timer.cancel()
            self._timer.join()
        self.down()

    def _up(self) -> None:
        server = _Server(("127.0.0.1", self._port), _Handler)
        server.proxy = self
        self._port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        self._listening = server, thread


@contextmanager
def fault_proxy(upstream: str, faults: Faults | None = None) -> Iterator[Proxy]:
    """Run a proxy before `upstream` (host:port, plain HTTP) while the block runs."""
    proxy = Proxy(upstream, faults or Script())
    try:
        yield proxy
    finally:
        proxy.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_address = True
    proxy: Proxy

    def handle_error(self, *_: object) -> None:
        """Stay silent about connections that broke, which is what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE
    server: _Server

    def handle_one_request(self) -> None:
        with suppress(ConnectionError, TimeoutError):
            super().handle_one_request()

    def log_message(self, *_: object) -> None:
        return

    def _answer(self) -> None:
        proxy = self.server.proxy
        fault = proxy.faults.choose(self.command, self.path)
        seen = Seen(
            method=self.command, path=self.path, headers=dict(self.headers.items()), fault=fault
        )
        with proxy.lock:
            proxy.seen.append(seen)
        match fault:
            case Status(status, body, headers):
                self._drain()
                self._send(status, dict(headers), body)
            case Reset(after):
                self._drain(after)
                self._reset()
            case Down(seconds):
                proxy.down(seconds)
                self._reset()
            case Delay(until):
                assert until.wait(_PATIENCE)
                self._forward(None)
            case _:
                self._forward(fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815

    def _forward(self, fault: Fault | None) -> None:
        old = self._old_state()
        if old:
            self._drain()
            self._send(*old)
            return
        if isinstance(fault, Stale):
            self._remember(fault.reads)
        connection = HTTPConnection(self.server.proxy.upstream, timeout=_PATIENCE)
        try:
            reply = self._ask(connection)
            if isinstance(fault, LostReply):
                reply.read()
                self._reset()
                return
            cut = fault.length if isinstance(fault, Truncate) else None
            self._pass_on(reply, cut)
        except (OSError, HTTPException):
            self._reset()
        finally:
            connection.close()

    def _ask(self, connection: HTTPConnection) -> HTTPResponse:
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _HOP:
                connection.putheader(name, value)
        connection.endheaders()
        for piece in self._body():
            connection.send(piece)
        return connection.getresponse()

    def _body(self) -> Iterator[bytes]:
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            piece = self.rfile.read(min(left, _PIECE))
            if not piece:
                raise ConnectionResetError
            left -= len(piece)
            yield piece

    def _pass_on(self, reply: HTTPResponse, cut: int | None) -> None:
        headers = {name: value for name, value in reply.getheaders() if name.lower() not in _HOP}
        whole = b""
        if reply.getheader("Content-Length") is None and self.command != "HEAD":
            whole = reply.read()
            if reply.status not in (204, 304):
                headers["Content-Length"] = str(len(whole))
        self._head(reply.status, headers)
        if self.command == "HEAD":
            return
        left = cut
        pieces = iter([whole]) if whole else iter(lambda: reply.read(_PIECE), b"")
        for piece in pieces:
            self.wfile.write(piece if left is None else piece[:left])
            if left is not None:
                left -= len(piece)
                if left <= 0:
                    break
        if cut is not None:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def _remember(self, reads: int) -> None:
        """Keep what GET and HEAD of this path say before the write."""
        connection = HTTPConnection(self.server.proxy.upstream, timeout=_PATIENCE)
        wanted = {
            name: value for name, value in self.headers.items() if name.lower() == "authorization"
        }
        try:
            connection.request(
                "GET", self.path, headers={"Accept": ", ".join(MANIFEST_TYPES), **wanted}
            )
            reply = connection.getresponse()
            body = reply.read()
        finally:
            connection.close()
        headers = {name: value for name, value in reply.getheaders() if name.lower() not in _HOP}
        with self.server.proxy.lock:
            self.server.proxy.stale[self.path] = [(reply.status, headers, body)] * reads

    def _old_state(self) -> tuple[int, dict[str, str], bytes] | None:
        if self.command not in ("GET", "HEAD"):
            return None
        with self.server.proxy.lock:
            left = self.server.proxy.stale.get(self.path)
            return left.pop() if left else None

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self._head(status, {**headers, "Content-Length": str(len(body))})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _drain(self, limit: int | None = None) -> None:
        count = 0
        for piece in self._body():
            count += len(piece)
            if limit is not None and count >= limit:
                return

    def _reset(self) -> None:
        """Make the kernel send a RST instead of an orderly end."""
        self.close_connection = True
        with suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.rfile.close()
            self.wfile.close()
            self.connection.close()
