"""`podbuild ci`: write a pipeline, say whether it still fits, and which legs a run needs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from podbuild.build.engines import ChosenToolchain, Engines
from podbuild.build.resolve import resolve
from podbuild.build.results import Results, vouches_of
from podbuild.commands.pipeline import github, gitlab, kubernetes, tekton
from podbuild.commands.pipeline.model import CiSystem, Leg, Pipeline, make_legs, make_pipeline
from podbuild.commands.pipeline.yaml import MARK
from podbuild.commands.planning import plan_offline, plan_tolerantly
from podbuild.config.model import Config
from podbuild.config.toml import shown
from podbuild.errors import (
    ConfigError,
    CredentialError,
    PodbuildError,
    PolicyError,
    PublishError,
    ToolError,
)
from podbuild.oci.names import Platform
from podbuild.plan.destination import Planned
from podbuild.plan.git.worktree import git_runner
from podbuild.plan.journal import NAME, Binding, Journal
from podbuild.plan.model import Request
from podbuild.system.files import read_plain
from podbuild.system.process import Runner
from podbuild.system.records import json_of
from podbuild.workspace import Services

_WRITERS: Mapping[CiSystem, Callable[[Pipeline], str]] = {
    CiSystem.GITHUB: github.github,
    CiSystem.GITLAB: gitlab.gitlab,
    CiSystem.KUBERNETES: kubernetes.kubernetes,
    CiSystem.TEKTON: tekton.tekton,
}
_FILES = {
    CiSystem.GITHUB: github.FILE,
    CiSystem.GITLAB: gitlab.FILE,
    CiSystem.KUBERNETES: kubernetes.FILE,
    CiSystem.TEKTON: tekton.FILE,
}


def pipeline_text(config: Config, system: CiSystem, top: Path | None = None) -> str:
    """Give a project's pipeline; `top` is its repository's folder. Raises ConfigError."""
    return _WRITERS[system](make_pipeline(config, system, top))


def repository_top(config: Config, runner: Runner) -> Path:
    """Give the folder of the git work tree, where CI systems look; without git the project's."""
    git = git_runner(runner, config.root)
    try:
        return Path(git("git", "rev-parse", "--show-toplevel", timeout=30).out.strip())
    except PodbuildError:
        return config.root


def pipeline_file(config: Config, system: CiSystem, top: Path) -> Path:
    """Give where a pipeline is looked for; several projects of a repository have one each."""
    file = top / _FILES[system]
    if config.root == top or system is CiSystem.GITLAB:
        return file
    return file.with_name(f"{file.stem}-{config.project.name}{file.suffix}")


def write_pipeline(file: Path, text: str) -> None:
    """Write a new file; raises ConfigError instead of overwriting one."""
    try:
        if file.exists() or file.is_symlink():
            raise ConfigError(
                f"{shown(file)} is there already",
                hint="`podbuild ci print` shows what would be written; --output names another file",
            )
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as target:
            target.write(text)
    except OSError as error:
        raise ConfigError(
            f"can't write {shown(file)}: {error.strerror}", hint="--output names another file"
        ) from None


def check_pipelines(config: Config, top: Path, files: Iterable[Path]) -> tuple[Path, ...]:
    """Give the pipelines that fit podbuild.toml: the named files, else those there are.

    Raises PolicyError for one that does not fit any more, ConfigError where there is none.
    """
    named = tuple(files)
    found = named or tuple(pipeline_file(config, each, top) for each in CiSystem)
    known = [(file, facts) for file in found if (facts := _facts(file, named=bool(named)))]
    if not known:
        raise ConfigError(
            "there is no pipeline that podbuild wrote",
            hint="podbuild ci init github, gitlab, kubernetes or tekton",
        )
    odd = {file: [*_differences(config, top, file, facts)] for file, facts in known}
    told = [(file, each) for file, differences in odd.items() for each in differences]
    if told:
        (file, first), *others = told
        raise PolicyError(
            f"{shown(file)} no longer fits podbuild.toml: {first}",
            hint=f"podbuild ci print {_system(dict(known)[file])} shows what it would be now",
            details=[f"also: {shown(each)}: {text}" for each, text in others],
        )
    return tuple(file for file, _ in known)


def _facts(file: Path, *, named: bool) -> dict[str, list[str]]:
    """Give what a file was made of; nothing for what podbuild did not write."""
    try:
        lines = read_plain(file).decode("utf-8", "replace").splitlines()
    except OSError as error:
        if named:
            raise ConfigError(f"{shown(file)}: {(error.strerror or '').lower()}") from None
        return {}
    marks = [line.removeprefix(MARK) for line in lines if line.startswith(MARK)]
    value = json_of(marks[0]) if marks else None
    facts = {
        str(name): [*map(str, each)]
        for name, each in (value.items() if isinstance(value, dict) else ())
        if isinstance(each, list)
    }
    if [*facts.get("system", ()), ""][0] in set(CiSystem):
        return facts
    if named or marks:
        raise ConfigError(
            f"{shown(file)}: no pipeline that this podbuild wrote",
            hint=f"its line {MARK.strip()} says what it was made of",
        )
    return {}


def _system(facts: Mapping[str, list[str]]) -> CiSystem:
    return CiSystem(facts["system"][0])


def _differences(
    config: Config, top: Path, file: Path, facts: Mapping[str, list[str]]
) -> Iterator[str]:
    """Say what podbuild.toml asks for and the file was not made for, or has lost since."""
    pipeline = make_pipeline(config, _system(facts), top)
    now = pipeline.facts
    for name in sorted({*now, *facts}):
        there, here = facts.get(name, []), now.get(name, [])
        if there != here:
            yield f"{name}: {', '.join(there) or 'none'} there, {', '.join(here) or 'none'} here"
    lines = read_plain(file).decode("utf-8", "replace").splitlines()
    body = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    for word in _words(pipeline):
        if word not in body:
            yield f"nothing in it says {word}"


def _words(pipeline: Pipeline) -> Iterator[str]:
    """Give what stands in every pipeline of this project, however it was changed."""
    yield "podbuild release"
    if pipeline.is_single:
        return
    words = [str(leg.platform) for leg in pipeline.legs]
    words += [name for leg in pipeline.legs for name in leg.images]
    words.append(pipeline.repository)
    yield from dict.fromkeys(filter(None, words))


def needed_legs(
    services: Services, system: CiSystem, *, slices: int, every: bool
) -> tuple[Leg, ...]:
    """Give the legs that a run needs: those with images whose inputs have changed.

    With `every`, or where that can't be told, all of them. Raises ConfigError for too many.
    """
    config = services.config
    changed = None if every else _changed(services)
    return make_legs(config, system, slices=slices, changed=changed)


def _changed(services: Services) -> Mapping[Platform, tuple[str, ...]] | None:
    """Give the images that no earlier release has built of what they are made of now."""
    planned = plan_tolerantly(services, plan_offline(services, Request(loose=True)))
    for warning in planned.warnings:
        services.ui.warn(warning)
    try:
        known = _known(services, planned)
    except (ToolError, PublishError, CredentialError) as error:
        services.cancel.check()
        services.ui.warn(f"all images count as changed: {error.message}")
        return None
    plan = planned.plan
    found: dict[Platform, tuple[str, ...]] = {}
    for job in plan.jobs:
        if plan.image(job.image).published and str(job) not in known:
            found[job.platform] = (*found.get(job.platform, ()), job.image)
    return found


def _known(services: Services, planned: Planned) -> frozenset[str]:
    """Give the jobs whose result a registry holds; nothing is kept of asking for them."""
    with tempfile.TemporaryDirectory(prefix="podbuild-") as folder:
        binding = Binding(release="", commit="", configuration="", toolchain="")
        engines = Engines(
            services=services,
            plan=planned.plan,
            journal=Journal(Path(folder) / NAME, binding, {}),
            toolchain=ChosenToolchain(services.runner, services.folders, services.environment),
        )
        with engines:
            inputs = resolve(planned, engines, anew=True)
            results = Results(
                planned=planned,
                journal=engines.journal,
                staging=engines.staging,
                folder=Path(folder),
                hashes=inputs.hashes,
                reuse=True,
                vouches=vouches_of(services),
            )
            return frozenset(str(job) for job in results.known)
