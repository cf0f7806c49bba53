"""Trying again: how often, how long to wait, and which failures it helps with."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

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
