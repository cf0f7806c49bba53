"""Kill -9 at every write of the journal and at any time: the same command always finishes."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable

import pytest

from tests.soak.conftest import Undisturbed
from tests.soak.trials import Trial, moments
from tests.toolchains import SYSTEM_PATH, own_folders

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
    trial.release_signalled((random.Random(seed).uniform(0.3, 5.0), signal.SIGKILL))
    finishes(trial, undisturbed)


def test_two_kills_in_a_row(make_trial: MakeTrial, undisturbed: Undisturbed) -> None:
    trial = make_trial()
    trial.release(kill=(12, "torn"))
    trial.check_nothing_partial()
    trial.release(kill=(9, "after"))
    finishes(trial, undisturbed)


def stop(trial: Trial, undisturbed: Undisturbed, seed: int) -> None:
    """Ask a run to stop, politely or twice; then run it again."""
    chance = random.Random(seed)
    number, code = chance.choice(((signal.SIGINT, 130), (signal.SIGTERM, 143)))
    seconds = chance.uniform(1.0, 6.0)
    signals = [(seconds, number)]
    if chance.random() < 0.3:
        signals.append((seconds + chance.uniform(0.0, 0.5), number))
    ended = trial.release_signalled(*signals)
    if ended.code < 0:  # it came before there was anything to stop
        assert ended.code == -number, ended.said
    else:
        assert ended.code in (0, code), ended.said
    finishes(trial, undisturbed)


@pytest.mark.parametrize("seed", range(2))
def test_stop_at_some_time(make_trial: MakeTrial, undisturbed: Undisturbed, seed: int) -> None:
    stop(make_trial(), undisturbed, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 140))
def test_stop_at_any_time(make_trial: MakeTrial, undisturbed: Undisturbed, seed: int) -> None:
    stop(make_trial(), undisturbed, seed)


def real_engine() -> dict[str, str]:
    """Give the environment of a run with the toolchain that `make test` installs."""
    return {
        "PATH": SYSTEM_PATH,
        "PODBUILD_TOOLCHAIN": "private",
        "XDG_STATE_HOME": str(own_folders().state.parent),
    }


def kill_with_a_real_engine(make_trial: MakeTrial, seed: int) -> None:
    reference = make_trial(**real_engine())
    ended = reference.release()
    assert ended.code == 0, ended.said
    trial = make_trial(**real_engine())
    trial.release(kill=moments(seed, reference.writes()))
    finishes(trial, Undisturbed(digests=reference.check_finished(), writes=0))


def test_kill_with_a_real_engine_at_some_write(make_trial: MakeTrial) -> None:
    kill_with_a_real_engine(make_trial, 1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(200, 230))
def test_kill_with_a_real_engine_at_any_write(make_trial: MakeTrial, seed: int) -> None:
    kill_with_a_real_engine(make_trial, seed)


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
    trial.release_signalled((random.Random(seed).uniform(0.3, 6.0), signal.SIGKILL))
    finishes(trial, undisturbed)
