"""Trying again: how often, how long to wait, and which failures it helps with.

A registry that stays down is not waited for again and again.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from podbuild.errors import PublishError
from podbuild.system.later import dataclass

T = TypeVar("T")


class Transient(Exception):  # noqa: N818  # a mark, not an error of its own
    """A failure that may pass. `wait` (seconds) is what the server asked for, if it did."""

    def __init__(self, cause: Exception, *, wait: float | None = None) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.wait = wait


class Unreachable(Transient):
    """Nobody answers where a server should be; it may just be starting again."""


class Budget:
    """How often one command may try again in all, so that many small failures end, too.

    Safe to share between threads.
    """

    def __init__(self, tries: int) -> None:
        self._left = tries
        self._lock = threading.Lock()

    def spend(self) -> bool:
        """Take one try; tell whether there was one left."""
        with self._lock:
            self._left -= 1
            return self._left >= 0


@dataclass(frozen=True, kw_only=True)
class Retry:
    """Attempts with exponential backoff, half of it at random (times in seconds).

    A server's Retry-After is honoured as a minimum, up to `longest`; a longer one is not
    waited for, as Docker Hub's pull windows last hours.
    """

    attempts: int = 5
    base: float = 1.0
    cap: float = 60.0
    longest: float = 120.0
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random
    on_retry: Callable[[Exception, float], None] = lambda _error, _wait: None
    budget: Budget | None = None  # shared by all that one command does

    def __call__(self, action: Callable[[], T]) -> T:
        """Give what `action` gives; retry where it raises Transient.

        Raises the cause of the last Transient when attempts run out, any other error at once.
        """
        for attempt in range(1, self.attempts + 1):
            try:
                return action()
            except Transient as failure:
                wait = self.delay(attempt, failure.wait)
                if attempt == self.attempts or wait > self.longest or self._spent:
                    raise failure.cause from failure.cause.__cause__
                self.on_retry(failure.cause, wait)
                self.sleep(wait)
        raise AssertionError("attempts must be at least 1")  # pragma: no cover

    @property
    def _spent(self) -> bool:
        return self.budget is not None and not self.budget.spend()

    def delay(self, attempt: int, asked: float | None) -> float:
        """Give the seconds to wait after this attempt (counted from 1)."""
        backoff = min(self.cap, self.base * 2.0 ** (attempt - 1)) * (0.5 + self.jitter() / 2)
        return max(backoff, asked or 0.0)


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
