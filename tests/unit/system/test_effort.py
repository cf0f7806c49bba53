"""What no release depends on is told when it fails; a stop is not."""

from __future__ import annotations

import signal

import pytest

from podbuild.errors import CredentialError, InterruptedBySignal, best_effort


def test_a_failure_is_told_with_its_hint_and_the_other_answer_taken() -> None:
    told: list[str] = []

    def refused() -> int:
        raise CredentialError("403 of ghcr.io", hint="log in")

    def full() -> int:
        raise OSError("no space left")

    assert best_effort(refused, told.append, "this run is not remembered", 7) == 7
    assert best_effort(full, told.append, "no page", 8) == 8
    assert best_effort(lambda: 9, told.append, "nothing", 0) == 9
    assert told == [
        "this run is not remembered: 403 of ghcr.io (log in)",
        "no page: no space left",
    ]


def test_a_stop_is_raised() -> None:
    def stopped() -> None:
        raise InterruptedBySignal(signal.SIGTERM)

    with pytest.raises(InterruptedBySignal):
        best_effort(stopped, lambda _text: None, "the notes are not updated", None)
