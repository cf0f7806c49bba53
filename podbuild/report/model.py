"""What a release did, as values; the modules beside this one say it as text, JSON or Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from podbuild.build.model import LayerSize, Metrics, Origin, SizeChange, TrialOutcome, TrialResult
from podbuild.config.trials import SizeBudget
from podbuild.oci.names import Digest, Platform, RegistryKind, Tag
from podbuild.plan.model import Job
from podbuild.publish.move import Outcome
from podbuild.system.later import dataclass

if TYPE_CHECKING:
    from podbuild.oci.delete import RemovalKind

SCHEMA = 1  # of every JSON file here; a change that breaks readers raises it


class ReleaseResult(StrEnum):
    """How a release ended (field.md 3.5)."""

    PUBLISHED = "published"
    PARTIAL = "partial"  # some tags are live, or a part was asked for; the same command goes on
    SKIPPED = "skipped"  # a guard kept every tag, or there was nothing to do
    FAILED = "failed"


class TagOutcome(StrEnum):
    """What became of a tag; also of one that was not to be moved."""

    MOVED = Outcome.MOVED.value
    ALREADY = Outcome.ALREADY.value
    ADOPTED = "adopted"
    SKIPPED = Outcome.SKIPPED.value
    YIELDED = Outcome.YIELDED.value
    UNDONE = Outcome.UNDONE.value
    UNCERTAIN = Outcome.UNCERTAIN.value
    UNTOUCHED = "not moved"  # the release ended before, or was not to move tags
    FAILED = "failed"

    @property
    def is_live(self) -> bool:
        """Tell whether the tag names this release's image now."""
        return self in (TagOutcome.MOVED, TagOutcome.ALREADY, TagOutcome.ADOPTED)


@dataclass(frozen=True, kw_only=True)
class PlatformReport:
    """One image for one platform; its size is what a pull costs (bytes), its time in seconds."""

    platform: Platform
    digest: Digest
    size: int = 0
    seconds: float = 0.0
    origin: Origin = Origin.BUILT
    reason: str = ""  # why it was built or re-used
    log: str = ""  # its log file, relative to the output folder


@dataclass(frozen=True, kw_only=True)
class ImageReport:
    """One image: its platforms, and what its tags name."""

    name: str
    digest: Digest | None  # the index, or the only platform's manifest; None: it was not made
    is_index: bool = False
    published: bool = True  # False: only other images use it
    platforms: tuple[PlatformReport, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TagReport:
    """One tag on one registry; `reference` is what a user pulls."""

    tag: Tag
    reference: str
    outcome: TagOutcome
    digest: Digest | None = None  # what it names now, if known
    before: Digest | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class TargetReport:
    """One image on one registry."""

    registry: str  # its name in the configuration
    kind: RegistryKind
    repository: str
    image: str
    required: bool = True
    tags: tuple[TagReport, ...] = ()
    bytes_sent: int = 0
    error: str = ""  # why it lacks the image (optional registries only)

    @property
    def live(self) -> tuple[TagReport, ...]:
        """Give the tags that name this release's image now."""
        return tuple(tag for tag in self.tags if tag.outcome.is_live)


@dataclass(frozen=True, kw_only=True)
class StatementReport:
    """One referrer of an image or index: what it says (SBOM, provenance, signature)."""

    subject: str  # such as "web linux/amd64", or "web" for an index
    referrer: Digest
    kinds: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """How long a step of the release took; `began` is when (seconds since 1970)."""

    name: str
    seconds: float
    began: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RemovalReport:
    """What became of something superseded."""

    repository: str
    what: str  # a tag or digest
    outcome: RemovalKind
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why the command failed. `run_code` is the failing RUN's own exit code, if known."""

    exit_code: int
    message: str
    hint: str = ""
    run_code: int | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that a release did."""

    project: str
    result: ReleaseResult
    commit: str
    date: datetime | None  # the commit's
    version: str = ""  # without a leading v; empty for a snapshot
    tag: str = ""  # the git tag
    previous_tag: str = ""
    branch: str = ""
    dirty: bool = False
    podbuild: str = ""
    engine: str = ""
    images: tuple[ImageReport, ...] = ()
    targets: tuple[TargetReport, ...] = ()
    statements: tuple[StatementReport, ...] = ()
    attest: str = ""  # what is attached and who signs; empty: nothing is asked for
    verify: tuple[str, ...] = ()  # commands
    metrics: Mapping[Job, Metrics] = field(default_factory=dict, hash=False)  # of what was built
    phases: tuple[Phase, ...] = ()
    changes: Mapping[Job, SizeChange] = field(default_factory=dict, hash=False)  # of sizes
    layers: Mapping[Job, tuple[LayerSize, ...]] = field(default_factory=dict, hash=False)
    budgets: Mapping[str, SizeBudget] = field(default_factory=dict, hash=False)  # by image
    tests: tuple[TrialResult, ...] = ()
    removed: tuple[RemovalReport, ...] = ()
    warnings: tuple[str, ...] = ()
    failure: Failure | None = None
    faults: Mapping[Job, str] = field(default_factory=dict, hash=False)  # why a build failed
    seconds: float = 0.0
    retries: int = 0
    requests: int = 0

    @property
    def name(self) -> str:
        """Give what was released, for people: the version, or the branch."""
        return self.version or self.branch or self.commit[:7]

    @property
    def published_images(self) -> tuple[ImageReport, ...]:
        """Give the images that registries get."""
        return tuple(image for image in self.images if image.published)

    @property
    def failed_tests(self) -> tuple[TrialResult, ...]:
        """Give the tests that images failed."""
        return tuple(each for each in self.tests if each.outcome is TrialOutcome.FAILED)

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """Give every platform once, sorted."""
        return tuple(sorted({part.platform for image in self.images for part in image.platforms}))

    @property
    def bytes_sent(self) -> int:
        """Give the bytes that went to registries."""
        return sum(target.bytes_sent for target in self.targets)

    @property
    def cache_hit(self) -> bool:
        """Tell whether nothing had to be built."""
        parts = [part for image in self.images for part in image.platforms]
        return bool(parts) and all(part.origin is not Origin.BUILT for part in parts)

    @property
    def references(self) -> tuple[str, ...]:
        """Give every tag that names this release's images now, with its repository."""
        return _once(tag.reference for target in self.targets for tag in target.live)

    @property
    def tag_names(self) -> tuple[str, ...]:
        """Give these tags without their repositories."""
        return _once(str(tag.tag) for target in self.targets for tag in target.live)

    @property
    def left_out(self) -> tuple[tuple[TargetReport, TagReport], ...]:
        """Give the tags that do not name this release's images, with their targets."""
        return tuple(
            (target, tag)
            for target in self.targets
            for tag in target.tags
            if not tag.outcome.is_live
        )

    def image(self, name: str) -> ImageReport | None:
        """Give an image by its name; None where there is none."""
        return next((image for image in self.images if image.name == name), None)


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
