"""What SIGINT, SIGTERM and SIGHUP do while a command runs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import FrameType

from podbuild.system.cancel import Cancel
from podbuild.system.console import Ui

_WAKING = (0.01, 0.1, 0.5)  # seconds


@contextmanager
def stopping(cancel: Cancel, ui: Ui) -> Iterator[None]:
    """Let the first SIGINT, SIGTERM or SIGHUP ask for a stop, and a second one leave at once.

    SIGHUP comes when a terminal or a connection is gone; where `nohup` has it ignored, it stays so.
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

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
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
