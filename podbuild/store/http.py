"""HTTP as registries need it: the one module that knows `requests`.

No redirect is followed by itself, no proxy or `.netrc` is taken from the process's environment,
no cookie is kept, every call has timeouts and every body a cap.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import certifi
import requests
import urllib3
from requests.adapters import HTTPAdapter

from podbuild import __version__
from podbuild.errors import ConfigError, PublishError
from podbuild.retry import Transient, Unreachable
from podbuild.store.blobs import CHUNK
from podbuild.store.network import Network, Timeouts, is_loopback
from podbuild.store.problem import ERROR_CAP, Response

USER_AGENT = f"podbuild/{__version__}"
_SYSTEM_CAS = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


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
    cap: int = ERROR_CAP  # bytes of a successful answer's body that are accepted


class Http:
    """Sends calls over a pool of connections. Safe to share between threads."""

    def __init__(self, network: Network, *, connections: int = 16) -> None:
        self._network = network
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers.clear()
        self._session.mount("http://", HTTPAdapter(8, connections))
        self._lock = threading.Lock()
        self._authorities = tuple(_readable(path) for path in network.ca_files)
        self._connections = connections
        self._knows_tls = False

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
        return Response(
            method=head.method,
            url=head.url,
            status=head.status,
            headers=head.headers,
            body=bytes(body[:cap]),
        )

    @contextmanager
    def stream(self, call: Call) -> Iterator[tuple[Response, Iterator[bytes]]]:
        """Give the answer's head, and its body in pieces while the block runs."""
        times = self._network.timeouts
        if call.url.startswith("https:"):
            self._learn_tls()
        with _translated(call):
            answer = self._session.request(
                call.method,
                call.url,
                headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **call.headers},
                data=call.body if len(call.body) else None,
                timeout=(times.connect, times.read),
                proxies=dict(self._network.proxy_for(call.url)),
                allow_redirects=False,
                stream=True,
            )
        try:
            head = Response(
                method=call.method,
                url=call.url,
                status=answer.status_code,
                headers={name.lower(): value for name, value in answer.headers.items()},
            )
            yield head, _pieces(call, answer)
        finally:
            answer.close()

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def _learn_tls(self) -> None:
        """Load the authorities when the first connection needs them."""
        with self._lock:
            if not self._knows_tls:
                adapter = _Adapter(_tls(self._authorities), self._connections)
                self._session.mount("https://", adapter)
                self._knows_tls = True


def _pieces(call: Call, answer: requests.Response) -> Iterator[bytes]:
    # Undecoded: a blob's bytes are what is hashed, whatever Content-Encoding says.
    with _translated(call):
        yield from answer.raw.stream(CHUNK, decode_content=False)


class _Adapter(HTTPAdapter):
    """TLS with one context for all connections.

    requests would load certifi's file anew for each connection (40 ms).
    """

    def __init__(self, context: ssl.SSLContext, connections: int) -> None:
        self._context = context
        super().__init__(pool_connections=8, pool_maxsize=connections, max_retries=0)

    def init_poolmanager(
        self, connections: int, maxsize: int, block: bool = False, **kwargs: object
    ) -> None:
        """Hand the TLS context to direct connections."""
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._context, **kwargs)

    def proxy_manager_for(self, proxy: str, **kwargs: object) -> urllib3.ProxyManager:
        """Hand the TLS context to connections through a proxy."""
        manager: urllib3.ProxyManager = super().proxy_manager_for(
            proxy, ssl_context=self._context, **kwargs
        )
        return manager

    def cert_verify(self, conn: object, url: str, verify: object, cert: object) -> None:
        """Leave connections as they are: the context requires and knows certificates."""


def _tls(ca_files: tuple[str, ...]) -> ssl.SSLContext:
    """Trust the system's authorities (certifi's where there are none) and the given ones."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # requires certificates and host names
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    system = next((path for path in _SYSTEM_CAS if Path(path).is_file()), certifi.where())
    context.load_verify_locations(system)
    for pem in ca_files:
        context.load_verify_locations(cadata=pem)
    return context


def _readable(path: Path) -> str:
    try:
        pem = path.read_text(encoding="ascii")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{path}: can't be read as certificates: {_lower(reason)}",
            hint="`ca` names a file with certificates in PEM form",
        ) from None
    return pem


@contextmanager
def _translated(call: Call) -> Iterator[None]:
    """Turn what requests and urllib3 raise into ours."""
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise _failure(call, error) from error
    except ValueError as error:  # bad URLs, some of them outside requests' own errors
        raise PublishError(f"{_where(call)}: {error}") from error


def _failure(call: Call, error: Exception) -> Exception:
    chain = tuple(_chain(error))
    where = _where(call)
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return PublishError(
                f"{where}: the server's certificate is not trusted: {cause.verify_message}",
                hint="name the authority's file with ca = \"...\" in the registry's section",
            )
        if isinstance(cause, ssl.SSLError) and cause.reason in (
            "WRONG_VERSION_NUMBER",
            "HTTP_REQUEST",
        ):
            return PublishError(
                f"{where}: the server does not speak TLS",
                hint="a registry with plain HTTP needs insecure = true in its section",
            )
        if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME:
            return PublishError(f"{where}: no such host", hint="check the registry's name")
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return PublishError(f"{where}: {error}")
    last = chain[-1]
    reason = getattr(last, "strerror", None) or str(last) or type(last).__name__
    unheard = isinstance(error, requests.exceptions.ConnectTimeout) or any(
        isinstance(cause, urllib3.exceptions.NewConnectionError) for cause in chain
    )
    return (Unreachable if unheard else Transient)(
        PublishError(
            f"{where}: {_lower(reason)}", hint="check that the registry is up and can be reached"
        )
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Give an error and all that it wraps, in `args`, `reason` and `__context__`, once each."""
    seen: set[int] = set()
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


__all__ = ["Call", "Http", "Network", "Payload", "Timeouts", "is_loopback"]
