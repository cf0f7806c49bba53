from __future__ import annotations

from pathlib import Path

import pytest

from podbuild.build.inputs.recipe import Recipe, Surroundings, make_recipe
from podbuild.build.jobs import likely_seconds, priorities, remember
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.config.load import parse_config
from podbuild.oci.names import Platform
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Job, Request
from podbuild.system.records import Records

HERE = Platform("linux", native_architecture())
ELSEWHERE = Platform("linux", "riscv64")
BASE, WEB, API = (Job(name, HERE) for name in ("base", "web", "api"))
NEEDS = {BASE: (), API: (BASE,), WEB: (BASE,)}
START = "FROM scratch\n"


def one(_job: Job) -> float:
    return 1.0


def recipe_of(folder: Path, text: str, platform: Platform) -> Recipe:
    (folder / "Containerfile").write_text(text)
    toml = f'[project]\nname = "p"\n[images.web]\nplatforms = ["{platform}"]\n'
    config = parse_config(toml, folder / "podbuild.toml", {})
    plan = make_plan(config, Request(), Commit(branch="main"))
    around = Surroundings(build=HERE, output=folder / "dist", pins={})
    return make_recipe(plan, plan.image("web"), platform, around)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "records")


def test_what_took_longest_comes_first(records: Records) -> None:
    remember({API: 2.0, WEB: 9.0}, records)
    remember({BASE: 1.0}, records)
    found = priorities(NEEDS, records, one)
    assert found == {WEB: 9.0, API: 2.0, BASE: 10.0}


@pytest.mark.parametrize(
    ("short", "long"),
    [
        pytest.param(START + "COPY a /a\n", START + "COPY a /a\nCOPY b /b\n", id="more steps"),
        pytest.param(START + "ENV A=1\n" * 3, START + "RUN true\n", id="a RUN is no ENV"),
        pytest.param(
            "FROM scratch AS other\n" + "RUN true\n" * 9 + START + "RUN true\n",
            START + "RUN true\n" * 2,
            id="stages that the target does not need",
        ),
    ],
)
def test_the_longer_file_is_guessed_to_take_longer(tmp_path: Path, short: str, long: str) -> None:
    first, second = (likely_seconds(recipe_of(tmp_path, text, HERE)) for text in (short, long))
    assert second > first


def test_a_foreign_platform_is_guessed_to_take_longer(tmp_path: Path) -> None:
    here, there = (recipe_of(tmp_path, START, platform) for platform in (HERE, ELSEWHERE))
    assert likely_seconds(there) > likely_seconds(here)


def test_the_chain_behind_a_job_counts(records: Records) -> None:
    found = priorities({BASE: (), WEB: (), API: (WEB,)}, records, one)
    assert found[WEB] > found[BASE]


def test_a_damaged_record_is_a_guess(records: Records) -> None:
    records.write("durations.json", {str(WEB): "long", str(API): None})
    assert priorities(NEEDS, records, one) == priorities(
        NEEDS, Records(records.folder / "none"), one
    )
