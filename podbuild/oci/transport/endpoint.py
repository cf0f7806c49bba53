"""How a registry is reached, how its client behaves, and what went over the wire."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from podbuild.oci.names import DOCKER_HUB
from podbuild.system.cancel import Cancel
from podbuild.system.retry import Retry

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
