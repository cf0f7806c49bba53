"""The hashes over what reaches an image: all of it, and what commit and configuration decide.

The input hash stands on the published index, so that any machine finds what is built already
(design, "The same inputs are the same image on every machine"). Beside it stands the source hash,
which tells a release whether a version's tag holds its result (design, invariant 4). There neither
the engine, nor bases, nor file modes, nor the machine count.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from podbuild.build.inputs.contents import Content, Contents, Extra
from podbuild.build.inputs.reach import EVERYTHING, Wanted
from podbuild.build.inputs.readings import Readings
from podbuild.build.inputs.recipe import Recipe, Surroundings, make_recipe
from podbuild.build.inputs.wanted import BaseFacts
from podbuild.build.model import InputHash
from podbuild.config.toml import some
from podbuild.oci.names import Digest, Platform
from podbuild.plan.decide import Held
from podbuild.plan.git.worktree import committed_files
from podbuild.plan.guards import RemoteTag
from podbuild.plan.model import Job, Plan, PlannedImage
from podbuild.plan.tags import TagKind
from podbuild.system.records import JSONValue
from podbuild.workspace import Services

_SCHEMA = 14
_SOURCE_SCHEMA = 1
_WHOLE = "whole:"  # a base's ONBUILD or ENV had a say in what is taken: all files count


def input_hash(
    recipe: Recipe, *, engine: str, contents: Contents, git: str, inner: Mapping[Job, InputHash]
) -> InputHash:
    """Give the hash over everything that reaches the image.

    `engine` is kind and version; `git` is HEAD with the tags on it, an input where `.git` is
    sent; `inner` holds the hashes of the images it builds on.
    """
    sent = contents.of(recipe.context, recipe.matcher, recipe.wanted)
    extras = {
        name: contents.of(each.folder, each.matcher, each.wanted)
        for name, each in recipe.extras.items()
    }
    everything: dict[str, JSONValue] = {
        "schema": _SCHEMA,
        **decided_inputs(recipe),
        "engine": engine,
        "context": sent.digest,
        "git": git if sent.has_git else "",
        "folders": {name: content.digest for name, content in extras.items()},
        "inner": {name: inner[job].text for name, job in recipe.inner.here.items()},
        "pins": dict(recipe.pins),
        "base": recipe.asked_for,
        "unpinned": [*recipe.unpinned],
        "build": str(recipe.build) if _uses_build_platform(recipe) else "",
    }
    if across := recipe.inner.across:
        everything["across"] = {str(stage): inner[job].text for stage, job in across.items()}
    return InputHash(text=hashed(everything), never_again=_never_again(recipe, extras, inner))


def decided_inputs(recipe: Recipe) -> dict[str, JSONValue]:
    """Give the inputs that commit and configuration decide without a look at any file sent."""
    return {
        "platform": str(recipe.job.platform),
        "containerfile": hashlib.sha256(recipe.text.encode()).hexdigest(),
        "ignore": [*recipe.ignored],
        "target": recipe.target,
        "build-args": dict(recipe.build_args),
        "labels": dict(recipe.labels),
        "annotations": dict(recipe.annotations),
        "secrets": [*sorted(secret.id for secret in recipe.secrets)],
        "ssh": [*sorted(entry.partition("=")[0] for entry in recipe.ssh)],
        "network": recipe.network.value,
        "format": recipe.format.value,
        "compression": recipe.compression.value,
        "layers": recipe.layers,
        "instant": recipe.instant,
    }


def hashed(value: JSONValue) -> str:
    """Give the digest of a value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return str(Digest.of(text.encode()))


def _never_again(
    recipe: Recipe, extras: Mapping[str, Content], inner: Mapping[Job, InputHash]
) -> str:
    for instruction in recipe.parsed.unpinned(recipe.variables, target=recipe.target):
        return (
            f"{recipe.containerfile.name}:{instruction.line}: ADD fetches something that may "
            "change (no --checksum, no commit)"
        )
    for name in recipe.unpinned:
        return f"{name} is not pinned by a digest"
    for name, content in extras.items():
        if content.has_git:  # it may be another repository's, of which no commit is known
            return f"the context {name} sends its .git"
    for job in recipe.inner.jobs:
        if not inner[job].reusable:
            return f"it builds on {job.image}: {inner[job].never_again}"
    return ""


def _uses_build_platform(recipe: Recipe) -> bool:
    """Tell whether the result may depend on the machine that builds."""
    return any(name in recipe.text for name in ("BUILDPLATFORM", "BUILDARCH", "BUILDVARIANT"))


def is_whole(source: str) -> bool:
    """Tell whether a source hash is over everything that its contexts hold."""
    return source.startswith(_WHOLE)


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Gives source hashes; asks no engine and no registry.

    `output` is the project's dist, `history` the folder of its entries.
    """

    plan: Plan
    output: Path
    contents: Contents
    history: Path | None = None
    readings: Readings = field(default_factory=Readings)
    _recipes: dict[Job, Recipe] = field(default_factory=dict)
    _hashes: dict[tuple[Job, bool], str] = field(default_factory=dict)
    _whole: set[Job] = field(default_factory=set)

    def made_by(self, recipe: Recipe) -> str:
        """Give the source hash of a recipe's image; those it builds on must have been asked for.

        Raises ConfigError for a file that can't be read.
        """
        own = self._recipe(recipe.job)
        inner = {*recipe.inner.jobs, *own.inner.jobs}
        if _takes(own) != _takes(recipe) or inner & self._whole:
            self._whole.add(recipe.job)
        return self.of(recipe.job, whole=recipe.job in self._whole)

    def of(self, job: Job, *, whole: bool) -> str:
        """Give the source hash of a job's image; raises ConfigError for what can't be read."""
        if (job, whole) not in self._hashes:
            self._hashes[job, whole] = self._hash(self._recipe(job), whole=whole)
        return self._hashes[job, whole]

    def files(self, job: Job, *, whole: bool) -> Iterator[Path]:
        """Give the files that an image's source hash is over, those it builds on left out."""
        recipe = self._recipe(job)
        yield recipe.containerfile
        for extra in (_main(recipe), *recipe.extras.values()):
            wanted = EVERYTHING if whole else extra.wanted
            found = self.contents.sent(extra.folder, extra.matcher, wanted).reach.entries
            yield from (extra.folder / name for name, each in found.items() if not each.is_folder)

    def _recipe(self, job: Job) -> Recipe:
        """Give the recipe as if bases handed nothing on and each job ran at home."""
        if job not in self._recipes:
            around = Surroundings(
                build=job.platform,
                output=self.output,
                blank=BaseFacts(),
                history=self.history,
                readings=self.readings,
            )
            image = self.plan.image(job.image)
            self._recipes[job] = make_recipe(self.plan, image, job.platform, around)
        return self._recipes[job]

    def _hash(self, recipe: Recipe, *, whole: bool) -> str:
        def content(extra: Extra) -> str:
            wanted = EVERYTHING if whole else extra.wanted
            return self.contents.of(extra.folder, extra.matcher, wanted).source

        everything: dict[str, JSONValue] = {
            "schema": _SOURCE_SCHEMA,
            **decided_inputs(recipe),
            "context": content(_main(recipe)),
            "folders": {name: content(each) for name, each in recipe.extras.items()},
            "inner": {
                **{name: self.of(job, whole=whole) for name, job in recipe.inner.here.items()},
                **{
                    f"{recipe.parsed.stages[at].line} {job.platform}": self.of(job, whole=whole)
                    for at, job in recipe.inner.across.items()
                },
            },
            "bases": [*recipe.unpinned],
        }
        return f"{_WHOLE if whole else ''}{hashed(everything)}"


def _main(recipe: Recipe) -> Extra:
    return Extra(recipe.context, recipe.patterns, recipe.wanted)


def _takes(recipe: Recipe) -> Mapping[str, frozenset[Wanted]]:
    extras = {name: frozenset(each.wanted) for name, each in recipe.extras.items()}
    return {"": frozenset(recipe.wanted), **extras}


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
