"""Two releases and a prune at the same time: whatever the order of their requests."""

from __future__ import annotations

import pytest

from tests.races import race_of_releases, race_with_trouble


@pytest.mark.parametrize("tens", range(4))
def test_right_image_stays_whichever_release_is_last(tens: int) -> None:
    for seed in range(tens * 10, tens * 10 + 10):
        race_of_releases(seed)


@pytest.mark.parametrize("tens", range(4))
def test_failure_or_kill_in_between_changes_nothing_of_that(tens: int) -> None:
    for seed in range(tens * 10, tens * 10 + 10):
        race_with_trouble(seed)


def test_seed_repeats_a_race_exactly() -> None:
    assert race_of_releases(7).turns.taken == race_of_releases(7).turns.taken
