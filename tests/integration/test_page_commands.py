"""The pages that people follow, followed: each command runs, in order, where its page puts it.

A section is a project of its own, with the configuration of the section and a real registry.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.builds import NATIVE
from tests.registries import Server, registry_server
from tests.shops import Shop, environment

pytestmark = pytest.mark.integration

DOCS = Path(__file__).parents[2] / "docs"
PAGES = (
    *("how-to.md", "migration.md", "following.md", "operating.md", "metadata-action.md"),
    *("ci.md", "audit.md"),
)

# What no test of a page can run, and which test does it with what it needs.
ELSEWHERE = {
    "toolchain install --source podman-static": "test_toolchain_podman_static.py, from a mirror",
    "toolchain install": "scripts/test, before any test",
    "notes v1.2.3 --update": "test_notes.py, on fakes of the forges",
    "release --from": "test_fan_out.py: an option without its folder",
    "build --load": "test_build.py: it writes into the user's own storage",
    "build --version 1.2.3": "test_fan_out.py: a leg, with what it hands over to",
    "release": "every section that has one",
}
WORKFLOW = """\
on: {push: {tags: ["v*"]}}
jobs:
  x:
    steps:
      - uses: docker/build-push-action@v6
        with: {context: ., tags: "ghcr.io/acme/web:1"}
"""
BAKE = 'target "web" { tags = ["ghcr.io/acme/web:1"] }\n'
COMPOSE = "services:\n  web: {build: ., image: PLACE/web:1.2.2}\n"
POD = "spec:\n  containers:\n  - {name: web, image: PLACE/web:1.2.2}\n"
SERVICE = '\n[defaults]\nplatforms = ["PLATFORM"]\n[images.web]\n'


@dataclass(frozen=True, kw_only=True)
class Section:
    """What a section needs before its first command, and what its sentences name."""

    releases: tuple[str, ...] = ("v1.2.3",)
    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()
    codes: Mapping[str, int] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    configured: bool = True  # by a podbuild.toml


CONTAINERFILE = "FROM scratch\nCOPY <<EOT /hello\nhello\nEOT\n"
EDGE = '[tags]\nbranches = { main = ["edge"] }\n'
DEPLOYED = {"deploy/production/web.yaml": POD, "deploy/staging/web.yaml": POD}
SECTIONS = {
    "Build pull requests": Section(releases=(), environment={"PODBUILD_PULL_REQUEST": "7"}),
    "Build every night": Section(releases=(), sentences=("snapshot",)),
    "Release from a monorepo": Section(
        releases=(),
        files={"services/web/Containerfile": CONTAINERFILE, "services/web/.gitignore": "dist/\n"},
    ),
    "Take a release from staging to production": Section(
        releases=("v1.2.2", "v1.2.3"), files=DEPLOYED
    ),
    "Clean registries up": Section(),
    "Coming from other tools": Section(
        releases=(), sentences=("release --skip-push", "build web api")
    ),
    "docker buildx and the docker/* actions": Section(
        configured=False, releases=(), files={".github/workflows/release.yml": WORKFLOW}
    ),
    "docker buildx bake": Section(configured=False, releases=(), files={"docker-bake.hcl": BAKE}),
    "docker compose": Section(files={"compose.yaml": COMPOSE}),
    "Release notes": Section(),
    "Deployment files": Section(
        releases=("v1.2.2", "v1.2.3"),
        files={"compose.yaml": COMPOSE, "deploy/web.yaml": POD, **DEPLOYED},
        environment={"PODBUILD_YES": "1"},
        before=("snapshot", "promote 1.2.2 production"),
        codes={"pin v1.2.3 --check": 10, "pin --check": 10},
        sentences=(
            *("promote 1.2.3 production", "pin --deploy production"),
            *("pin v1.2.2 --deploy production", "pin v1.2.3 --format env", "pin --check"),
        ),
    ),
    "Pipelines": Section(releases=(), sentences=("ci matrix --slices 4", "ci matrix")),
    "What is in an image, and which line put it there": Section(
        sentences=("build web", "check --order")
    ),
    "When something fails": Section(releases=(), sentences=("clean", "prune --apply")),
}


def sections() -> Iterator[tuple[str, str, str]]:
    """Give page, heading and text of each section."""
    for page in PAGES:
        text = (DOCS / page).read_text()
        parts = re.split(r"^##? (.*)$", text, flags=re.MULTILINE)
        for heading, body in zip(parts[1::2], parts[2::2], strict=True):
            yield page, heading, body


def typed(text: str) -> tuple[str, ...]:
    """Give the commands of podbuild in a text's blocks."""
    lines = re.findall(r"^\$ podbuild ([^#\n]*)", text, re.MULTILINE)
    return tuple(each.strip() for each in lines)


WITH_COMMANDS = [
    (page, heading, text)
    for page, heading, text in sections()
    if any(each not in ELSEWHERE for each in typed(text)) or heading in SECTIONS
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with registry_server() as server:
        yield server


@pytest.mark.parametrize(
    ("page", "heading", "text"), WITH_COMMANDS, ids=[heading for _, heading, _ in WITH_COMMANDS]
)
def test_each_command_does_what_the_page_says(
    server: Server, tmp_path: Path, page: str, heading: str, text: str
) -> None:
    section = SECTIONS.get(heading, Section())
    shop = prepared(server, tmp_path, section, text)
    for line in (*typed(text), *section.sentences):
        if line in ELSEWHERE:
            continue
        kept = shop.root / "podbuild.kept"
        if line.startswith("init ") and section.configured:  # it never overwrites
            (shop.root / "podbuild.toml").rename(kept)
        done = shop(*shlex.split(line))
        code = section.codes.get(line, 0)
        assert done.code == code, f"{page}: {heading}: podbuild {line}\n{done.text}"
        if kept.exists():  # it knows that the registry here has no TLS
            kept.rename(shop.root / "podbuild.toml")


def prepared(server: Server, folder: Path, section: Section, text: str) -> Shop:
    """Give the section's project, with its releases on a place of its own."""
    place = f"{server.host}/{folder.name.lower()}"
    root = folder / "shop"
    root.mkdir()
    shop = Shop(root=root, environment={**environment(folder), **section.environment})
    shop.git("init", "-q", "-b", "main")
    own = "".join(re.findall(r"```toml\n(.*?)```", text, re.DOTALL))
    shop.write(".gitignore", "/dist/\n")
    shop.write("Containerfile", CONTAINERFILE)
    for name, content in section.files.items():
        shop.write(name, content.replace("PLACE", place))
    registry = f'[registries.r]\nrepository = "{place}/{{image}}"\ninsecure = true\n'
    if own.startswith("[project]"):  # a part of a monorepo, which has one of its own
        part, _, _ = own.partition("[images.")
        service = SERVICE.replace("PLATFORM", str(NATIVE))
        shop.write("services/web/podbuild.toml", part + service + registry.replace("/{", "/svc/{"))
        own = ""
    if section.configured:
        images = "".join(
            f'[images.{name}]\ncontainerfile = "Containerfile"\n' for name in ("web", "api")
        )
        head = f'[project]\nname = "shop"\n[defaults]\nplatforms = ["{NATIVE}"]\n'
        tags = "" if "[tags]" in own else EDGE
        notes = re.sub(r"^\[notes\]\n(?:\S.*\n)*", "", own, flags=re.MULTILINE)  # no forge here
        pages = re.sub(r"^\[(?:cache|ci)\]\n(?:\S.*\n)*", "", notes, flags=re.MULTILINE)
        shop.write("podbuild.toml", head + images + registry + tags + pages)
    for version in section.releases:
        shop.commit(version)
        done = shop("release", version)
        assert done.code == 0, done.text
    for line in section.before:
        assert shop(*shlex.split(line)).code == 0, line
    if not section.releases:
        shop.commit("v1.2.3", "web-v1.2.3")
    return shop


def test_each_command_is_run_here_or_elsewhere() -> None:
    ran = {line for _, _, text in WITH_COMMANDS for line in typed(text)}
    ran |= {line for section in SECTIONS.values() for line in section.sentences}
    named = {
        " ".join(found[1].split())
        for page, _, text in sections()
        for found in re.finditer(r"`podbuild ([a-z][^`]*)`", text)
        if not re.search(r"\b[A-Z]\b|[A-Z]{3}", found[1])  # FILE and the like stand for something
    }
    heads = {line.split()[0] for line in ran}
    assert {each for each in named - ran - ELSEWHERE.keys() if each not in heads} == set()
