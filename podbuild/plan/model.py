"""The values of a plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

from podbuild.config.attest import Attest
from podbuild.config.choices import IndexPolicy
from podbuild.config.image import Image, Secret
from podbuild.config.model import Registry
from podbuild.oci.names import Digest, Platform, Reference
from podbuild.plan import labels
from podbuild.plan.guards import Decision, ReleaseIdentity, Verdict
from podbuild.plan.tags import NamedTag, Reader, TagKind
from podbuild.semver import Version
from podbuild.system.later import dataclass


class OfImage(Protocol):
    """What is one image's: a job, a target, a destination."""

    @property
    def image(self) -> str:
        """Give the image's name."""


OfImageT = TypeVar("OfImageT", bound=OfImage)


def by_image(every: Iterable[OfImageT]) -> Mapping[str, tuple[OfImageT, ...]]:
    """Give what each image has of these: to look among all for each image is their square."""
    found: dict[str, list[OfImageT]] = {}
    for each in every:
        found.setdefault(each.image, []).append(each)
    return {image: tuple(mine) for image, mine in found.items()}


@dataclass(frozen=True, kw_only=True)
class Commit:
    """The commit that is built, and the branch it is on; empty without a git repository."""

    commit: str = ""  # 40 hex digits
    created: datetime | None = None  # the committer's date
    branch: str | None = None
    dirty: bool = False
    pr: str = ""  # the number of the pull request that it is of
    scheduled: bool = False
    day: str = ""  # on which this release began, yyyymmdd in UTC

    @property
    def short(self) -> str:
        """Give the commit as tags name it."""
        return self.commit[:7]


class Skip(StrEnum):
    """A part of a release that --skip leaves out."""

    BUILD = "build"
    VERIFY = "verify"
    CLEANUP = "cleanup"
    CHECKS = "checks"  # [[checks]], which a pull request may have written


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for, how much of it, and how: one value from the command line to the plan.

    It is a version (None: the tag that is checked out) or a snapshot of a branch. Empty selections
    mean everything. `target`, `build_args` and `secrets` win over the configuration's, for the
    chosen images.
    """

    wanted: str | None = None  # the version, as it is written
    version: Version | None = None  # and as planning finds it
    snapshot: bool = False
    branch: str = ""  # of a snapshot, where neither git nor the CI system tells
    pr: str = ""  # the number of a pull request, where the CI system does not tell
    scheduled: bool = False  # as a run by the clock, also where the CI system does not tell
    require_tag: bool = False
    loose: bool = False  # `build`, `push`, `manifest`: a version counts, but none is needed
    # How much of it.
    images: tuple[str, ...] = ()
    registries: tuple[str, ...] = ()
    platforms: tuple[Platform, ...] = ()
    skip: frozenset[Skip] = frozenset()
    publish: bool = True  # False: --skip-push
    # How it is built and carried out. `command` is what a user types to go on with it.
    command: str = ""
    restart: bool = False
    cancel_superseded: bool = False
    target: str | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()
    overwrite: bool = False  # --allow-overwrite
    backwards: bool = False  # --allow-backwards
    dirty: bool = False  # --allow-dirty
    growth: bool = False  # --allow-growth
    jobs: int | None = None  # builds at a time; None: one per CPU
    cache: bool = True
    reuse: bool = True
    fail_fast: bool = False
    # what other machines hand over, output folders or where it is kept: nothing is built here
    handed_over: tuple[Path | Reference, ...] = ()
    builders: tuple[str, ...] = ()  # only these of [builders]
    remote: bool = True  # False: this machine builds everything

    @property
    def reuses(self) -> bool:
        """Tell whether what was built before may be taken."""
        return self.reuse and self.cache


@dataclass(frozen=True, order=True)
class Job:
    """One image for one platform: one run of the engine."""

    image: str
    platform: Platform

    def __str__(self) -> str:
        return f"{self.image} {self.platform}"

    @property
    def slug(self) -> str:
        """Give a form for file names: web-linux-arm64."""
        return f"{self.image}-{self.platform.slug}"


@dataclass(frozen=True, kw_only=True)
class TagMove:
    """One tag at one target, and what is decided about it."""

    named: NamedTag
    verdict: Verdict = field(default=Verdict(Decision.UNKNOWN, "the registry was not asked"))

    def __str__(self) -> str:
        return str(self.named.tag)

    @property
    def kind(self) -> TagKind:
        """Give what the tag promises."""
        return self.named.kind

    @property
    def decision(self) -> Decision:
        """Give what becomes of the tag."""
        return self.verdict.decision


@dataclass(frozen=True, kw_only=True)
class Target:
    """One image on one registry: `place` is its repository, or the folder of a layout."""

    registry: Registry
    image: str
    place: str
    tags: tuple[TagMove, ...] = ()

    @property
    def key(self) -> str:
        """Give the name that journal and reports use."""
        return f"{self.registry.name}/{self.image}"

    def __str__(self) -> str:
        return self.place


@dataclass(frozen=True, kw_only=True)
class PlannedImage:
    """One image with all placeholders replaced.

    `labels` stand in every child's config and `annotations` on its manifest (oci format only):
    both are stable from version to version. `release_annotations` stand on the index (or, for a
    single-platform image without one, are written into it after the build).
    """

    image: Image
    platforms: tuple[Platform, ...]
    build_args: Mapping[str, str]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    release_annotations: Mapping[str, str]
    fingerprint: str  # of its configuration, as it stands on the index
    published: bool
    readers: tuple[Reader, ...]  # how its version tags are read back
    adopted: Digest | None = None  # its version tag holds this release's result already
    sources: Mapping[Platform, frozenset[str]] = field(  # that count as the same, where compared
        default_factory=dict, hash=False
    )
    doubts: str = ""  # what of its files no commit holds, for people
    # what each platform is built on, where some is for another platform
    built_on: Mapping[Platform, tuple[Job, ...]] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        """Give the image's name."""
        return self.image.name

    def bases(self, platform: Platform) -> tuple[Job, ...]:
        """Give the images of this project that it is built on for a platform."""
        same = (Job(name, platform) for name in sorted({*self.image.inner.values()}))
        return self.built_on.get(platform, tuple(same))

    @property
    def is_index(self) -> bool:
        """Tell whether it gets an index."""
        return len(self.image.platforms) > 1 or self.image.index is IndexPolicy.ALWAYS


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a release or snapshot will do. `images` are in the order in which they build."""

    project: str
    root: Path
    version: Version | None
    source: Commit
    images: tuple[PlannedImage, ...]
    targets: tuple[Target, ...]
    jobs: tuple[Job, ...]
    needs: Mapping[Job, tuple[Job, ...]] = field(hash=False)
    mirrors: Mapping[str, tuple[str, ...]] = field(hash=False)
    yanked: frozenset[Version]
    request: Request
    secret_files: tuple[Path, ...]  # of all images, also those that are not asked for
    fingerprint: str  # of the whole configuration, whatever part of it is asked for
    is_partial: bool  # platforms are left out that the configuration names: no tag moves
    attest: Attest | None = None  # what is to be said of images
    beside: tuple[Target, ...] = ()  # registries not asked for, which may hold the release already

    @property
    def name(self) -> str:
        """Give the version, or the branch of a snapshot, for people."""
        return str(self.version or self.source.branch or self.source.short or "snapshot")

    @property
    def secrets(self) -> tuple[str, ...]:
        """Give the ids of all build secrets."""
        ids = {secret.id for image in self.images for secret in image.image.secrets}
        return tuple(sorted(ids))

    @property
    def refused(self) -> tuple[tuple[Target, TagMove], ...]:
        """Give the tags that must not change, which ends the release (exit 6)."""
        return tuple(
            (target, move)
            for target in self.targets
            for move in target.tags
            if move.decision is Decision.REFUSE
        )

    def image(self, name: str) -> PlannedImage:
        """Give one of the planned images."""
        return self._named[name]

    @cached_property
    def _named(self) -> Mapping[str, PlannedImage]:
        return {image.name: image for image in self.images}

    def result(self, name: str) -> ReleaseIdentity:
        """Give what this release would put under an image's version tags."""
        image = self.image(name)
        return ReleaseIdentity(
            commit=self.source.commit,
            fingerprint=image.fingerprint,
            platforms=frozenset(image.platforms),
            clean=not self.source.dirty,
            sources=image.sources,
            doubts=image.doubts,
        )

    def readers_beside(self, name: str) -> tuple[Reader, ...]:
        """Give the readers of the other images that share a repository with this one."""
        beside = self._sharing.get(name, frozenset())
        images = self.images if beside else ()  # seldom any share one
        return tuple(reader for image in images if image.name in beside for reader in image.readers)

    @cached_property
    def _sharing(self) -> Mapping[str, frozenset[str]]:
        """Give the other images that write to a place that an image writes to, where any do."""
        places: dict[str, set[str]] = {}
        for target in self.targets:
            places.setdefault(target.place, set()).add(target.image)
        found: dict[str, set[str]] = {}
        for names in places.values():
            for name in names if len(names) > 1 else ():
                found.setdefault(name, set()).update(names - {name})
        return {name: frozenset(others) for name, others in found.items()}

    def marked_dirty(self) -> Plan:
        """Give the same plan for what was made from a work tree with changes."""
        mark = {labels.DIRTY: labels.TRUE}
        images = tuple(
            replace(each, release_annotations={**each.release_annotations, **mark})
            for each in self.images
        )
        return replace(self, source=replace(self.source, dirty=True), images=images)

    def without_tags(self) -> Plan:
        """Give the same plan with no tag at all."""
        bare = tuple(replace(each, tags=()) for each in self.targets)
        return replace(self, targets=bare, beside=())
