"""Ends answers that come too slowly: a byte now and then passes every timeout between two bytes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPResponse

import urllib3
from urllib3.util import wait_for_read

_POLL = 0.5  # seconds


@dataclass(eq=False)
class Watched:
    """A socket that something is read from until a moment of the monotonic clock."""

    socket: socket.socket
    until: float
    expired: bool = False


class Watch:
    """Shuts sockets down whose time is over. One thread, started when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._watched: set[Watched] = set()
        self._thread: threading.Thread | None = None

    @contextmanager
    def over(self, sock: socket.socket, seconds: float) -> Iterator[Watched]:
        """Watch a socket while the block runs; more time is given by setting `until`."""
        entry = Watched(sock, time.monotonic() + seconds)
        with self._lock:
            self._watched.add(entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="slow-answers", daemon=True)
                self._thread.start()
            self._lock.notify()
        try:
            yield entry
        finally:
            with self._lock:
                self._watched.discard(entry)

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._watched:
                    self._lock.wait()
                now = time.monotonic()
                over = [entry for entry in self._watched if entry.until < now]
                for entry in over:
                    entry.expired = True
                    self._watched.discard(entry)
                    with suppress(OSError, ValueError):
                        entry.socket.shutdown(socket.SHUT_RDWR)
                self._lock.wait(_POLL)


class SlowAnswerError(Exception):
    """An answer's head took too long."""


@contextmanager
def _in_time(watched: Callable[[], Watched | None]) -> Iterator[None]:
    """Let what fails because its time was over say so."""
    try:
        yield
    except Exception as error:
        entry = watched()
        if entry and entry.expired:
            raise SlowAnswerError from error
        raise


def watching(
    kind: type[urllib3.connection.HTTPConnection], watch: Watch, seconds: float
) -> type[urllib3.connection.HTTPConnection]:
    """Give connections whose heads of answers must be whole so long after their first byte.

    As long may a handshake take, a proxy's answer included. What is read later can be watched by
    the answer's `watched_socket`.
    """

    class Watching(kind):  # type: ignore[misc,valid-type]
        _opening: Watched | None = None

        def connect(self) -> None:
            with ExitStack() as self._handshake, _in_time(lambda: self._opening):
                super().connect()

        def _new_conn(self) -> socket.socket:
            made: socket.socket = super()._new_conn()
            same = self._handshake.enter_context(made.dup())  # TLS takes the other one away
            self._opening = self._handshake.enter_context(watch.over(same, seconds))
            return made

        def getresponse(self) -> HTTPResponse:
            sock = self.sock
            if sock is None:
                unwatched: HTTPResponse = super().getresponse()
                return unwatched
            _first_byte(sock)
            with watch.over(sock, seconds) as entry, _in_time(lambda: entry):
                answer: HTTPResponse = super().getresponse()
                if entry.expired:  # an end in the middle of headers is taken for theirs
                    raise SlowAnswerError
            answer.watched_socket = sock  # type: ignore[attr-defined]
            return answer

    return Watching


def _first_byte(sock: socket.socket) -> None:
    """Wait for an answer to begin, as long as reading may; what fails shows when it is read."""
    with suppress(OSError, ValueError):
        pending = getattr(sock, "pending", None)
        if pending is None or not pending():
            wait_for_read(sock, sock.gettimeout())
