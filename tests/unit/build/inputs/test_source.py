"""What commit and configuration decide of an image's inputs, as a hash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from podbuild.build.inputs.contents import Contents
from podbuild.build.inputs.hash import Sources, is_whole
from podbuild.build.inputs.recipe import Surroundings, make_recipe
from podbuild.build.inputs.wanted import BaseFacts
from podbuild.config.load import load_config
from podbuild.oci.names import Platform
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Job, Plan, Request
from podbuild.semver import Version

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
PIN = f"docker.io/library/x@sha256:{'1' * 64}"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "podbuild.toml").write_text(
        '[project]\nname = "shop"\n[defaults]\nplatforms = ["linux/amd64"]\n[images.base]\n'
        'containerfile = "Base"\n[images.web]\ncontexts = { base = "image:base" }\n'
    )
    (tmp_path / "Base").write_text("FROM x\nCOPY one /\n")
    (tmp_path / "Containerfile").write_text("FROM base\nCOPY two /\n")
    for name in ("one", "two", "three"):
        (tmp_path / name).write_text(name)
    return tmp_path


def planned(folder: Path) -> Plan:
    config = load_config(folder / "podbuild.toml", {})
    return make_plan(config, Request(version=Version(1, 0, 0)), Commit(commit="a" * 40))


def source(folder: Path, image: str = "web", *, whole: bool = False) -> str:
    sources = Sources(plan=planned(folder), output=folder / "dist", contents=Contents())
    return sources.of(Job(image, AMD64), whole=whole)


def made(folder: Path, *, build: Platform = AMD64, facts: BaseFacts | None = None) -> str:
    plan = planned(folder)
    around = Surroundings(
        build=build,
        output=folder / "dist",
        pins={"x": PIN},
        facts=lambda _pin, _platform: facts or BaseFacts(),
    )
    sources = Sources(plan=plan, output=folder / "dist", contents=Contents())
    found = [
        sources.made_by(make_recipe(plan, plan.image(name), AMD64, around))
        for name in ("base", "web")
    ]
    return found[-1]


def put_link(place: Path) -> None:
    place.unlink()
    place.symlink_to("three")


CHANGES: dict[str, tuple[bool, Callable[[Path], object]]] = {
    "a file it takes": (True, lambda folder: (folder / "two").write_text("other")),
    "a file of its base": (True, lambda folder: (folder / "one").write_text("other")),
    "its Containerfile": (
        True,
        lambda folder: (folder / "Containerfile").write_text("FROM base\n"),
    ),
    "a link in a file's place": (True, lambda folder: put_link(folder / "two")),
    "a file it does not take": (False, lambda folder: (folder / "three").write_text("other")),
    "a mode": (False, lambda folder: (folder / "two").chmod(0o600)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_it(change: str, project: Path) -> None:
    before = source(project)
    changes, make = CHANGES[change]
    make(project)
    assert (source(project) != before) == changes


def test_what_is_built_says_the_same_wherever_it_was_built(project: Path) -> None:
    assert {made(project), made(project, build=ARM64)} == {source(project)}


def test_where_a_base_takes_files_everything_counts(project: Path) -> None:
    found = made(project, facts=BaseFacts(triggers=("COPY . /all",)))
    assert is_whole(found)
    assert found == source(project, whole=True)
    (project / "three").write_text("other")
    assert source(project, whole=True) != found


def test_its_files_are_those_that_it_is_over(project: Path) -> None:
    sources = Sources(plan=planned(project), output=project / "dist", contents=Contents())
    files = {each.name for each in sources.files(Job("web", AMD64), whole=False)}
    assert files == {"Containerfile", "two"}
