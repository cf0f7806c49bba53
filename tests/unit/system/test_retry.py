from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest

from podbuild.errors import CredentialError, InterruptedBySignal, PublishError
from podbuild.system.cancel import Cancel
from podbuild.system.retry import Budget, Retry, Transient


@dataclass
class Clock:
    """Counts the waits instead of waiting."""

    waits: list[float] = field(default_factory=list)

    def retry(self, attempts: int = 5, jitter: float = 1.0) -> Retry:
        return Retry(attempts=attempts, sleep=self.waits.append, jitter=lambda: jitter)


def failing(times: int, error: Exception) -> Callable[[], str]:
    left = [times]

    def action() -> str:
        if left[0]:
            left[0] -= 1
            raise error
        return "done"

    return action


def flaky(wait: float | None = None) -> Transient:
    return Transient(PublishError("503"), wait=wait)


def test_success_waits_for_nothing() -> None:
    clock = Clock()
    assert clock.retry()(failing(0, flaky())) == "done"
    assert clock.waits == []


def test_waits_double() -> None:
    clock = Clock()
    assert clock.retry()(failing(4, flaky())) == "done"
    assert clock.waits == [1, 2, 4, 8]


def test_at_most_half_of_a_wait_is_left_to_chance() -> None:
    clock = Clock()
    clock.retry(jitter=0.0)(failing(4, flaky()))
    assert clock.waits == [0.5, 1, 2, 4]


def test_waits_grow_no_further_than_the_cap() -> None:
    assert [Retry(jitter=lambda: 1.0).delay(n, None) for n in (7, 8, 30)] == [60, 60, 60]


def test_last_failure_is_the_cause_itself() -> None:
    clock = Clock()
    with pytest.raises(PublishError, match="503") as caught:
        clock.retry(attempts=3)(failing(9, flaky()))
    assert len(clock.waits) == 2
    assert caught.value.__suppress_context__


def test_other_errors_are_not_tried_again() -> None:
    clock = Clock()
    with pytest.raises(CredentialError):
        clock.retry()(failing(1, CredentialError("403")))
    assert clock.waits == []


def test_retry_after_is_the_least_wait() -> None:
    clock = Clock()
    clock.retry()(failing(1, flaky(wait=30)))
    clock.retry()(failing(1, flaky(wait=0.1)))
    assert clock.waits == [30, 1]


def test_window_of_hours_is_not_waited_for() -> None:
    clock = Clock()
    with pytest.raises(PublishError):
        clock.retry()(failing(1, flaky(wait=6 * 3600)))
    assert clock.waits == []


def test_each_retry_is_told_with_its_wait() -> None:
    told: list[tuple[str, float]] = []
    clock = Clock()
    retry = Retry(
        sleep=clock.waits.append,
        jitter=lambda: 1.0,
        on_retry=lambda error, wait: told.append((str(error), wait)),
    )
    retry(failing(2, flaky()))
    assert told == [("503", 1), ("503", 2)]


def test_stop_ends_the_waiting() -> None:
    cancel = Cancel()
    cancel.request(15)
    with pytest.raises(InterruptedBySignal):
        Retry(sleep=cancel.sleep)(failing(1, flaky()))


def test_budget_is_shared_and_ends_all_retries() -> None:
    retry = Retry(attempts=3, sleep=lambda _seconds: None, budget=Budget(3))
    tried: list[str] = []

    def fail(name: str) -> None:
        tried.append(name)
        raise Transient(PublishError("down"))

    for name in ("a", "b", "c"):
        with pytest.raises(PublishError):
            retry(partial(fail, name))
    assert tried == ["a"] * 3 + ["b"] * 2 + ["c"]
