from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, SimpleNamespace

import pytest

from podbuild.errors import DeadlineError, InterruptedBySignal
from podbuild.system.cancel import Cancel


def stopped(number: int = signal.SIGTERM) -> Cancel:
    cancel = Cancel()
    cancel.request(number)
    return cancel


def requesting(cancel: Cancel) -> Callable[[int, FrameType | None], None]:
    return lambda number, _frame: cancel.request(number)


def test_nothing_stops_by_itself() -> None:
    cancel = Cancel()
    cancel.check()
    cancel.sleep(0)
    assert (cancel.requested, cancel.signalled, cancel.remaining) == (False, False, None)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_is_told_by_its_exit_code(number: int, code: int) -> None:
    with pytest.raises(InterruptedBySignal) as caught:
        stopped(number).check()
    assert caught.value.exit_code == code


def test_time_that_is_over_is_a_timeout() -> None:
    cancel = Cancel(after=0)
    assert cancel.remaining == 0
    with pytest.raises(DeadlineError) as caught:
        cancel.check()
    assert caught.value.exit_code == 124
    assert "continues" in caught.value.hint


def test_signal_says_more_than_the_time() -> None:
    cancel = Cancel(after=0)
    cancel.request(signal.SIGINT)
    assert isinstance(cancel.error(), InterruptedBySignal)


def test_sleep_ends_with_the_time() -> None:
    with pytest.raises(DeadlineError):
        Cancel(after=0.01).sleep(3600)


def test_sleep_ends_with_a_stop_in_every_thread() -> None:
    cancel = Cancel()
    heard: list[BaseException] = []

    def wait() -> None:
        try:
            cancel.sleep(3600)
        except InterruptedBySignal as error:
            heard.append(error)

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    cancel.request(signal.SIGTERM)
    for thread in threads:
        thread.join(60)
    assert len(heard) == 4


def test_sleep_ends_with_a_signal_in_the_thread_that_sleeps() -> None:
    cancel = Cancel()
    before = signal.signal(signal.SIGALRM, requesting(cancel))
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        with pytest.raises(InterruptedBySignal):
            cancel.sleep(3600)
    finally:
        signal.signal(signal.SIGALRM, before)


def sleep_for_ever(cancel: Cancel) -> None:
    while True:
        cancel.sleep(0.0001)


@pytest.mark.parametrize("begin", range(0, 200, 50))
def test_signal_at_any_instruction_of_a_sleep_never_hangs(begin: int) -> None:
    """An event's own lock would be held by the interrupted thread now and then."""
    for delay in range(begin + 1, begin + 51):
        cancel = Cancel()
        before = signal.signal(signal.SIGALRM, requesting(cancel))
        signal.setitimer(signal.ITIMER_REAL, delay * 2e-6)
        try:
            with pytest.raises(InterruptedBySignal):
                sleep_for_ever(cancel)
        finally:
            signal.signal(signal.SIGALRM, before)


def test_signal_in_the_middle_of_another_s_handler_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cancel = Cancel()

    def interrupted() -> float:
        monkeypatch.undo()
        cancel.request(signal.SIGINT)
        return time.monotonic()

    monkeypatch.setattr("podbuild.system.cancel.time", SimpleNamespace(monotonic=interrupted))
    cancel.request(signal.SIGTERM)
    with pytest.raises(InterruptedBySignal):
        cancel.sleep(3600)


def test_listener_hears_of_a_stop_once() -> None:
    cancel = Cancel()
    heard: list[str] = []
    with cancel.telling(lambda: heard.append("stop")):
        cancel.request(signal.SIGTERM)
    cancel.request(signal.SIGTERM)
    assert heard == ["stop"]


def test_listener_that_comes_after_the_stop_hears_of_it() -> None:
    heard: list[str] = []
    with stopped().telling(lambda: heard.append("stop")):
        pass
    assert heard == ["stop"]


def test_two_listeners_are_both_told_and_one_can_leave() -> None:
    cancel = Cancel()
    heard: list[str] = []
    with cancel.telling(lambda: heard.append("a")):
        with cancel.telling(lambda: heard.append("b")):
            pass
        cancel.request(signal.SIGTERM)
    assert heard == ["a"]


def test_shielded_work_is_finished_and_then_stops() -> None:
    cancel = stopped()
    with cancel.shielded(3600):
        cancel.check()
        cancel.sleep(0.001)
        assert not cancel.requested
    with pytest.raises(InterruptedBySignal):
        cancel.check()


def test_shield_is_no_longer_than_promised() -> None:
    cancel = stopped()
    with cancel.shielded(0.02), pytest.raises(InterruptedBySignal):
        cancel.sleep(3600)


def test_shield_counts_from_the_stop_not_from_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("podbuild.system.cancel.time", clock)
    cancel = Cancel()
    with cancel.shielded(5):
        now[0] += 6
        cancel.request(signal.SIGTERM)
        cancel.check()
        now[0] += 6
        with pytest.raises(InterruptedBySignal):
            cancel.check()


def test_shield_covers_the_deadline_too() -> None:
    cancel = Cancel(after=0)
    with cancel.shielded(3600):
        cancel.check()


def test_shield_is_for_its_own_thread_alone() -> None:
    cancel = stopped()
    seen: list[bool] = []
    with cancel.shielded(3600):
        thread = threading.Thread(target=lambda: seen.append(cancel.requested))
        thread.start()
        thread.join()
    assert seen == [True]


def test_inner_shield_does_not_end_the_outer_one() -> None:
    cancel = stopped()
    with cancel.shielded(3600):
        with cancel.shielded(0):
            cancel.check()
        cancel.check()
