"""Releases through proxies that break things at random: never a partial one, never a lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.faults import Proxy, RandomFaults, fault_proxy
from tests.registries import Server
from tests.soak.trials import Ended, Trial

pytestmark = pytest.mark.integration
MakeTrial = Callable[..., Trial]
RATES = (0.02, 0.05, 0.1, 0.3)
HONEST = frozenset({4, 7, 8, 9})  # how a release may end that such faults did not let through


@dataclass(frozen=True)
class Weather:
    """Two proxies with the same chance of faults."""

    one: Proxy
    two: Proxy


@contextmanager
def storm(servers: tuple[Server, Server], seed: int) -> Iterator[Weather]:
    """Put a proxy in front of each registry; the seed decides how bad it gets."""
    rate = RATES[seed % len(RATES)]
    with (
        fault_proxy(servers[0].host, RandomFaults(seed, rate=rate)) as one,
        fault_proxy(servers[1].host, RandomFaults(seed + 10_000, rate=rate)) as two,
    ):
        yield Weather(one, two)


def release_in(servers: tuple[Server, Server], make_trial: MakeTrial, seed: int) -> Ended:
    """Release in a storm, check what it says, then finish it in good weather."""
    with storm(servers, seed) as weather:
        trial = make_trial(one=weather.one.host, two=weather.two.host, HURRY="50")
        ended = trial.release()
        trial.check_nothing_partial()
        if ended.code == 0:
            trial.check_finished()
        else:
            assert ended.code in HONEST, ended.said
        if ended.code == 7:
            assert not any("1.2.3" in tags for tags in trial.tags().values()), ended.said
        weather.one.faults = weather.two.faults = RandomFaults(0, rate=0.0)
        again = trial.release()
        assert again.code == 0, again.said
        trial.check_finished()
        trial.check_nothing_left()
    return ended


@pytest.mark.parametrize("seed", range(4))
def test_release_through_faults_is_whole_or_says_what_it_is(
    servers: tuple[Server, Server], make_trial: MakeTrial, seed: int
) -> None:
    release_in(servers, make_trial, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_two_hundred_releases_through_faults(
    servers: tuple[Server, Server],
    make_trial: MakeTrial,
    record_property: Callable[[str, object], None],
    seed: int,
) -> None:
    """All get through by themselves at the lowest rate; `make soak` reports how many at others."""
    rate = RATES[seed % len(RATES)]
    ended = release_in(servers, make_trial, seed)
    record_property(f"through faults at {rate:.0%}", ended.code)
    assert ended.code == 0 or rate > RATES[0], ended.said
