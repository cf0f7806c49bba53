"""`podbuild check`: the configuration and the Containerfiles it names, without an engine."""

from __future__ import annotations

import difflib
import stat
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from podbuild.build.attest import vex
from podbuild.build.inputs.across import bases_of
from podbuild.build.inputs.containerfile import read_containerfile
from podbuild.build.inputs.lint import (
    Finding,
    Level,
    Subject,
    check_containerfile,
    check_texts,
    finding_of,
)
from podbuild.build.inputs.readings import ignored_of_context, ignored_of_folder
from podbuild.build.toolchain.emulation import GUESTS, native_architecture
from podbuild.commands.borders import output_refusal
from podbuild.config.attest import Placement
from podbuild.config.choices import FolderContext, IndexPolicy, Rule
from podbuild.config.image import Image
from podbuild.config.load import used_variables
from podbuild.config.model import Config
from podbuild.config.secrecy import missing_inputs
from podbuild.config.sections import unset_variables, without_unset
from podbuild.config.toml import dotted, line_of, read_config, read_source, shown
from podbuild.errors import ConfigError, PodbuildError
from podbuild.oci import kinds
from podbuild.oci.names import Platform, RegistryKind
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Request
from podbuild.system.process import Runner

__all__ = [
    "Finding",
    "Level",
    "check_modes",
    "check_output",
    "check_project",
]


def check_project(config: Config) -> tuple[Finding, ...]:
    """Give all that is wrong or worth a word, errors first."""
    text = read_config(config.path)
    found = [finding_of(error, shown(config.path)) for error in unset_variables(config)]
    found += [
        *_plans(without_unset(config)),
        *_remarks(config, text),
        *_cache_remarks(config, text),
    ]
    found += _absent_files(config, text)
    found += _attest_findings(config, text)
    found += _rare_platforms(config, text)
    found += _odd_kinds(config, text)
    for image in config.images:
        for way, error in missing_inputs(image):
            finding = finding_of(error, shown(config.path))
            found.append(replace(finding, line=line_of(text, ("images", image.name, *way))))
        found += _containerfile_findings(config, image)
        found += _ignore_findings(image)
    return tuple(sorted(dict.fromkeys(found), key=lambda each: [*Level].index(each.level)))


def _absent_files(config: Config, text: str) -> Iterator[Finding]:
    """Warn of keys and certificates that are not there: a release would end before it builds."""
    signing = config.attest.sign if config.attest else None
    named = [(("registries", each.name, "ca"), each.ca) for each in config.registries]
    named.append((("attest", "sign", "public-key"), signing.public_key if signing else None))
    for way, path in named:
        if path is not None and not path.is_file():
            yield Finding(
                level=Level.WARNING,
                file=shown(config.path),
                line=line_of(text, way),
                message=f"{dotted(way)}: there is no {shown(path)}",
                hint="verify and release need it",
            )


def _attest_findings(config: Config, text: str) -> Iterator[Finding]:
    """Give what is wrong with what images are described by."""
    if config.attest is None:
        return
    if config.attest.placement is Placement.INDEX:
        for image in config.images:
            if image.publish and len(image.platforms) == 1 and image.index is IndexPolicy.AUTO:
                yield Finding(
                    level=Level.NOTE,
                    file=shown(config.path),
                    line=line_of(text, ("attest", "placement")),
                    message=f"{image.name} is published without an index, so that its statements "
                    "are referrers alone",
                    hint=f'[images.{image.name}] index = "always"',
                    image=image.name,
                )
    if config.attest.vex is None:
        return
    try:
        vex.vex_documents(config, (image.name for image in config.images if image.publish))
    except PodbuildError as error:
        line = line_of(text, ("attest", "vex"))
        yield replace(finding_of(error, shown(config.path)), line=line)


def check_modes(expected: Mapping[Path, int]) -> tuple[Finding, ...]:
    """Warn of files whose mode is not the one that git gives with its usual umask, 022.

    A mode reaches the image, so that a clone elsewhere would give another digest. `expected` is
    what git would give, by path.
    """
    odd = [path for path, mode in sorted(expected.items()) if _mode(path) not in (None, mode)]
    if not odd:
        return ()
    return (
        Finding(
            level=Level.WARNING,
            file=shown(odd[0]),
            message=f"{len(odd)} file{'s have' if len(odd) > 1 else ' has'} a mode that a fresh "
            f"clone would not have: {_mode(odd[0]):04o} instead of {expected[odd[0]]:04o}",
            hint="umask 022, then check the files out again",
        ),
    )


def check_output(config: Config, runner: Runner) -> tuple[Finding, ...]:
    """Give why a release may not write into the output folder, if it may not."""
    refusal = output_refusal(config, runner)
    return (finding_of(refusal, shown(config.path)),) if refusal else ()


def _mode(path: Path) -> int | None:
    """Give a plain file's permissions; None where there is none."""
    try:
        facts = path.lstat()
    except OSError:
        return None
    return stat.S_IMODE(facts.st_mode) if stat.S_ISREG(facts.st_mode) else None


def _plans(config: Config) -> Iterator[Finding]:
    """Plan a release and a push to each branch that is named, to see what would collide."""
    values = {name: _value(config, name) for name in used_variables(config)}
    source = Commit(commit="0" * 40, branch="main")
    requests = [(Request(version=config.project.scheme.first), source)]
    rules = [config.tags.branches, *(image.tags.branches or {} for image in config.images)]
    branches = {branch for rule in rules for branch in rule if not {*branch} & {*"*?["}}
    native = Platform("linux", native_architecture())
    requests += [(Request(), Commit(commit="0" * 40, branch=each)) for each in sorted(branches)]
    pr, clock = Commit(commit="0" * 40, branch="pull/1", pr="1"), replace(source, scheduled=True)
    requests += [(Request(), each) for each in (pr, clock)]
    for request, here in requests:
        try:
            dated = replace(here, day="20000101")
            make_plan(replace(config, env=values), request, dated, bases_of(config, native))
        except PodbuildError as error:
            yield finding_of(error, shown(config.path))


def _value(config: Config, name: str) -> str:
    """Give a variable's value, or one made up: it may be set where the release runs."""
    places = [str(each.repository or "") for each in config.registries]
    begins = any(place.startswith(f"{{env.{name}}}") for place in places)
    made_up = f"{name.lower().replace('_', '-')}.example" if begins else name.lower()
    return config.env.get(name, made_up)


def _remarks(config: Config, text: str) -> Iterator[Finding]:
    for image in config.images:
        for remark in () if _is_silent(config, image) else check_texts(image):
            yield Finding(
                level=Level.WARNING,
                file=shown(config.path),
                line=_line(text, remark.way),
                message=f"{dotted(remark.way)}: {remark.message}",
                hint=remark.hint,
            )


def _is_silent(config: Config, image: Image) -> bool:
    rule = Rule.CHANGING_INPUT
    return not {rule, f"{image.name}:{rule}"}.isdisjoint(config.audit.ignore)


def _rare_platforms(config: Config, text: str) -> Iterator[Finding]:
    """Warn of architectures that only their own machines build, which are mostly slips."""
    known = [guest.architecture for guest in GUESTS]
    for image in config.images:
        for platform in image.platforms:
            if platform.architecture in {*known, native_architecture()}:
                continue
            near = difflib.get_close_matches(platform.architecture, known, n=1)
            yield Finding(
                level=Level.WARNING,
                file=shown(config.path),
                line=_line(text, ("images", image.name, "platforms")),
                message=f"{image.name!r} can be built for {platform} only on such a machine",
                hint=f"did you mean linux/{near[0]}?" if near else f"emulated: {', '.join(known)}",
            )


def _odd_kinds(config: Config, text: str) -> Iterator[Finding]:
    """Warn of a registry whose kind is not its host's: nothing could be deleted there."""
    for registry in config.registries:
        host = str(registry.repository or "").partition("/")[0]
        meant = kinds.kind_of(host)
        has_api = registry.api is not None and meant is RegistryKind.OCI
        if registry.repository is None or "{" in host or registry.kind is meant or has_api:
            continue
        yield Finding(
            level=Level.WARNING,
            file=shown(config.path),
            line=line_of(text, ("registries", registry.name, "kind")),
            message=f"registries.{registry.name}: {host} is no registry of kind {registry.kind}, "
            "so nothing can be deleted there",
            hint=f'kind = "{meant}"',
        )


def _cache_remarks(config: Config, text: str) -> Iterator[Finding]:
    """Warn of what a layer cache can't do as it is configured."""
    file = shown(config.path)
    if config.cache.repository is None:
        if config.cache.mounts:
            yield Finding(
                level=Level.WARNING,
                file=file,
                line=line_of(text, ("cache", "mounts")),
                message="cache.mounts: there is no cache to carry them in",
                hint='[cache] repository = "ghcr.io/acme/cache/{image}"',
            )
        return
    for image in config.images:
        if not image.layers:
            yield Finding(
                level=Level.WARNING,
                file=file,
                line=_line(text, ("images", image.name, "layers")),
                message=f"image {image.name!r} has layers = false: none of its steps is cached",
                hint="layers = true, or leave [cache] out",
            )


def _line(text: str, way: tuple[str, ...]) -> int:
    """Give the line of an image's key, which may stand in [defaults]."""
    table = line_of(text, way[:2])
    found = line_of(text, way)
    return found if found != table else line_of(text, ("defaults", *way[2:]))


def _containerfile_findings(config: Config, image: Image) -> Iterator[Finding]:
    if not image.containerfile.is_file():
        return
    file = shown(image.containerfile)
    try:
        text = read_source(image.containerfile)
        containerfile = read_containerfile(text, where=file)
        subject = Subject(config=config, image=image, containerfile=containerfile, file=file)
        yield from check_containerfile(subject)
    except PodbuildError as error:
        yield finding_of(error, file)


def _ignore_findings(image: Image) -> Iterator[Finding]:
    folders = (each.path for each in image.contexts.values() if isinstance(each, FolderContext))
    readings = [partial(ignored_of_context, image)]
    readings += [partial(ignored_of_folder, folder) for folder in folders]
    for read in readings:
        try:
            read()
        except ConfigError as error:
            yield finding_of(error, shown(image.context))
