"""The input hash: everything that reaches an image changes it, nothing else does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from podbuild.build.inputs.contents import Contents
from podbuild.build.inputs.hash import input_hash
from podbuild.build.inputs.readings import Readings
from podbuild.build.inputs.recipe import (
    FIXED_INSTANT,
    Recipe,
    Surroundings,
    make_recipe,
    outside_images,
)
from podbuild.build.model import InputHash
from podbuild.config.load import parse_config
from podbuild.errors import ConfigError
from podbuild.oci.names import Platform
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Job, Plan, Request
from podbuild.semver import Version

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
PIN = "docker.io/library/debian@sha256:" + "1" * 64
TOML = """\
[project]
name = "shop"

[images.base]
context = "base"
publish = false

[images.web]
context = "web"
target = "runtime"
contexts = { base = "image:base", extra = "extra", tools = "docker-image://debian:trixie" }
build-args = { FLAVOR = "slim" }
secrets = [{ id = "npm", env = "NPM_TOKEN" }]
ssh = ["default"]
labels = { team = "shop" }
annotations = { note = "stable" }
"""
IGNORE = ".containerignore\nleft.txt\n"
WEB = """\
FROM base AS build
RUN true
FROM debian:trixie AS runtime
COPY --from=build / /made
COPY . /context
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for folder in ("base", "web", "extra"):
        (tmp_path / folder).mkdir()
    (tmp_path / "base" / "Containerfile").write_text("FROM scratch\nCOPY . /\n")
    (tmp_path / "web" / "Containerfile").write_text(WEB)
    (tmp_path / "web" / "main.py").write_text("print()")
    (tmp_path / "web" / "left.txt").write_text("left out")
    (tmp_path / "web" / ".containerignore").write_text(IGNORE)
    (tmp_path / "extra" / "file").write_text("extra")
    return tmp_path


@dataclasses.dataclass(kw_only=True)
class Case:
    """All that a hash is made from, to be changed piece by piece."""

    project: Path
    toml: str = TOML
    platform: Platform = ARM64
    build: Platform = AMD64
    output: str = "dist"
    version: str = "1.2.3"
    commit: str = "a" * 40
    created: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    engine: str = "buildah-1.43.2"
    git: str = "a" * 40
    pins: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"debian:trixie": PIN})

    def plan(self) -> Plan:
        config = parse_config(self.toml, self.project / "podbuild.toml", {})
        source = Commit(commit=self.commit, created=self.created, branch="main")
        return make_plan(config, Request(version=Version.parse(self.version)), source)

    def recipe(self, image: str = "web", platform: Platform | None = None) -> Recipe:
        plan = self.plan()
        around = Surroundings(build=self.build, output=self.project / self.output, pins=self.pins)
        return make_recipe(plan, plan.image(image), platform or self.platform, around)

    def hash(self) -> InputHash:
        known: dict[Job, InputHash] = {}
        for image, platform in (("base", AMD64), ("base", ARM64), ("web", self.platform)):
            recipe = self.recipe(image, platform)
            known[recipe.job] = input_hash(
                recipe, engine=self.engine, contents=Contents(), git=self.git, inner=known
            )
        return known[Job("web", self.platform)]


def replaced(old: str, new: str) -> Callable[[Case], None]:
    def change(case: Case) -> None:
        assert old in case.toml
        case.toml = case.toml.replace(old, new)

    return change


def given(**values: object) -> Callable[[Case], None]:
    def change(case: Case) -> None:
        for name, value in values.items():
            setattr(case, name, value)

    return change


def written(name: str, text: str) -> Callable[[Case], None]:
    def change(case: Case) -> None:
        (case.project / name).write_text(text)

    return change


def in_image(line: str) -> Callable[[Case], None]:
    return replaced('target = "runtime"', f'target = "runtime"\n{line}')


CHANGES: dict[str, Callable[[Case], None]] = {
    "Containerfile": written("web/Containerfile", f"{WEB}RUN true\n"),
    "a file": written("web/main.py", "print(1)"),
    "a mode": lambda case: (case.project / "web" / "main.py").chmod(0o755),
    "ignore file": written("web/.containerignore", f"{IGNORE}nothing\n"),
    "extra context": written("extra/file", "other"),
    "build argument": replaced("slim", "fat"),
    "label": replaced('team = "shop"', 'team = "web"'),
    "child annotation": replaced("stable", "other"),
    "secret id": replaced('id = "npm"', 'id = "yarn"'),
    "ssh id": replaced('ssh = ["default"]', 'ssh = ["deploy"]'),
    "network": in_image('network = "none"'),
    "pinned base": given(pins={"debian:trixie": PIN.replace("1", "2")}),
    "a base that has no pin": given(pins={}),
    "inner base": written("base/file", "new"),
    "engine version": given(engine="buildah-1.43.3"),
    "engine": given(engine="podman-5.8.6"),
    "platform": given(platform=AMD64),
    "target": replaced('target = "runtime"', 'target = "build"'),
    "format": in_image('format = "docker"'),
    "compression": in_image('compression = "zstd"'),
    "layers": in_image("layers = false"),
    "timestamp": in_image('timestamp = "commit"'),
    "project text": replaced('name = "shop"', 'name = "shop"\ndescription = "a shop"'),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_input_changes_the_hash(project: Path, change: str) -> None:
    case = Case(project=project)
    before = case.hash()
    CHANGES[change](case)
    assert case.hash().text != before.text


INDIFFERENT: dict[str, Callable[[Case], None]] = {
    "version": given(version="2.0.0"),
    "commit and its date": given(commit="b" * 40, created=datetime(2027, 1, 1, tzinfo=UTC)),
    "a file that is left out": written("web/left.txt", "other"),
    "a comment in the ignore file": written("web/.containerignore", f"# why\n{IGNORE}"),
    "registries": lambda case: given(
        toml=case.toml + '[registries.r]\nrepository = "r.example.com/{image}"\n'
    )(case),
    "a registry in dist": lambda case: given(
        toml=case.toml + '[registries.r]\nkind = "layout"\npath = "dist/other/{image}"\n'
    )(case),
    "tags": lambda case: given(toml=case.toml + '[tags]\nrelease = ["{version}"]\n')(case),
    "where a secret is": replaced('env = "NPM_TOKEN"', 'file = "token"'),
    "where an agent is": replaced('["default"]', '["default=/run/agent"]'),
    "timeout and pull": in_image('timeout = "1h"\npull = "missing"'),
    "publish": in_image("publish = false"),
    "git, which is not sent": given(git="b" * 40),
    "the machine that builds": given(build=ARM64),
    "the output folder": given(output="out"),
}


@pytest.mark.parametrize("change", INDIFFERENT)
def test_what_does_not_reach_the_image_leaves_the_hash(project: Path, change: str) -> None:
    case = Case(project=project)
    before = case.hash()
    INDIFFERENT[change](case)
    assert case.hash() == before


def test_the_hash_is_the_same_in_another_folder(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = Case(project=project).hash()
    moved = project.rename(tmp_path_factory.mktemp("elsewhere") / "project")
    assert Case(project=moved).hash() == before


def test_git_is_an_input_where_it_is_sent(project: Path) -> None:
    (project / "web" / ".git").mkdir()
    (project / "web" / ".containerignore").write_text("!.git\n")
    assert Case(project=project).hash() != Case(project=project, git="b" * 40).hash()


def test_what_podbuild_writes_is_no_input_of_what_is_made_beside_it(project: Path) -> None:
    whole = Case(project=project)
    replaced('extra = "extra"', 'extra = "."')(whole)
    in_image('ignorefile = "ignore"')(whole)
    written("ignore", "*\n!web\n!dist\n")(whole)
    replaced('context = "web"', 'context = "."\ncontainerfile = "web/Containerfile"')(whole)
    (project / "dist").mkdir()
    written("dist/app.js", "app")(whole)
    before = whole.hash()
    for name in ("dist/state.json", "dist/plan.json"):
        written(name, "{}")(whole)
    (project / ".git").mkdir()
    written(".git/HEAD", "ref")(whole)
    assert whole.hash() == before
    written("dist/app.js", "another")(whole)
    assert whole.hash() != before


def test_the_value_of_a_secret_is_no_input_wherever_its_file_lies(project: Path) -> None:
    case = Case(project=project)
    replaced('env = "NPM_TOKEN"', 'file = "web/token"')(case)
    replaced('extra = "extra"', 'extra = "web"')(case)
    written("web/token", "one")(case)
    before = case.hash()
    written("web/token", "another")(case)
    assert case.hash() == before


def test_a_secret_of_another_image_is_in_no_context_either(project: Path) -> None:
    case = Case(project=project)
    replaced('context = "base"', 'context = "base"\nsecrets = [{ id = "s", file = "web/s" }]')(case)
    written("web/s", "one")(case)
    assert "s" in case.recipe().own
    narrowed = make_plan(
        parse_config(case.toml, project / "podbuild.toml", {}),
        Request(version=Version.parse("1.2.3"), images=("web",)),
        case.plan().source,
    )
    assert narrowed.secret_files == case.plan().secret_files == (project / "web" / "s",)


def test_an_extra_context_that_sends_git_is_never_used_again(project: Path) -> None:
    case = Case(project=project)
    (project / "extra" / ".git").mkdir()
    assert case.hash().reusable
    written("extra/.dockerignore", "!.git\n")(case)
    assert case.hash().never_again == "the context extra sends its .git"


@pytest.mark.parametrize(
    "text",
    [
        WEB.replace("FROM base", "FROM --platform=$BUILDPLATFORM base"),
        f"{WEB}ARG BUILDARCH\n",
        f"{WEB}ARG BUILDVARIANT\n",
    ],
)
def test_the_machine_that_builds_is_an_input_where_it_is_named(project: Path, text: str) -> None:
    case = Case(project=project)
    written("web/Containerfile", text)(case)
    before = case.hash()
    case.build = ARM64
    assert case.hash() != before


@pytest.mark.parametrize("platform", ["$BUILDPLATFORM", "linux/amd64", "amd64"])
def test_an_image_for_another_platform_is_an_input_instead_of_its_own(
    project: Path, platform: str
) -> None:
    case = Case(project=project)
    written("web/Containerfile", WEB.replace("base AS", f"--platform={platform} base AS"))(case)
    recipe, before = case.recipe(), case.hash()
    assert (dict(recipe.inner.here), dict(recipe.inner.across)) == ({}, {0: Job("base", AMD64)})
    written("base/Containerfile", "FROM --platform=linux/arm64 scratch\nCOPY . /\n")(case)
    assert case.hash() != before


def test_a_version_in_a_build_argument_is_an_input(project: Path) -> None:
    case = Case(project=project)
    replaced("slim", "{version}")(case)
    before = case.hash()
    case.version = "1.2.4"
    assert case.hash() != before


NOT_IN_THE_HASH = {
    "files": "what is wanted is",
    "selecting": "the Containerfile is, and what it takes",  # and why
    "containerfile": "its text is",
    "parsed": "its text is",
    "context": "its content is",
    "own": "podbuild's own patterns; what they leave is in the content",
    "isolation": "how RUN is kept apart gives no other files",
    "pull": "where a pinned base comes from changes nothing",
    "uncached": "it follows from the bases; steps that are made anew are the same",
    "timeout": "a build that ends in time is the same",
}


def test_every_field_of_a_recipe_is_hashed_or_has_a_reason() -> None:
    source = Path(input_hash.__code__.co_filename).read_text()
    named = {field.name for field in dataclasses.fields(Recipe) if f"recipe.{field.name}" in source}
    named |= {"job"} if "recipe.job" in source else set()
    every = {field.name for field in dataclasses.fields(Recipe)}
    assert every - named - NOT_IN_THE_HASH.keys() == set()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ADD https://example.com/x /x", "Containerfile:5: ADD fetches"),
        ("COPY --from=alpine / /", "alpine is not pinned"),
    ],
)
def test_what_may_change_by_itself_is_never_used_again(
    project: Path, line: str, reason: str
) -> None:
    case = Case(project=project)
    assert case.hash().reusable
    text = WEB.replace("COPY . /context\n", f"{line}\n")
    written("web/Containerfile", text)(case)
    found = case.hash()
    assert not found.reusable
    assert found.never_again.startswith(reason)


def test_what_builds_on_something_that_may_change_is_never_used_again(project: Path) -> None:
    case = Case(project=project)
    written("base/Containerfile", "FROM scratch\nADD https://example.com/x /x\n")(case)
    assert case.hash().never_again.startswith("it builds on base: Containerfile:2: ADD fetches")


def test_outside_images_are_told_for_all_platforms_once(project: Path) -> None:
    plan = Case(project=project).plan()
    assert outside_images(plan, plan.image("web"), AMD64, Readings()) == ("debian:trixie",)
    assert outside_images(plan, plan.image("base"), AMD64, Readings()) == ()


def test_pins_stand_under_the_text_of_the_containerfile(project: Path) -> None:
    case = Case(project=project)
    text = "ARG SUITE=trixie\n" + WEB.replace("debian:trixie", "debian:${SUITE}")
    written("web/Containerfile", text)(case)
    assert case.recipe().pins == {"debian:${SUITE}": PIN, "tools": PIN}


def test_a_label_of_the_containerfile_wins_over_the_projects_texts(project: Path) -> None:
    title = "org.opencontainers.image.title"
    case = Case(project=project)
    assert case.recipe().labels[title] == "web"
    written("web/Containerfile", f"{WEB}LABEL {title}=mine team=mine\n")(case)
    assert case.recipe().labels == {"team": "shop"}


def test_files_have_one_instant_or_the_commits(project: Path) -> None:
    case = Case(project=project)
    assert case.recipe().instant == FIXED_INSTANT
    in_image('timestamp = "commit"')(case)
    assert case.recipe().instant == int(case.created.timestamp())


def test_a_containerfile_that_is_no_text_is_an_error(project: Path) -> None:
    (project / "web" / "Containerfile").write_bytes(b"FROM a\xff\n")
    with pytest.raises(ConfigError, match="Containerfile:1: not UTF-8"):
        Case(project=project).recipe()
