"""One way to stop everything: a signal or a timeout asks once, all that waits or runs hears it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from podbuild.errors import DeadlineError, InterruptedBySignal, PodbuildError


class Cancel:
    """A request to stop. Safe to use from any thread and from a signal handler.

    `after` (seconds) is the time until the whole run times out; None means never.
    """

    def __init__(self, after: float | None = None) -> None:
        self._event = threading.Event()
        self._listeners: dict[int, Callable[[], None]] = {}
        self._lock = threading.RLock()  # a signal handler may interrupt the holder
        self._signal: int | None = None
        self._deadline = None if after is None else time.monotonic() + after

    def request(self, signal_number: int) -> None:
        """Ask everything to stop; children that are listened for are told at once."""
        self._signal = signal_number
        self._event.set()
        with self._lock:
            listeners = tuple(self._listeners.values())
        for tell in listeners:
            tell()

    @property
    def requested(self) -> bool:
        """Tell whether work must stop, by signal or because the time is over."""
        return self._event.is_set() or self.remaining == 0

    @property
    def signalled(self) -> bool:
        """Tell whether a signal asked to stop."""
        return self._signal is not None

    @property
    def remaining(self) -> float | None:
        """Give the seconds left until the deadline, never negative; None where there is none."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def error(self) -> PodbuildError:
        """Give the error that says why work stopped."""
        if self._signal is not None:
            return InterruptedBySignal(self._signal)
        return DeadlineError(
            "the time given with --timeout is over",
            hint="the same command continues where this one stopped",
        )

    def check(self) -> None:
        """Raise InterruptedBySignal or DeadlineError when work must stop."""
        if self.requested:
            raise self.error()

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than until work must stop; then raise as `check` does."""
        left = self.remaining
        self._event.wait(seconds if left is None else min(seconds, left))
        self.check()

    @contextmanager
    def telling(self, listener: Callable[[], None]) -> Iterator[None]:
        """Call `listener` once when a stop is requested while the block runs."""
        with self._lock:
            self._listeners[id(listener)] = listener
        try:
            if self._event.is_set():
                listener()
            yield
        finally:
            with self._lock:
                self._listeners.pop(id(listener), None)
