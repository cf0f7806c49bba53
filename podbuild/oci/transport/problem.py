"""What a registry's failure says: codes, message, how long to wait, and whether to try again.

The classes are those of the retry rules for registries: most failures that may pass are helped
by sending the request again, some only by starting the whole upload anew.

Addresses that a server's answer names: the next page of a list, and where things moved. And what
ends answers that come too slowly: a byte now and then passes every timeout between two bytes.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from http.client import HTTPResponse
from urllib.parse import urldefrag, urljoin, urlsplit

import urllib3
from urllib3.util import wait_for_read

from podbuild.errors import PublishError
from podbuild.system.later import dataclass
from podbuild.system.records import JSONValue, document_of

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
        self._sleeps = False  # until somebody wakes it; else it looks by itself

    @contextmanager
    def over(self, sock: socket.socket, seconds: float) -> Iterator[Watched]:
        """Watch a socket while the block runs; more time is given by setting `until`."""
        entry = Watched(sock, time.monotonic() + seconds)
        with self._lock:
            self._watched.add(entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="slow-answers", daemon=True)
                self._thread.start()
            elif self._sleeps:
                self._sleeps = False
                self._lock.notify()
        try:
            yield entry
        finally:
            with self._lock:
                self._watched.discard(entry)

    def _run(self) -> None:
        while True:
            with self._lock:
                now = time.monotonic()
                over = [entry for entry in self._watched if entry.until < now]
                for entry in over:
                    entry.expired = True
                    self._watched.discard(entry)
                    with suppress(OSError, ValueError):
                        entry.socket.shutdown(socket.SHUT_RDWR)
                self._lock.wait(_POLL)
                if not self._watched:
                    self._sleeps = True
                    self._lock.wait()


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
            _first_byte(sock, self.timeout)
            with watch.over(sock, seconds) as entry, _in_time(lambda: entry):
                answer: HTTPResponse = super().getresponse()
                if entry.expired:  # an end in the middle of headers is taken for theirs
                    raise SlowAnswerError
            answer.watched_socket = sock  # type: ignore[attr-defined]
            return answer

    return Watching


def _first_byte(sock: socket.socket, seconds: float | None) -> None:
    """Wait for an answer to begin, as long as reading may; what else fails shows when it is read.

    The socket's own timeout is still that of sending. Raises TimeoutError.
    """
    begun = True
    with suppress(OSError, ValueError):
        pending = getattr(sock, "pending", None)
        begun = bool(pending and pending()) or wait_for_read(sock, seconds)
    if not begun:
        raise TimeoutError("timed out")


REDIRECTS = frozenset({301, 302, 303, 307, 308})
ERROR_CAP = 64 * 1024  # bytes of an error's body that are read
_REASON_CAP = 300  # characters of a message that are shown
_UNIX_TIME = 1_000_000_000  # a larger X-Retry-After is a point in time, not a duration
_WAIT_IN_MESSAGE = re.compile(r"retry-after:\s*((?:\d+(?:\.\d+)?(?:ns|us|µs|μs|ms|s|m|h))+)")
_GO_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|μs|ms|s|m|h)")

_GO_UNITS = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0
}  # fmt: skip

_TRANSIENT_STATUS = frozenset({408, 425, 429, 499, 500, 502, 503, 504}) | frozenset(range(520, 528))
# Too many requests, told with a refusal's status (GitHub 403, AWS 400); and no room for more.
_TOO_FAST = re.compile(
    r"secondary rate limit|\brate (limit )?exceeded|too many requests|throttl", re.IGNORECASE
)
_FULL = re.compile(r"quota|storage (?:limit|resource)|insufficient storage", re.IGNORECASE)
_FULL_STATUS = frozenset({400, 402, 403, 409, 412, 413})
_TRANSIENT_CODES = frozenset({"TOOMANYREQUESTS", "UNKNOWN", "UNAVAILABLE"})
_PUSH_CODES = frozenset({"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"})
_MISSING_BLOB_CODES = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"})


@dataclass(frozen=True, kw_only=True)
class Response:
    """A complete answer; header names are lower case."""

    method: str
    url: str
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str:
        """Give a header's value; empty where there is none."""
        return self.headers.get(name.lower(), "")

    @property
    def is_html(self) -> bool:
        """Tell whether a web page came instead of an API's answer.

        The type alone says nothing: quay writes it on answers without a body, and on `OK`.
        """
        if self.header("content-type").partition(";")[0].strip().lower() != "text/html":
            return False
        if self.method == "HEAD":
            return self.header("content-length") != "0"
        return self.body.lstrip().startswith(b"<")

    @property
    def wants_tls(self) -> bool:
        """Tell whether it may be what a server of TLS answers to plain HTTP (Go's, nginx)."""
        return self.status == 400 and (not self.body or b"HTTPS" in self.body)

    def json(self) -> JSONValue:
        """Give the body's JSON value; None when it is no JSON."""
        return document_of(self.body)


def whole_number(text: str) -> int | None:
    """Give a number of a header; None for what is none, or is absurd.

    >>> whole_number("42"), whole_number("-1"), whole_number("9" * 5000), whole_number("")
    (42, None, None, None)
    """
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


class Recovery(Enum):
    """What helps against a failure."""

    NONE = "none"
    REQUEST = "request"  # the same request again
    PUSH = "push"  # a new upload session
    BLOBS = "blobs"  # the registry lost a blob: upload it, then the manifest again


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A refused or failed request, as the registry tells it. `wait` is in seconds."""

    status: int
    codes: tuple[str, ...] = ()
    message: str = ""
    wait: float | None = None

    @property
    def recovery(self) -> Recovery:
        """Say what helps (docs: retry classes)."""
        codes = frozenset(self.codes)
        if codes & _PUSH_CODES or self.status == 416:
            return Recovery.PUSH
        if codes & _MISSING_BLOB_CODES:
            return Recovery.BLOBS
        if self.status in _TRANSIENT_STATUS or codes & _TRANSIENT_CODES:
            return Recovery.REQUEST
        if self.status == 403 and self.wait is not None:
            return Recovery.REQUEST
        if self.status in (400, 403) and _TOO_FAST.search(self.message):
            return Recovery.REQUEST
        return Recovery.NONE

    @property
    def is_full(self) -> bool:
        """Tell whether there is no room for more."""
        told = self.status in _FULL_STATUS and _FULL.search(self.message)
        return self.status == 507 or bool(told)

    @property
    def is_refusal(self) -> bool:
        """Tell whether it may be the login that is refused."""
        told = self.status in (401, 403) and not self.is_full
        return told and self.recovery is Recovery.NONE

    @property
    def hint(self) -> str:
        """Give what may be done about it; empty for nothing that is known."""
        if self.is_full:
            return "make room there, or have more given to it; `podbuild prune` shows what may go"
        if "NAME_UNKNOWN" in self.codes:
            return "make the repository there first: not every registry makes one for a push"
        return f"the registry asks to wait {self.wait:.0f} s" if self.wait else ""

    def __str__(self) -> str:
        known = " ".join((str(self.status), *self.codes))
        return f"{known}: {self.message}" if self.message else known


class RegistryError(PublishError):
    """A registry refused or failed a request; `problem` holds what it said."""

    def __init__(self, message: str, problem: Problem, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.problem = problem


class BlobsMissingError(RegistryError):
    """A manifest was refused because blobs or children of it are missing: upload them again."""


def read_problem(response: Response, now: datetime | None = None) -> Problem:
    """Read an error of any form: the spec's JSON, other JSON, text, or nothing."""
    codes, messages = _said(response)
    message = _line(" ".join(filter(None, messages)))
    return Problem(
        status=response.status,
        codes=tuple(map(_line, codes)),
        message=message,
        wait=_wait(response, message, now or server_time(response) or datetime.now(UTC)),
    )


def _line(text: str) -> str:
    """Give some text as one line that any file can hold: JSON may name half a character."""
    return " ".join(text.encode(errors="replace").decode().split())[:_REASON_CAP]


def _said(response: Response) -> tuple[list[str], list[str]]:
    """Give codes and messages of the spec's form, of other APIs, or of plain text."""
    match response.json():
        case {"errors": list(errors)}:
            pairs = [error for error in errors if isinstance(error, dict)]
            codes = [str(error["code"]).upper() for error in pairs if error.get("code")]
            return codes, [str(error.get("message") or "") for error in pairs]
        case {"message": str(text)} | {"detail": str(text)} | {"details": str(text)}:
            return [], [text]
        case None if not response.is_html:
            return [], [response.body.decode(errors="replace")]
        case _:
            return [], []


def _wait(response: Response, message: str, now: datetime) -> float | None:
    """Docker Hub has used both headers, GHCR puts a Go duration into the message."""
    for name in ("retry-after", "x-retry-after"):
        seconds = _header_wait(response.header(name).strip(), now)
        if seconds is not None:
            return seconds
    found = _WAIT_IN_MESSAGE.search(message)
    return go_duration(found[1]) if found else None


def _header_wait(text: str, now: datetime) -> float | None:
    if not text:
        return None
    if re.fullmatch(r"\d{1,12}(\.\d+)?", text):
        number = float(text)
        return max(0.0, number - now.timestamp()) if number > _UNIX_TIME else number
    moment = _http_date(text)
    return None if moment is None else max(0.0, (moment - now).total_seconds())


def server_time(response: Response) -> datetime | None:
    """Give the server's own time, which its points in time go by; ours may be another."""
    return _http_date(response.header("date"))


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def go_duration(text: str) -> float:
    """Give the seconds of a Go duration.

    >>> go_duration("1m2.5s"), go_duration("250ms")
    (62.5, 0.25)
    """
    return sum(float(number) * _GO_UNITS[unit] for number, unit in _GO_PART.findall(text))


_LINK = re.compile(r'<([^<>]*)>\s*((?:;[^,;"]*(?:"[^"]*")?)*)')
_PARAMETER = re.compile(r';\s*([\w*-]+)\s*=\s*(?:"([^"]*)"|([^\s;,"]*))')


def next_page(response: Response) -> str:
    """Give the URL of the next page (RFC 8288, rel="next"); empty on the last one.

    Raises PublishError where it is no URL.
    """
    for link in _LINK.finditer(response.header("link")):
        said = {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(link[2])}
        if "next" in said.get("rel", "").lower().split():
            return absolute(response.url, str(link[1]))
    return ""


def absolute(base: str, reference: str) -> str:
    """Give the URL that an answer names; raises PublishError where it can be none."""
    try:
        found = urldefrag(urljoin(base, reference)).url  # a fragment never goes over the wire
        origin(found)  # a port that is none shows only when it is read
    except ValueError as error:
        raise PublishError(
            f"{urlsplit(base).netloc}: names the address {reference[:200]!r}: {error}"
        ) from None
    return found


def origin(url: str) -> tuple[str, str, int | None]:
    """Give scheme, host and port of a URL; raises ValueError for a port that is none."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port
