from __future__ import annotations

from pathlib import Path

import pytest

from podbuild.build.jobs import priorities, remember
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.oci.names import Platform
from podbuild.plan.model import Job
from podbuild.system.records import Records

HERE = Platform("linux", native_architecture())
ELSEWHERE = Platform("linux", "riscv64")
BASE, WEB, API = (Job(name, HERE) for name in ("base", "web", "api"))
NEEDS = {BASE: (), API: (BASE,), WEB: (BASE,)}


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "records")


def test_what_took_longest_comes_first(records: Records) -> None:
    remember({API: 2.0, WEB: 9.0}, records)
    remember({BASE: 1.0}, records)
    found = priorities(NEEDS, records)
    assert found == {WEB: 9.0, API: 2.0, BASE: 10.0}


def test_a_foreign_platform_comes_first_where_nothing_is_known(records: Records) -> None:
    here, there = Job("web", HERE), Job("web", ELSEWHERE)
    found = priorities({here: (), there: ()}, records)
    assert found[there] > found[here]


def test_the_chain_behind_a_job_counts(records: Records) -> None:
    found = priorities({BASE: (), WEB: (), API: (WEB,)}, records)
    assert found[WEB] > found[BASE]


def test_a_damaged_record_is_a_guess(records: Records) -> None:
    records.write("durations.json", {str(WEB): "long", str(API): None})
    assert priorities(NEEDS, records) == priorities(NEEDS, Records(records.folder / "none"))
