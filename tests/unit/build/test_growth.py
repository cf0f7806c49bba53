"""What many images cost that share a context and an output folder grows with their number."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from podbuild.build.handover import hand_over
from podbuild.build.inputs.recipe import Surroundings, make_recipe
from podbuild.build.model import BuildRecord, InputHash
from podbuild.build.staging.area import Staging
from podbuild.build.staging.pool import Pool
from podbuild.config.load import parse_config
from podbuild.oci.names import Platform
from podbuild.plan.journal import Binding, Section, open_journal
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Job, Request
from podbuild.semver import Version
from tests.counting import calls
from tests.images import make_image

AMD64 = Platform("linux", "amd64")
HEAD = '[project]\nname = "shop"\n[defaults]\nplatforms = ["linux/amd64"]\n'
TAIL = '[registries.here]\nkind = "layout"\npath = "dist/{image}"\n'


def recipes(folder: Path) -> Callable[[int], None]:
    """Give what makes a monorepo's recipes: all its images have one context."""
    (folder / "Containerfile").write_text("FROM scratch\nCOPY a /\n")

    def work(count: int) -> None:
        images = "".join(f"[images.image{number}]\n" for number in range(count))
        config = parse_config(HEAD + images + TAIL, folder / "podbuild.toml", {})
        plan = make_plan(config, Request(version=Version(1, 0, 0)), Commit(commit="0" * 40))
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
