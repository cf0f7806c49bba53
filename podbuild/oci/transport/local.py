"""HTTP to a service behind a unix socket of this machine, by `requests` like all the rest.

Answers come for as long as the service works (a build takes an hour), so nothing times out here:
whoever forwards the socket tells when the other end is lost, and closes it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests
import urllib3
from requests.adapters import HTTPAdapter

from podbuild.oci.transport.http import USER_AGENT

_SCHEME = "http+unix"
_LINE = 1 << 20  # bytes of one line of an answer that are kept


class LostServiceError(Exception):
    """The other end is gone, or was never there."""


@dataclass(frozen=True, kw_only=True)
class SocketCall:
    """One request. `parameters` may name one thing several times; `body` is sent as it comes."""

    method: str
    path: str
    parameters: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Iterable[bytes] | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class SocketAnswer:
    """An answer: its status, its headers by lower-case names, and its lines as they come."""

    status: int
    headers: Mapping[str, str]
    lines: Iterator[bytes] = field(repr=False)


class SocketService:
    """Speaks to one service. Safe to share between threads."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def ask(self, asked: SocketCall) -> Iterator[SocketAnswer]:
        """Give the answer while the block runs; raises LostServiceError, there too."""
        with requests.Session() as session, _translated():
            session.trust_env = False  # no proxy, no .netrc: nothing leaves this machine
            session.mount(f"{_SCHEME}://", _SocketAdapter(self._path))
            answer = session.request(
                asked.method,
                f"{_SCHEME}://service{asked.path}",
                params=asked.parameters,
                headers={"User-Agent": USER_AGENT, **asked.headers},
                data=asked.body,
                stream=True,
            )
            with answer:
                yield SocketAnswer(
                    status=answer.status_code,
                    headers={name.lower(): value for name, value in answer.headers.items()},
                    lines=_lines(answer),
                )


def _lines(answer: requests.Response) -> Iterator[bytes]:
    rest = b""
    with _translated():
        while piece := answer.raw.read1(decode_content=False):
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
            rest = rest[:_LINE]
    if rest:
        yield rest


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise LostServiceError(str(error)) from error


class _SocketConnection(urllib3.connection.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("service")
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.connect(str(self._path))
        except OSError as error:
            self.sock.close()
            raise urllib3.exceptions.NewConnectionError(self, str(error)) from error


class _SocketPool(urllib3.HTTPConnectionPool):
    def __init__(self, path: Path) -> None:
        super().__init__("service", maxsize=1, timeout=None)
        self._path = path

    def _new_conn(self) -> _SocketConnection:
        return _SocketConnection(self._path)


class _SocketAdapter(HTTPAdapter):
    def __init__(self, path: Path) -> None:
        super().__init__(max_retries=0)
        self._pool = _SocketPool(path)

    def get_connection_with_tls_context(self, *_: object, **__: object) -> _SocketPool:
        """Give the one way to the service."""
        return self._pool

    def request_url(self, request: requests.PreparedRequest, _proxies: object) -> str:
        """Give what stands in the request line."""
        return request.path_url

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()
