"""The way out of this machine: proxies, authorities, timeouts."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from urllib.parse import urlsplit

from podbuild.system.later import dataclass


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
