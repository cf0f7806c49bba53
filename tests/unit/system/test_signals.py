"""What SIGINT, SIGTERM and SIGHUP do while a command runs."""

from __future__ import annotations

import io
import signal
import threading
from pathlib import Path

import pytest

from podbuild.errors import InterruptedBySignal
from podbuild.system.cancel import Cancel, stopping
from podbuild.system.console import Ui
from podbuild.system.console.look import Paint, PlainLook
from podbuild.system.console.screen import Streams, StreamScreen


@pytest.fixture
def printed() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def ui(printed: io.StringIO) -> Ui:
    return Ui(StreamScreen(Streams(out=printed, err=printed)), PlainLook(Paint(active=False)))


def wait_until_asleep(thread: threading.Thread) -> None:
    """Wait until a thread sleeps however often others let go of the interpreter."""
    stat = Path(f"/proc/self/task/{thread.native_id}/stat")
    asleep = 0
    while asleep < 20:
        state = stat.read_text().rpartition(")")[2].split()[0]
        asleep = asleep + 1 if state == "S" else 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_does_not_wake_the_main_thread_is_heard(
    number: signal.Signals, ui: Ui, printed: io.StringIO
) -> None:
    """As when it comes while the main thread is on its way into a lock."""
    cancel, heard, found = Cancel(), threading.Event(), []

    def other() -> None:
        wait_until_asleep(threading.main_thread())
        signal.pthread_kill(threading.get_ident(), number)
        found.append(heard.wait(60))

    with stopping(cancel, ui), cancel.telling(heard.set):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert found == [True]
    assert printed.getvalue() == f"{number.name}: stopping; once more leaves at once\n"
    with pytest.raises(InterruptedBySignal):
        cancel.check()


def test_handlers_are_as_before_when_the_command_has_ended(ui: Ui) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGURG)
    before = [signal.getsignal(number) for number in numbers]
    threads = {*threading.enumerate()}
    with stopping(Cancel(), ui):
        assert [signal.getsignal(number) for number in numbers] != before
    assert [signal.getsignal(number) for number in numbers] == before
    assert {*threading.enumerate()} <= threads  # those of other tests may end meanwhile


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_the_caller_has_ignored_stays_so(number: signal.Signals, ui: Ui) -> None:
    """As nohup has a hangup, and a script what is typed while its jobs run in the background."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with stopping(cancel := Cancel(), ui):
            signal.raise_signal(number)
            assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert not cancel.signalled
