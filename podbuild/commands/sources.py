"""Compare the files of a version's image with those of this tree, where its tag exists already."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from podbuild.build.inputs.contents import Contents
from podbuild.build.inputs.source import Sources, is_whole
from podbuild.config.toml import some
from podbuild.oci.names import Platform
from podbuild.plan.decide import Held
from podbuild.plan.git.worktree import committed_files
from podbuild.plan.guards import RemoteTag
from podbuild.plan.model import Job, Plan, PlannedImage
from podbuild.plan.tags import TagKind
from podbuild.workspace import Services


def with_sources(services: Services, plan: Plan, decided: Plan, facts: Mapping[str, Held]) -> Plan:
    """Give the plan with the source hashes of the images that it would adopt.

    Raises ConfigError for a file that can't be read.
    """
    adopted = {image.name for image in decided.images if image.adopted is not None}
    sources = Sources(
        plan=plan,
        output=services.config.output,
        contents=Contents(services.folders.cache / "contents.json"),
        history=services.config.history.folder,
    )
    images = tuple(
        _compared(services, sources, image, tuple(_results(plan, image, facts)))
        if image.name in adopted
        else image
        for image in plan.images
    )
    return replace(plan, images=images)


def _results(plan: Plan, image: PlannedImage, facts: Mapping[str, Held]) -> Iterator[RemoteTag]:
    """Give what may be this release's result."""
    for target in (*plan.targets, *plan.beside):
        if target.image != image.name or target.key not in facts:
            continue
        for move in target.tags:
            remote = facts[target.key].found.get(move.named.tag)
            if (
                remote
                and move.kind is TagKind.VERSION
                and not plan.result(image.name).difference(remote)
            ):
                yield remote


def _compared(
    services: Services, sources: Sources, image: PlannedImage, found: tuple[RemoteTag, ...]
) -> PlannedImage:
    hashes: dict[Platform, frozenset[str]] = {}
    doubtful: set[Path] = set()
    for platform in image.platforms:
        job = Job(image.name, platform)
        said = {remote.sources.get(platform, "") for remote in found}
        kinds = {is_whole(each) for each in said}
        hashes[platform] = frozenset(sources.of(job, whole=whole) for whole in kinds)
        if said - hashes[platform]:
            doubtful |= {path for whole in kinds for path in sources.files(job, whole=whole)}
    return replace(image, sources=hashes, doubts=_doubts(services, doubtful))


def _doubts(services: Services, files: set[Path]) -> str:
    """Name the files that no commit holds, or that git was told not to look at."""
    if not files:
        return ""
    root = services.config.root
    held = committed_files(services.runner, root)
    paths = {Path(os.path.normpath(each)) for each in files}
    odd = sorted(each for each in paths if each not in held and held.isdisjoint(each.parents))
    return f" (no commit holds {some(os.path.relpath(each, root) for each in odd)})" if odd else ""
