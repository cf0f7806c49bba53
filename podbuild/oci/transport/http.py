"""HTTP as registries need it: the one module that knows `requests`.

It makes the connections; calls go over them as they are: no redirect is followed, no proxy or
`.netrc` is taken from the process's environment, no cookie is kept. Every call has timeouts and
every body a cap. TLS trusts the system's authorities, and those that a user names.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidSchema, InvalidURL
from urllib3.exceptions import ConnectTimeoutError, LocationValueError, NewConnectionError

from podbuild import __version__
from podbuild.errors import ConfigError, PublishError
from podbuild.oci.store import CHUNK
from podbuild.oci.transport.endpoint import WayOut
from podbuild.oci.transport.problem import (
    ERROR_CAP,
    Response,
    SlowAnswerError,
    Watch,
    origin,
    watching,
)
from podbuild.system.files import read_plain
from podbuild.system.retry import Transient, Unreachable

_SYSTEM_CAS = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


@cache
def tls_context(authorities: tuple[str, ...]) -> ssl.SSLContext:
    """Trust the system's authorities (certifi's where there are none) and the given PEM texts.

    All clients share one: reading the system's takes 60 ms.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # requires certificates and host names
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(_systems())
    for pem in authorities:
        context.load_verify_locations(cadata=pem)
    return context


def read_authorities(files: tuple[Path, ...]) -> tuple[str, ...]:
    """Give the PEM text of each file but the system's own, which SSL_CERT_FILE often names.

    Raises ConfigError for a file that can't be read as certificates.
    """
    return tuple(_read(path) for path in files if not _is_systems(path))


@cache
def _read(path: Path) -> str:
    try:
        pem = read_plain(path).decode("ascii")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{path}: can't be read as certificates: {reason[:1].lower() + reason[1:]}",
            hint="`ca` names a file with certificates in PEM form",
        ) from None
    return pem


def _systems() -> str:
    found = next((path for path in _SYSTEM_CAS if Path(path).is_file()), "")
    if found:
        return found
    import certifi  # noqa: PLC0415  # requests brings it; most systems need it not

    return certifi.where()


def _is_systems(path: Path) -> bool:
    try:
        return path.samefile(_systems())
    except OSError:
        return False


USER_AGENT = f"podbuild/{__version__}"

_TLS_REFUSALS = (
    "ALERT_HANDSHAKE_FAILURE",
    "ALERT_PROTOCOL_VERSION",
    "ALERT_CERTIFICATE_REQUIRED",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_ACCESS_DENIED",
    "UNSUPPORTED_PROTOCOL",
)

_FIRST = 16 * 1024  # bytes of the first reads of an answer
_REASON_CAP = 300  # characters
_PROXY_HINT = "check http_proxy and https_proxy, or name the registry in no_proxy"
_LISTS = frozenset({"link", "www-authenticate"})  # servers write each entry as a header


class Payload(Protocol):
    """A body of known length that can be sent more than once."""

    def __len__(self) -> int:
        """Give the bytes to send."""

    def __iter__(self) -> Iterator[bytes]:
        """Give the bytes, from their start, each time."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request as it goes over the wire."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | Payload = field(default=b"", repr=False)
    eager: bool = False  # a streamed body's pieces are given as they come, so that none is lost
    patience: float = 0.0  # seconds more until the answer has to begin
    cap: int = ERROR_CAP  # bytes of a successful answer's body that are accepted


class Http:
    """Sends calls over a pool of connections. Safe to share between threads."""

    def __init__(self, network: WayOut, *, connections: int = 16) -> None:
        self._network = network
        self._connections = connections
        self._authorities = read_authorities(network.ca_files)
        self._watch = Watch()
        self._lock = threading.Lock()
        self._adapters: dict[str, _Adapter] = {}
        self._pools: dict[str, urllib3.HTTPConnectionPool] = {}

    def send(self, call: Call) -> Response:
        """Give the complete answer, whatever its status; redirects are not followed.

        Raises Transient (worth another try) or PublishError (not).
        """
        with self.stream(call) as (head, pieces):
            cap = call.cap if head.status < 300 else ERROR_CAP
            body = bytearray()
            for piece in pieces:
                body += piece
                if len(body) > cap and head.status < 300:
                    raise PublishError(f"{_where(call)}: the answer is longer than {cap} bytes")
                if len(body) > cap:
                    break
        return replace(head, body=bytes(body[:cap])) if body else head

    @contextmanager
    def stream(self, call: Call) -> Iterator[tuple[Response, Iterator[bytes]]]:
        """Give the answer's head, and its body in pieces while the block runs."""
        with _translated(call, self._network.proxy_host(call.url)):
            answer = self._open(call)
        try:
            head = Response(
                method=call.method,
                url=call.url,
                status=answer.status,
                headers=_headers(answer),
            )
            yield head, self._pieces(call, answer)
        finally:
            answer.close()  # a connection whose answer was read to its end is kept
            answer.release_conn()

    def close(self) -> None:
        """Close all connections."""
        for adapter in self._adapters.values():
            adapter.close()

    def _pieces(self, call: Call, answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        """Give a body undecoded: what is hashed are its bytes, whatever Content-Encoding says."""
        timeouts = self._network.timeouts
        received, began = 0, time.monotonic()
        sock: socket.socket | None = getattr(answer, "watched_socket", None)
        while True:
            # Little at first, so that a short answer is soon known to be slow.
            amount = CHUNK if received >= CHUNK else _FIRST
            allowed = began + timeouts.body + (received + amount) / timeouts.slow
            with _translated(call), self._watched(call, sock, allowed):
                read = answer.read1 if call.eager else answer.read
                piece = read(amount, decode_content=False)
            if not piece:
                return
            received += len(piece)
            waits = time.monotonic()
            yield piece
            began += time.monotonic() - waits  # the reader's own time is not the server's

    @contextmanager
    def _watched(self, call: Call, sock: socket.socket | None, until: float) -> Iterator[None]:
        if sock is None:
            yield
            return
        with self._watch.over(sock, until - time.monotonic()) as entry:
            try:
                yield
            except (urllib3.exceptions.HTTPError, OSError) as error:
                if entry.expired:
                    raise _too_slow(call) from error
                raise
        if entry.expired:
            raise _too_slow(call)

    def _open(self, call: Call) -> urllib3.BaseHTTPResponse:
        """Send a request by the pool itself: a Session would cost three times as much a call."""
        request = requests.PreparedRequest()
        request.prepare_url(call.url, None)
        assert request.url  # noqa: S101  # prepare_url raises where it is none
        if origin(request.url) != origin(call.url):  # such as https://other\@registry/
            raise InvalidURL("an address that names two hosts")
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **call.headers}
        if len(call.body) or call.method not in ("GET", "HEAD"):
            headers["Content-Length"] = str(len(call.body))
        pool, waits = self._pool(request), self._network.timeouts
        proxied = pool.proxy is not None and pool.scheme == "http"
        return pool.urlopen(
            call.method,
            request.url if proxied else request.path_url,
            body=call.body if len(call.body) else None,
            headers=headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=urllib3.Timeout(connect=waits.connect, read=waits.read + call.patience),
            preload_content=False,
            decode_content=False,
        )

    def _pool(self, request: requests.PreparedRequest) -> urllib3.HTTPConnectionPool:
        """Give the connections to an origin, through its proxy if it has one."""
        assert request.url  # noqa: S101
        parts = urlsplit(request.url)
        place = f"{parts.scheme}://{parts.netloc}"
        with self._lock:
            if place not in self._pools:
                adapter = self._adapter(parts.scheme)
                proxies = dict(self._network.proxy_for(request.url))
                pool = adapter.get_connection_with_tls_context(
                    request, verify=True, proxies=proxies
                )
                assert isinstance(pool, urllib3.HTTPConnectionPool)  # noqa: S101
                pool.ConnectionCls = watching(
                    pool.ConnectionCls,  # type: ignore[arg-type]
                    self._watch,
                    self._network.timeouts.head,
                )
                self._pools[place] = pool
            return self._pools[place]

    def _adapter(self, scheme: str) -> _Adapter:
        """Load the authorities when the first connection needs them."""
        if scheme not in ("http", "https"):
            raise InvalidSchema(f"no way to speak {scheme!r}")
        if scheme not in self._adapters:
            context = tls_context(self._authorities) if scheme == "https" else None
            self._adapters[scheme] = _Adapter(context, self._connections)
        return self._adapters[scheme]


def _headers(answer: urllib3.BaseHTTPResponse) -> Mapping[str, str]:
    """Give the headers by lower-case names; lists that came in several headers are joined."""
    found: dict[str, str] = {}
    for name, value in answer.headers.items():
        lower = name.lower()
        found[lower] = f"{found[lower]}, {value}" if lower in _LISTS & found.keys() else value
    return found


class _Adapter(HTTPAdapter):
    """Makes connections, through proxies too, with one TLS context for all of them.

    requests would load certifi's file anew for each connection (40 ms).
    """

    def __init__(self, context: ssl.SSLContext | None, connections: int) -> None:
        self._context = {} if context is None else {"ssl_context": context}
        super().__init__(pool_connections=8, pool_maxsize=connections, max_retries=0)

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **kwargs: object
    ) -> None:
        """Hand the TLS context to direct connections."""
        super().init_poolmanager(connections, maxsize, block, **self._context, **kwargs)

    def proxy_manager_for(self, proxy: str, **kwargs: object) -> urllib3.ProxyManager:
        """Hand the TLS context to connections through a proxy."""
        manager: urllib3.ProxyManager = super().proxy_manager_for(proxy, **self._context, **kwargs)
        return manager


@contextmanager
def _translated(call: Call, proxy: str = "") -> Iterator[None]:
    """Turn what requests and urllib3 raise into ours; `proxy` stands in the way, if any does."""
    before = sys.exc_info()[1]  # what is being handled already has nothing to do with it
    try:
        yield
    except SlowAnswerError as error:
        raise _too_slow(call) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise _failure(call, tuple(_chain(error, before)), proxy) from error
    except ValueError as error:  # bad URLs, some of them outside requests' own errors
        raise PublishError(f"{_where(call)}: {error}") from error


def _too_slow(call: Call) -> PublishError:
    return PublishError(
        f"{_where(call)}: the answer comes too slowly to be one",
        hint="check the registry, and what is between it and this machine",
    )


def _failure(call: Call, chain: Sequence[BaseException], proxy: str) -> Exception:
    error = chain[0]
    where = _where(call)
    for cause in chain:
        if isinstance(cause, ssl.SSLError) and (refused := _tls_failure(where, cause)):
            return refused
        if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME:
            named = f"the proxy {proxy}: " if proxy else ""
            hint = _PROXY_HINT if proxy else "check the registry's name"
            return PublishError(f"{where}: {named}no such host", hint=hint)
    if isinstance(error, (InvalidURL, InvalidSchema, LocationValueError)):
        return PublishError(f"{where}: {error}")
    last = chain[-1]
    told = getattr(last, "strerror", None) or str(last) or type(last).__name__
    reason = " ".join(told.split())[:_REASON_CAP]  # what is no HTTP is quoted, with its line ends
    unheard = any(isinstance(cause, (ConnectTimeoutError, NewConnectionError)) for cause in chain)
    said = f"{_lower(reason)}{f', through the proxy {proxy}' if proxy else ''}"
    hint = _PROXY_HINT if proxy else "check that the registry is up and can be reached"
    return (Unreachable if unheard else Transient)(PublishError(f"{where}: {said}", hint=hint))


def _tls_failure(where: str, error: ssl.SSLError) -> PublishError | None:
    """Give what the next handshake would only bring again; None for what may pass."""
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return PublishError(
            f"{where}: the server's certificate is not trusted: {error.verify_message}",
            hint="name the authority's file with ca = \"...\" in the registry's section",
        )
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        return PublishError(
            f"{where}: the server does not speak TLS",
            hint="a registry with plain HTTP needs insecure = true in its section",
        )
    if reason.endswith(_TLS_REFUSALS):
        return PublishError(
            f"{where}: the server refuses our TLS: {reason.replace('_', ' ').lower()}",
            hint="it may want a client certificate, which podbuild has none of, or speak only "
            "versions before TLS 1.2",
        )
    return None


def _chain(error: BaseException, before: BaseException | None) -> Iterator[BaseException]:
    """Give an error and all that it wraps, in `args`, `reason` and `__context__`, once each.

    It ends where `before` begins.
    """
    seen = {id(before)}
    open_ends: list[object] = [error]
    while open_ends:
        current = open_ends.pop(0)
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        open_ends += [*current.args, vars(current).get("reason"), current.__cause__]
        open_ends.append(current.__context__)


def _where(call: Call) -> str:
    return f"{urlsplit(call.url).netloc}: {call.method} {urlsplit(call.url).path}"


def _lower(reason: str) -> str:
    return reason if reason[:2].isupper() else reason[:1].lower() + reason[1:]
