"""Releases, snapshots and a prune at the same time: whatever the order of their requests."""

from __future__ import annotations

import pytest

from podbuild.publish.move import Outcome
from tests.branch_races import EDGE, BranchRace, race_of_snapshots
from tests.races import race_of_releases, race_with_trouble, taking_turns


@pytest.mark.parametrize("tens", range(4))
def test_right_image_stays_whichever_release_is_last(tens: int) -> None:
    for seed in range(tens * 10, tens * 10 + 10):
        race_of_releases(seed)


@pytest.mark.parametrize("tens", range(4))
def test_failure_or_kill_in_between_changes_nothing_of_that(tens: int) -> None:
    for seed in range(tens * 10, tens * 10 + 10):
        race_with_trouble(seed)


def test_newest_snapshot_of_a_branch_keeps_its_tag() -> None:
    covered = [seed for seed in range(200) if race_of_snapshots(seed).covered]
    assert len(covered) < 60  # what no look can find out; without a second one, twice as many


def test_snapshot_that_is_out_while_git_is_asked_is_not_covered() -> None:
    race = BranchRace(seed=0, commits=3)

    def newest_is_out() -> None:
        for store in race.registries.values():
            store.put_manifest(race.images[2], EDGE)

    race.meanwhile = newest_is_out
    with taking_turns(race.turns):
        race.turns.run(lambda: race.snapshot(1))
    assert race.outcomes[1] == {Outcome.SKIPPED}
    for store in race.registries.values():
        assert store.named[EDGE] == race.images[2].digest


def test_seed_repeats_a_race_exactly() -> None:
    assert race_of_releases(7).turns.taken == race_of_releases(7).turns.taken
