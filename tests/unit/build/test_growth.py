"""What many images cost that share a context and an output folder grows with their number."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from podbuild.build.engines import source_of
from podbuild.build.handover import hand_over
from podbuild.build.inputs.contents import Contents
from podbuild.build.inputs.hash import Sources
from podbuild.build.inputs.readings import Readings
from podbuild.build.inputs.recipe import Surroundings, make_recipe, outside_images
from podbuild.build.model import BuildRecord, InputHash
from podbuild.build.results import Results
from podbuild.build.staging.area import Pool, Staging
from podbuild.config.load import parse_config
from podbuild.oci.names import Platform
from podbuild.plan.destination import Destination, Planned
from podbuild.plan.journal import Binding, Section, open_journal
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Job, Plan, Request
from podbuild.semver import Version
from podbuild.system.files import read_plain
from tests.counting import Walked, arguments, calls
from tests.images import make_image

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
HEAD = '[project]\nname = "shop"\n[defaults]\nplatforms = ["linux/amd64"]\n'
TAIL = '[registries.here]\nkind = "layout"\npath = "dist/{image}"\n'


def planned(folder: Path, count: int) -> Plan:
    images = "".join(f"[images.image{number}]\n" for number in range(count))
    config = parse_config(HEAD + images + TAIL, folder / "podbuild.toml", {})
    return make_plan(config, Request(version=Version(1, 0, 0)), Commit(commit="0" * 40))


def recipes(folder: Path) -> Callable[[int], None]:
    """Give what makes a monorepo's recipes: all its images have one context."""
    (folder / "Containerfile").write_text("FROM scratch\nCOPY a /\n")

    def work(count: int) -> None:
        plan = planned(folder, count)
        around = Surroundings(build=AMD64, output=folder / "dist")
        for image in plan.images:
            make_recipe(plan, image, AMD64, around)

    return work


def hand_overs(folder: Path) -> Callable[[int], None]:
    """Give what hands over so many images for the second time."""
    places = itertools.count()

    def work(count: int) -> None:
        place = folder / str(next(places))
        binding = Binding(release="1.0.0", commit="0" * 40, configuration="", toolchain="")
        journal = open_journal(place, binding).journal
        staging = Staging(Pool(place / "cache"))
        built = {}
        for number in range(count):
            image = make_image(staging.repository("web"), f"{number}".encode())
            record = BuildRecord(digest=image.digest, inputs=InputHash(text=f"sha256:{'1' * 64}"))
            built[str(Job(f"image{number}", AMD64))] = record.to_json()
        journal.record_all(Section.BUILT, built)
        for _ in range(2):
            hand_over(place, journal, staging)

    return work


@pytest.mark.parametrize("of", [recipes, hand_overs])
def test_four_times_the_images_are_four_times_the_work(
    of: Callable[[Path], Callable[[int], None]], tmp_path: Path
) -> None:
    work = of(tmp_path)
    work(5)  # what is compiled and kept at the first use
    few, many = calls(work, 25), calls(work, 100)
    assert many < 4.6 * few


def test_a_file_is_read_once_for_all_recipes_that_it_is_part_of(tmp_path: Path) -> None:
    (tmp_path / "Containerfile").write_text("FROM scratch\nCOPY a /\n")
    (tmp_path / "a").write_text("a")
    (tmp_path / ".dockerignore").write_text("b\n")
    plan = planned(tmp_path, 3)
    readings = Readings()
    around = Surroundings(build=AMD64, output=tmp_path / "dist", readings=readings)
    sources = Sources(plan=plan, output=around.output, contents=Contents(), readings=readings)

    def work() -> None:
        for image in plan.images:
            outside_images(plan, image, AMD64, readings)
            for platform in (AMD64, ARM64):
                sources.made_by(make_recipe(plan, image, platform, around))

    read = arguments(read_plain, "path", work)
    assert read == {tmp_path / "Containerfile": 1, tmp_path / ".dockerignore": 1}


def test_what_earlier_releases_left_is_not_looked_for_among_all_images(tmp_path: Path) -> None:
    plan = planned(tmp_path, 5)
    everywhere = Walked[Destination]()
    binding = Binding(release="1.0.0", commit="0" * 40, configuration="", toolchain="")
    staging = Staging(Pool(tmp_path / "cache"))
    results = Results(
        planned=Planned(plan=plan, destinations=everywhere),
        journal=open_journal(tmp_path / "dist", binding).journal,
        staging=staging,
        folder=tmp_path / "results",
        hashes=dict.fromkeys(plan.jobs, InputHash(text=f"sha256:{'1' * 64}")),
        reuse=True,
    )
    assert not results.known
    assert everywhere.times == 1
    source = source_of(Planned(plan=plan, destinations=everywhere), staging)
    for image in plan.images:
        source(image.name)
    assert everywhere.times == 2
