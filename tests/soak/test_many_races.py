"""The races of the unit tests, with a thousand more seeds."""

from __future__ import annotations

import pytest

from tests.branch_races import race_of_snapshots
from tests.races import race_of_releases, race_with_trouble

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("hundred", range(10, 15))
def test_right_image_stays_whichever_release_is_last(hundred: int) -> None:
    for seed in range(hundred * 100, hundred * 100 + 100):
        race_of_releases(seed)


@pytest.mark.parametrize("hundred", range(10, 15))
def test_failure_or_kill_in_between_changes_nothing_of_that(hundred: int) -> None:
    for seed in range(hundred * 100, hundred * 100 + 100):
        race_with_trouble(seed)


@pytest.mark.parametrize("hundred", range(10, 15))
def test_newest_snapshot_of_a_branch_keeps_its_tag(hundred: int) -> None:
    for seed in range(hundred * 100, hundred * 100 + 100):
        race_of_snapshots(seed)
