"""Kill -9 at every write of the journal and at any time: the same command always finishes."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.soak.conftest import Undisturbed
from tests.soak.trials import Trial, moments

pytestmark = pytest.mark.integration
MakeTrial = Callable[..., Trial]
MOMENTS = ("before", "torn", "after")
WRITES = 66  # a little more than a release has; later ones just finish


def finishes(trial: Trial, undisturbed: Undisturbed) -> None:
    """Check what a killed run left, then run the same command and check the end."""
    trial.check_nothing_partial()
    known, before = trial.journalled(), trial.builds()
    ended = trial.release()
    assert ended.code == 0, ended.said
    assert trial.check_finished() == undisturbed.digests
    again = {line.removeprefix("built ") for line in trial.builds()[len(before) :]}
    assert not known & again, "built twice"
    trial.check_nothing_left()


def kill_at_write(trial: Trial, undisturbed: Undisturbed, number: int, moment: str) -> None:
    killed = trial.release(kill=(number, moment))
    assert killed.code == (-9 if number <= trial.writes() else 0), killed.said
    finishes(trial, undisturbed)


@pytest.mark.parametrize("seed", range(4))
def test_kill_at_some_writes_of_the_journal(
    make_trial: MakeTrial, undisturbed: Undisturbed, seed: int
) -> None:
    kill_at_write(make_trial(), undisturbed, *moments(seed, undisturbed.writes))


@pytest.mark.parametrize("seed", range(2))
def test_kill_at_some_time(make_trial: MakeTrial, undisturbed: Undisturbed, seed: int) -> None:
    trial = make_trial()
    trial.release_killed_after(random.Random(seed).uniform(0.3, 5.0))
    finishes(trial, undisturbed)


def test_two_kills_in_a_row(make_trial: MakeTrial, undisturbed: Undisturbed) -> None:
    trial = make_trial()
    trial.release(kill=(12, "torn"))
    trial.check_nothing_partial()
    trial.release(kill=(9, "after"))
    finishes(trial, undisturbed)


@pytest.mark.soak
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", range(1, WRITES + 1))
def test_kill_at_every_write_of_the_journal(
    make_trial: MakeTrial, undisturbed: Undisturbed, number: int, moment: str
) -> None:
    kill_at_write(make_trial(), undisturbed, number, moment)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 150))
def test_kill_at_any_time(make_trial: MakeTrial, undisturbed: Undisturbed, seed: int) -> None:
    trial = make_trial()
    trial.release_killed_after(random.Random(seed).uniform(0.3, 6.0))
    finishes(trial, undisturbed)
