"""A registry that stays down is not waited for again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from podbuild.errors import PublishError

_TRIPS_AFTER = 3  # requests in a row that failed in spite of all retries
_REST = 30.0  # seconds until one request may try again


class Breaker:
    """Counts requests that failed for good; after some in a row, all fail at once for a while."""

    def __init__(
        self,
        host: str,
        *,
        trips_after: int = _TRIPS_AFTER,
        rest: float = _REST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host
        self._trips_after = trips_after
        self._rest = rest
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._closed_until = 0.0
        self._last = ""

    def check(self) -> None:
        """Raise PublishError while the registry is not to be asked; let one request probe it."""
        with self._lock:
            if self._failures < self._trips_after:
                return
            now = self._clock()
            if now >= self._closed_until:
                self._closed_until = now + self._rest
                return
            raise PublishError(
                f"{self._host} failed {self._failures} times in a row and is not asked again now",
                hint="run the same command again when the registry is well",
                details=(self._last,),
            )

    def failed(self, error: Exception) -> None:
        """Note a request that failed in spite of all retries."""
        with self._lock:
            self._failures += 1
            self._last = str(error)
            self._closed_until = self._clock() + self._rest

    def answered(self) -> None:
        """Note that the registry answers."""
        with self._lock:
            self._failures = 0
