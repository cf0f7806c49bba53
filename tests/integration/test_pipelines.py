"""Pipelines, judged by the tools that others judge theirs with, and their commands run in order."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from podbuild.commands.ci import pipeline_text
from podbuild.commands.pipeline.model import CiSystem
from podbuild.config.load import parse_config
from podbuild.oci.names import Tag
from tests.integration.test_fan_out import write_project
from tests.pipelines import (
    VARIANTS,
    Script,
    github_scripts,
    gitlab_scripts,
    kubernetes_scripts,
    tekton_scripts,
)
from tests.registries import Server, registry_server
from tests.shops import PODBUILD, Done, Shop, environment, oci_registry

pytestmark = pytest.mark.integration

TOOLS = Path(sys.executable).parent
SCHEMA = ("check-jsonschema", "--builtin-schema")
JUDGES: Mapping[str, tuple[CiSystem, tuple[str, ...]]] = {
    "github schema": (CiSystem.GITHUB, (*SCHEMA, "vendor.github-workflows")),
    "actionlint": (
        CiSystem.GITHUB,
        ("actionlint", "-no-color", f"-shellcheck={TOOLS}/shellcheck", "-pyflakes="),
    ),
    "zizmor": (
        CiSystem.GITHUB,
        ("zizmor", "--offline", "--no-progress", "--no-config", "--persona=auditor"),
    ),
    "gitlab schema": (
        CiSystem.GITLAB,
        (*SCHEMA, "vendor.gitlab-ci", "--data-transform", "gitlab-ci"),
    ),
    "kubernetes": (CiSystem.KUBERNETES, ("kubernetes-validate", "--strict")),
}


def judge(name: str, folder: Path, texts: Mapping[str, str]) -> Done:
    """Let a tool judge pipelines of its system."""
    _, argv = JUDGES[name]
    place = folder / ".github" / "workflows"
    place.mkdir(parents=True, exist_ok=True)
    files = []
    for variant, text in texts.items():
        files.append(place / f"{variant.replace(' ', '-')}.yml")
        files[-1].write_text(text)
    call = (str(TOOLS / argv[0]), *argv[1:], *map(str, files))
    done = subprocess.run(call, cwd=folder, check=False, capture_output=True, text=True)
    return Done(code=done.returncode, out=done.stdout, err=done.stderr)


def texts_of(system: CiSystem) -> dict[str, str]:
    configs = {
        name: parse_config(text, Path("/project/podbuild.toml"), {})
        for name, text in VARIANTS.items()
    }
    carries = system in (CiSystem.GITHUB, CiSystem.GITLAB)
    return {
        name: pipeline_text(config, system)
        for name, config in configs.items()
        if carries or config.ci.hand_over == "registry"
    }


@pytest.mark.parametrize("name", JUDGES)
def test_independent_tools_find_nothing(name: str, tmp_path: Path) -> None:
    found = judge(name, tmp_path, texts_of(JUDGES[name][0]))
    assert found.code == 0, found.text


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("github schema", "timeout-minutes: 120", "timeout-minute: 120"),
        ("github schema", "packages: write", "packages: all"),
        ("actionlint", "needs: build", "needs: builds"),
        ("actionlint", "matrix.platform", "matrix.plattform"),
        ("zizmor", "permissions: {contents: read, packages: write}", "permissions: write-all"),
        ("zizmor", '"$PLATFORM"', '"${{ github.ref_name }}"'),
        ("zizmor", "@de0fac2e4500dabe0009e67214ff5f5447ce83dd", "@v6"),
        ("gitlab schema", "interruptible: true", "interruptible: maybe"),
        ("gitlab schema", "resource_group: release", "resource_group: [release]"),
        ("kubernetes", "restartPolicy: Never", "restartPolitics: Never"),
        ("kubernetes", "backoffLimit: 1", "backoffLimit: one"),
    ],
)
def test_the_tools_find_what_is_planted(name: str, right: str, wrong: str, tmp_path: Path) -> None:
    text = texts_of(JUDGES[name][0])["artifact" if name == "zizmor" else "plain"]
    assert right in text
    assert judge(name, tmp_path, {"plain": text.replace(right, wrong, 1)}).code != 0


# What they run.


@dataclass(frozen=True, kw_only=True)
class Site:
    """Registries, a project on a git server (a folder), and machines for the jobs."""

    folder: Path
    origin: Shop
    servers: tuple[Server, Server]
    ran: list[str] = field(default_factory=list)

    def machine(self, job: str, tag: str) -> Shop:
        """Give a fresh checkout of a tag on the machine of a job, whose caches last."""
        root = self.folder / job / "checkout"
        shutil.rmtree(root, ignore_errors=True)
        self.origin.git("clone", "-q", f"--branch={tag}", "--depth=1", self.url, str(root))
        own = environment(self.folder / job)
        path = f"{self.folder}/stubs:{PODBUILD.parent}:{own['PATH']}"
        return Shop(root=root, environment={**own, "PATH": path, **LOGINS})

    @property
    def url(self) -> str:
        return f"file://{self.origin.root}"

    def run(self, script: Script, tag: str, **more: str) -> Done:
        """Run what a job runs; `pip`, `pipx` and `sudo` are stubs, all else is real."""
        machine = self.machine(script.job.partition(" ")[2] or "join", tag)
        for folder in script.artifacts:
            shutil.copytree(folder, machine.root / "legs" / Path(folder).name)
        text = script.text.replace("/build/", f"{machine.root.parent}/pod/")
        shutil.rmtree(machine.root.parent / "pod", ignore_errors=True)
        cache = machine.environment["XDG_CACHE_HOME"]
        own = {**script.environment, "SOURCE": self.url, "XDG_CACHE_HOME": cache, **more}
        own |= {"VERSION": tag} if "VERSION" in script.environment else {}
        done = subprocess.run(
            ("bash", "-ec", text),
            cwd=machine.root,
            env={**machine.environment, **own},
            check=False,
            capture_output=True,
            text=True,
        )
        return Done(code=done.returncode, out=done.stdout, err=done.stderr)

    def release(self, number: str) -> str:
        """Commit a change of one image under a new version's tag."""
        self.origin.write("web/version", number)
        self.origin.commit(f"v{number}")
        return f"v{number}"

    def tagged(self, number: str) -> list[bool]:
        """Tell which registries have a version of each image."""
        return [
            Tag(number) in server.store(f"acme/{image}").tags()
            for server in self.servers
            for image in ("web", "tool")
        ]


LOGINS = {"GITHUB_RUN_ID": "7", "CI_PIPELINE_ID": "8"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "stubs").mkdir()
    for name in ("pip", "pipx", "sudo"):
        (folder / "stubs" / name).write_text("#!/bin/sh\n")
        (folder / "stubs" / name).chmod(0o755)
    with ExitStack() as stack:
        one, two = (stack.enter_context(registry_server()) for _ in range(2))
        origin = Shop(root=folder / "origin", environment=environment(folder))
        config = oci_registry("one", one.host, "insecure = true")
        config += oci_registry("two", two.host, "insecure = true")
        write_project(origin, f'{config}\n[ci]\nimage = "has-podbuild"\n')
        yield Site(folder=folder, origin=origin, servers=(one, two))


def printed(site: Site, system: CiSystem) -> str:
    answer = site.origin("ci", "print", system)
    assert answer.code == 0, answer.text
    return answer.out


def test_a_workflow_s_commands_release_and_run_again(site: Site) -> None:
    amd64, arm64, join = github_scripts(printed(site, CiSystem.GITHUB))
    assert site.run(amd64, "v1.2.3").code == 0
    early = site.run(join, "v1.2.3")
    assert early.code == 2
    assert "nothing was handed over there" in early.err
    assert "build web --platform linux/arm64" in early.err
    # A leg that fails, and runs again.
    failed = site.run(arm64, "v1.2.3", PODBUILD_TIMEOUT="0.01s")
    assert failed.code == 124, failed.text
    assert site.run(arm64, "v1.2.3").code == 0
    assert site.tagged("1.2.3") == [False] * 4
    for _ in range(2):  # the join, and the join again
        done = site.run(join, "v1.2.3")
        assert done.code == 0, done.text
        assert site.tagged("1.2.3") == [True] * 4


def test_a_pipeline_s_commands_release_with_artifacts(site: Site) -> None:
    tag = site.release("1.2.4")
    config = (site.origin.root / "podbuild.toml").read_text()
    site.origin.write("podbuild.toml", f'{config}hand-over = "artifact"\n')
    *legs, join = gitlab_scripts(printed(site, CiSystem.GITLAB))
    site.origin.write("podbuild.toml", config)
    artifacts = []
    for leg in legs:  # checked out without the tag: no input uses the version
        branch = replace(leg, text=f"git tag -d {tag}\n{leg.text}")
        done = site.run(branch, tag)
        assert done.code == 0, done.text
        slug = leg.environment["SLUG"]
        artifacts.append(str(site.folder / slug / "checkout" / "legs" / slug))
        files = [each for each in Path(artifacts[-1]).rglob("*") if each.is_file()]
        assert sum(each.stat().st_size for each in files) < 20_000
    done = site.run(replace(join, artifacts=tuple(artifacts)), tag)
    assert done.code == 0, done.text
    assert site.tagged("1.2.4") == [True] * 4


@pytest.mark.parametrize(
    ("system", "number", "scripts"),
    [
        (CiSystem.KUBERNETES, "1.2.5", kubernetes_scripts),
        (CiSystem.TEKTON, "1.2.6", tekton_scripts),
    ],
)
def test_a_cluster_s_commands_release(
    system: CiSystem, number: str, scripts: Callable[[str], Iterator[Script]], site: Site
) -> None:
    tag = site.release(number)
    *legs, join = scripts(printed(site, system))
    if system is CiSystem.KUBERNETES:  # without an order, it tries until all are there
        assert site.run(join, tag).code == 2
    for leg in legs:
        done = site.run(leg, tag)
        assert done.code == 0, done.text
    done = site.run(join, tag)
    assert done.code == 0, done.text
    assert site.tagged(number) == [True] * 4


def test_a_matrix_has_what_has_changed_and_the_join_finds_the_rest(site: Site) -> None:
    number = "1.2.7"
    site.origin.write("tool/more", "new")
    tag = site.release(number)
    machine = site.machine("join", tag)
    matrix = json.loads(machine("ci", "matrix", "--slices", "2").out)["include"]
    assert {(leg["platform"], leg["images"]) for leg in matrix} == {
        ("linux/amd64", "web"),
        ("linux/amd64", "tool"),
        ("linux/arm64", ""),
    }
    every = json.loads(machine("ci", "matrix", "--all").out)["include"]
    assert [leg["slug"] for leg in every] == ["linux-amd64", "linux-arm64"]
    place = f"oci:{site.servers[0].host}/acme/shop-hand-over"
    for leg in matrix:
        build = f"podbuild build {leg['images']} --platform {leg['platform']} --push"
        text = f'{build} --hand-over "{place}:m-{leg["slug"]}"'
        done = site.run(Script(job=f"build {leg['platform'][6:]}", text=text, environment={}), tag)
        assert done.code == 0, done.text
    only = " ".join(f'--from "{place}:m-{leg["slug"]}"' for leg in matrix)
    done = site.run(Script(job="release", text=f"podbuild release {only}", environment={}), tag)
    assert done.code == 0, done.text
    assert site.tagged(number) == [True] * 4

    # Nothing has changed now: one leg, which finds it all, and a join of what no leg has built.
    machine.git("commit", "-qm", "no change", "--allow-empty")
    machine.git("tag", "v1.2.8")
    (one,) = json.loads(machine("ci", "matrix").out)["include"]
    assert one["images"] == ""
    machine("build", "--platform", one["platform"], "--push", "--hand-over", f"{place}:m-last")
    done = machine("release", "v1.2.8", "--from", f"{place}:m-last")
    assert done.code == 0, done.text
    assert "unchanged since" in done.err
    assert site.tagged("1.2.8") == [True] * 4
