"""One way to stop everything: a signal or a timeout asks once, all that waits or runs hears it."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

from podbuild.errors import DeadlineError, InterruptedBySignal, PodbuildError

if TYPE_CHECKING:
    from podbuild.system.console import Ui

T = TypeVar("T")
R = TypeVar("R")


class Cancel:
    """A request to stop. Safe to use from any thread and from a signal handler.

    `after` (seconds) is the time until the whole run times out; None means never.
    """

    def __init__(self, after: float | None = None) -> None:
        # A bare lock that only a stop opens: a signal handler may interrupt a thread anywhere,
        # and an Event could then wait for a lock that its own thread holds.
        self._gate = threading.Lock()
        self._gate.acquire()  # released by `request`, for good
        self._begun = threading.Lock()  # held from the first request on: one handler in another
        self._listeners: dict[int, tuple[Callable[[], None], Callable[[], None]]] = {}
        self._lock = threading.RLock()  # a signal handler may interrupt the holder
        self._shield = threading.local()
        self._signal: int | None = None
        self._signalled_at = math.inf
        self._deadline = None if after is None else time.monotonic() + after

    def request(self, signal_number: int) -> None:
        """Ask everything to stop; children that are listened for are told at once."""
        if self._begun.acquire(blocking=False):
            self._signalled_at = time.monotonic()
            self._signal = signal_number
            self._gate.release()
        self._signal = signal_number
        with self._lock:
            listeners = tuple(self._listeners.values())
        for tell, _ in listeners:
            tell()

    def give_up(self) -> None:
        """End what is listened for at once: nobody will be there to wait for it."""
        with self._lock:
            listeners = tuple(self._listeners.values())
        for _, end in listeners:
            end()

    @property
    def requested(self) -> bool:
        """Tell whether work must stop, by signal or because the time is over."""
        stop = self._stop_at()
        return stop is not None and time.monotonic() >= stop

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
        end = time.monotonic() + seconds
        while True:
            self.check()
            stop = self._stop_at()
            pause = (end if stop is None else min(end, stop)) - time.monotonic()
            if pause <= 0:
                self.check()
                return
            if self.signalled:  # and shielded
                time.sleep(pause)
            elif self._gate.acquire(timeout=pause):
                self._gate.release()

    @contextmanager
    def shielded(self, seconds: float) -> Iterator[None]:
        """Let this thread finish what must not stay half done, up to so long after a stop."""
        outer: float = getattr(self._shield, "seconds", 0.0)
        self._shield.seconds = max(outer, seconds)
        try:
            yield
        finally:
            self._shield.seconds = outer

    def passing_on(self, work: Callable[[T], R]) -> Callable[[T], R]:
        """Give work for other threads the shield that this thread has now."""
        seconds: float = getattr(self._shield, "seconds", 0.0)

        def shielded(item: T) -> R:
            with self.shielded(seconds):
                return work(item)

        return shielded

    def _stop_at(self) -> float | None:
        """Give when this thread must stop (monotonic clock); None where nobody asked."""
        moments = () if self._deadline is None else (self._deadline,)
        if self.signalled:
            moments = (*moments, self._signalled_at)
        shield: float = getattr(self._shield, "seconds", 0.0)
        return min(moments) + shield if moments else None

    @contextmanager
    def telling(
        self, listener: Callable[[], None], end: Callable[[], None] = lambda: None
    ) -> Iterator[None]:
        """Call `listener` when a stop is requested while the block runs, or was before.

        `end` is called instead of waiting any longer, by `give_up`.
        """
        with self._lock:
            self._listeners[id(listener)] = (listener, end)
        try:
            if self.signalled:
                listener()
            yield
        finally:
            with self._lock:
                self._listeners.pop(id(listener), None)


_WAKING = (0.01, 0.1, 0.5)  # seconds


@contextmanager
def stopping(cancel: Cancel, ui: Ui) -> Iterator[None]:
    """Let the first SIGINT, SIGTERM or SIGHUP ask for a stop, and a second one leave at once.

    What the caller has ignored stays so: SIGHUP under `nohup`, SIGINT in a script's background job.
    """
    ours = os.getpid()

    def stop(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != ours:  # a child that has not become its program yet
            os._exit(128 + number)
        if cancel.signalled:
            cancel.give_up()
            os._exit(128 + number)
        cancel.request(number)
        name = signal.Signals(number).name
        ui.info(f"{name}: stopping; once more leaves at once")

    stops = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    numbers = [each for each in stops if signal.getsignal(each) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        with _waking(numbers):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _waking(numbers: Collection[int]) -> Iterator[None]:
    """Wake the main thread for these signals, also one that came while it was falling asleep.

    Python runs handlers in the main thread alone, and a signal interrupts its wait for a lock only
    once it waits: one that comes just before is heard when the lock opens, maybe never. So a
    thread reads the signals' numbers (signal.set_wakeup_fd) and interrupts the main thread again,
    by a signal that means nothing.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    over = threading.Event()
    main = threading.main_thread().ident
    assert main is not None  # noqa: S101  # it runs

    def listen() -> None:
        while number := os.read(reader, 1)[0]:
            for pause in _WAKING if number in numbers else ():
                if not over.wait(pause):
                    signal.pthread_kill(main, signal.SIGURG)

    thread = threading.Thread(target=listen, name="signals", daemon=True)
    before = signal.signal(signal.SIGURG, lambda _number, _frame: None)
    outer = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    thread.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(outer)
        os.write(writer, b"\0")  # no signal's number
        thread.join()
        os.close(writer)
        os.close(reader)
        signal.signal(signal.SIGURG, before)
