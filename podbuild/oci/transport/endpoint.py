"""How a registry is reached (proxies, authorities, timeouts), and how its client behaves."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from pathlib import Path
from urllib.parse import urlsplit

from podbuild.oci.names import DOCKER_HUB
from podbuild.system.cancel import Cancel
from podbuild.system.later import dataclass
from podbuild.system.retry import Retry


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Seconds without any progress after which a call has failed.

    `connect` also bounds the sending of each piece of a body. An answer that has begun must bring
    its head within `head`, and its body with `slow` bytes a second, after the first `body` seconds.
    """

    connect: float = 30.0
    read: float = 120.0
    head: float = 15.0
    body: float = 30.0
    slow: float = 1024.0


@dataclass(frozen=True, kw_only=True)
class WayOut:
    """How to get out: proxies by scheme as in the environment, hosts that need none, a CA file."""

    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold a password
    no_proxy: tuple[str, ...] = ()
    ca_files: tuple[Path, ...] = ()
    timeouts: Timeouts = field(default_factory=Timeouts)

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], *ca_files: Path, timeouts: Timeouts | None = None
    ) -> WayOut:
        """Read HTTP(S)_PROXY, ALL_PROXY, NO_PROXY and SSL_CERT_FILE, in either case."""

        def value(name: str) -> str:
            return environment.get(name.lower()) or environment.get(name.upper()) or ""

        either = value("all_proxy")
        found = {scheme: value(f"{scheme}_proxy") or either for scheme in ("http", "https")}
        named = value("ssl_cert_file")
        return cls(
            proxies={scheme: proxy for scheme, proxy in found.items() if proxy},
            no_proxy=tuple(
                entry.strip() for entry in value("no_proxy").split(",") if entry.strip()
            ),
            ca_files=(*ca_files, *((Path(named),) if named else ())),
            timeouts=timeouts or Timeouts(),
        )

    def proxy_for(self, url: str) -> Mapping[str, str]:
        """Give the proxies for this URL; none for loopback hosts, as in Go's programs."""
        host = (urlsplit(url).hostname or "").lower()
        if is_loopback(host) or any(_bypasses(entry.lower(), host) for entry in self.no_proxy):
            return {}
        return self.proxies

    def proxy_host(self, url: str) -> str:
        """Give the proxy for this URL, for messages: without the login in it; empty for none."""
        proxy = self.proxy_for(url).get(urlsplit(url).scheme, "")
        return proxy.rpartition("://")[2].rpartition("@")[2].rstrip("/")


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine's own."""
    if host in ("localhost", "localhost.localdomain"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _bypasses(entry: str, host: str) -> bool:
    """Match one NO_PROXY entry: `*`, a domain and all below it, an address or a network."""
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        domain = entry.removeprefix("*").removeprefix(".").partition(":")[0]
        return host == domain or host.endswith(f".{domain}")


_WIRE_HOSTS = {DOCKER_HUB: "registry-1.docker.io"}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a registry is: its name as in references, plain HTTP if configured, its CA file.

    An optional one is given up sooner while nobody answers there.
    """

    host: str
    insecure: bool = False
    ca: Path | None = None
    optional: bool = False

    @property
    def origin(self) -> str:
        """Give scheme and host as they are on the wire."""
        scheme = "http" if self.insecure else "https"
        return f"{scheme}://{_WIRE_HOSTS.get(self.host, self.host)}"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What went over the wire to one registry (bytes of blobs and manifests)."""

    requests: int = 0
    retries: int = 0
    sent: int = 0
    received: int = 0
    mounted: int = 0  # blobs that another repository lent

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            requests=self.requests + other.requests,
            retries=self.retries + other.retries,
            sent=self.sent + other.sent,
            received=self.received + other.received,
            mounted=self.mounted + other.mounted,
        )


@dataclass(frozen=True, kw_only=True)
class Conduct:
    """How a client behaves: how it tries again, hears of a stop, tells of retries and secrets.

    `on_secret` hears every token that a server gives, so that no log shows it.
    """

    retry: Retry = field(default_factory=Retry)
    cancel: Cancel = field(default_factory=Cancel)
    observe: Callable[[str], None] = lambda _line: None
    on_secret: Callable[[str], None] = field(default=lambda _secret: None, repr=False)

    @property
    def sleep(self) -> Callable[[float], None]:
        """Give how to wait: a stop ends it, unless the retries have a clock of their own."""
        own = self.retry.sleep
        return self.cancel.sleep if own is time.sleep else own

    def retrying(self, count: Callable[[Counts], None]) -> Retry:
        """Give how one client tries again; `count` hears of each retry, and so does `observe`."""

        def told(error: Exception, wait: float) -> None:
            count(Counts(retries=1))
            self.retry.on_retry(error, wait)
            self.observe(f"{error}; again in {wait:.1f} s")

        return replace(self.retry, sleep=self.sleep, on_retry=told)


_WINDOW = 1.0  # seconds over which requests are counted
_SLOWEST = 1.0  # requests a second
_FASTEST = 200.0  # requests a second from which on there is no limit again
_GROWTH = 1.25  # of the rate, for each second without a complaint
_LONGEST = 60.0  # seconds for which one complaint stops all


class Pace:
    """Spaces the requests of all threads to one host. Safe to share between them.

    `most` is the rate that is never passed (requests a second; None: there is no such). A
    complaint (429) halves the rate at which it came and stops everybody for the time that the
    registry asks for; what is answered well raises it again.
    """

    def __init__(
        self, most: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._most = most
        self._lock = threading.Lock()
        self._sent: deque[float] = deque()
        self._rate = most
        self._next = 0.0  # when the next request may go out
        self._raised = 0.0  # when the rate was last changed

    @property
    def rate(self) -> float | None:
        """Give the requests a second that may go out; None: as many as there are."""
        return self._rate

    def wait(self, sleep: Callable[[float], None]) -> None:
        """Wait for this request's turn."""
        with self._lock:
            now = self._clock()
            turn = max(now, self._next)
            if self._rate is not None:
                self._next = turn + 1 / self._rate
            self._sent.append(turn)
            while self._sent[0] <= turn - _WINDOW:
                self._sent.popleft()
        if turn > now:
            sleep(turn - now)

    def complained(self, wait: float) -> None:
        """Take in that the registry had too many requests; `wait` is what it asks for (seconds)."""
        with self._lock:
            now = self._clock()
            if self._rate is None or now - self._raised >= _WINDOW:  # once for one burst
                self._rate = max(_SLOWEST, (self._rate or len(self._sent) / _WINDOW) / 2)
                self._raised = now
            self._next = max(self._next, now + min(wait, _LONGEST))

    def pleased(self) -> None:
        """Take in that a request was answered."""
        with self._lock:
            now = self._clock()
            if self._rate is not None and now - self._raised >= _WINDOW:
                faster = self._rate * _GROWTH
                is_over = faster > (self._most or _FASTEST)
                self._rate = self._most if is_over else faster
                self._raised = now


@dataclass(frozen=True, kw_only=True)
class UploadPolicy:
    """In how many pieces blobs go out (sizes in bytes).

    One piece is fastest and understood everywhere; chunks are for registries or proxies that
    limit a request's size.
    """

    whole_up_to: int | None = None  # None: every blob in one piece first
    chunk: int = 16 * 2**20
