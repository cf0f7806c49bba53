"""SECURITY.md names the tests that attack; each of them exists and tests something."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)`", PAGE)))


@pytest.mark.parametrize("name", NAMED)
def test_each_test_file_that_the_page_names_exists(name: str) -> None:
    assert "def test_" in (ROOT / name).read_text()


@pytest.mark.parametrize(
    "party", ["RUN step", "repository", "registry", "cache", "neighbour", "runner"]
)
def test_each_party_has_tests(party: str) -> None:
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("|")]
    (row,) = (row for row in rows if f"**{party}**" in row[1])
    assert "`tests/" in row[4]
