"""From what the steps gave to a Report."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import field

from podbuild.build.model import BuiltImage, Origin, Staged
from podbuild.errors import CleanupError, PartialReleaseError, PodbuildError
from podbuild.oci import statements
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest, Tag
from podbuild.oci.store import Store
from podbuild.plan.destination import Destination
from podbuild.plan.guards import Decision
from podbuild.plan.model import Job, Plan, TagMove, Target
from podbuild.plan.tags import TagKind
from podbuild.publish.move import Tagged
from podbuild.report.model import (
    ImageReport,
    PlatformReport,
    ReleaseResult,
    StatementReport,
    TagOutcome,
    TagReport,
    TargetReport,
)
from podbuild.system.later import dataclass

_UNDECIDED = {
    Decision.SKIP: TagOutcome.SKIPPED,
    Decision.REFUSE: TagOutcome.FAILED,
}


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """What publishing and tagging did, as far as they came. `sent` is bytes by destination key."""

    destinations: tuple[Destination, ...] = ()
    tagged: tuple[Tagged, ...] = ()
    failed: Mapping[Destination, PodbuildError] = field(default_factory=dict)
    sent: Mapping[str, int] = field(default_factory=dict)


def image_reports(
    plan: Plan, images: Mapping[str, Manifest], parts: Mapping[Job, PlatformReport]
) -> tuple[ImageReport, ...]:
    """Give a report for each planned image; one without a manifest was not made."""
    reports = []
    for planned in plan.images:
        manifest = images.get(planned.name)
        jobs = (Job(planned.name, platform) for platform in planned.platforms)
        reports.append(
            ImageReport(
                name=planned.name,
                digest=planned.adopted if manifest is None else manifest.digest,
                is_index=planned.is_index if manifest is None else manifest.is_index,
                published=planned.published,
                platforms=tuple(parts[job] for job in jobs if job in parts),
            )
        )
    return tuple(reports)


def statement_reports(
    said: Mapping[str, Mapping[Digest, tuple[str, ...]]],
) -> tuple[StatementReport, ...]:
    """Give what is attached to each subject, children before their index."""
    if not said:
        return ()
    return tuple(
        StatementReport(
            subject=name, referrer=digest, kinds=tuple(statements.SAYS.get(k, k) for k in kinds)
        )
        for name, held in said.items()
        for digest, kinds in sorted(held.items())
    )


def part_reports(staged: Staged) -> Mapping[Job, PlatformReport]:
    """Give what became of each job."""
    return {job: _part(each, joined=job in staged.joined) for job, each in staged.images.items()}


def _part(built: BuiltImage, *, joined: bool) -> PlatformReport:
    other = Origin.JOINED if joined else Origin.REUSED
    builder = built.metrics.builder
    return PlatformReport(
        platform=built.job.platform,
        digest=built.manifest.digest,
        size=size_of(built.manifest),
        seconds=built.metrics.seconds,
        origin=other if built.reused else Origin.BUILT,
        reason=built.reason or f"its inputs are new{builder and f', on {builder}'}",
        log="" if built.reused else f"logs/{built.job.slug}.log",
    )


def adopted_parts(
    plan: Plan, adopted: Mapping[str, Manifest], source: Callable[[str], Store]
) -> Iterator[tuple[Job, PlatformReport]]:
    """Give what is published already, platform by platform."""
    for name, manifest in adopted.items():
        store = source(name)
        children = {child.platform: store.manifest(child.digest) for child in manifest.children}
        alone = dict.fromkeys(plan.image(name).platforms, manifest)
        for platform, child in (children if manifest.is_index else alone).items():
            if platform is not None and child is not None:
                yield (
                    Job(name, platform),
                    PlatformReport(
                        platform=platform,
                        digest=child.digest,
                        size=size_of(child),
                        origin=Origin.ADOPTED,
                        reason="published already",
                    ),
                )


def target_reports(plan: Plan, delivered: Delivered) -> tuple[TargetReport, ...]:
    """Give a report for each target of the plan, with every tag of it and what became of that."""
    stores = {destination.key: destination for destination in delivered.destinations}
    tagged = {(each.order.destination.key, each.order.tag): each for each in delivered.tagged}
    errors = {destination.key: error for destination, error in delivered.failed.items()}
    return tuple(
        TargetReport(
            registry=target.registry.name,
            kind=target.registry.kind,
            repository=_name(target, stores.get(target.key)),
            image=target.image,
            required=target.registry.required,
            tags=tuple(
                _tag(plan, target, move, stores.get(target.key), tagged.get(_key(target, move)))
                for move in target.tags
            ),
            bytes_sent=delivered.sent.get(target.key, 0),
            error=errors[target.key].message if target.key in errors else "",
        )
        for target in plan.targets
    )


def size_of(manifest: Manifest) -> int:
    """Give the bytes that a pull of one platform's image costs."""
    return len(manifest.data) + sum(blob.size for blob in manifest.blobs)


def result_of(
    plan: Plan, targets: Iterable[TargetReport], failure: PodbuildError | None
) -> ReleaseResult:
    """Say how a release ended.

    Without any tag it is partial (fewer platforms, --skip-push). A snapshot of which a guard held
    back every moving tag is skipped.
    """
    if isinstance(failure, PartialReleaseError):
        return ReleaseResult.PARTIAL
    if failure is not None and not isinstance(failure, CleanupError):
        return ReleaseResult.FAILED
    outcomes = _outcomes(plan, targets)
    lasting, moving = outcomes[TagKind.VERSION], outcomes[TagKind.MOVING]
    every = (*lasting, *moving, *outcomes[TagKind.SHA])
    if not every or TagOutcome.UNTOUCHED in every:
        return ReleaseResult.PARTIAL
    skipped = {TagOutcome.SKIPPED, TagOutcome.YIELDED}
    if moving and not lasting and set(moving) <= skipped:
        return ReleaseResult.SKIPPED
    return ReleaseResult.PUBLISHED


def _outcomes(
    plan: Plan, targets: Iterable[TargetReport]
) -> Mapping[TagKind, Collection[TagOutcome]]:
    kinds = {(each.key, move.named.tag): move.kind for each in plan.targets for move in each.tags}
    found: dict[TagKind, list[TagOutcome]] = {kind: [] for kind in TagKind}
    for target in targets:
        for tag in () if target.error else target.tags:
            found[kinds[f"{target.registry}/{target.image}", tag.tag]].append(tag.outcome)
    return found


def _key(target: Target, move: TagMove) -> tuple[str, Tag]:
    return target.key, move.named.tag


def _name(target: Target, destination: Destination | None) -> str:
    return target.place if destination is None else destination.store.name


def _tag(
    plan: Plan,
    target: Target,
    move: TagMove,
    destination: Destination | None,
    tagged: Tagged | None,
) -> TagReport:
    tag = move.named.tag
    reference = f"{target.place}:{tag}" if destination is None else destination.store.reference(tag)
    if tagged is None:
        undone = _UNDECIDED.get(move.decision)
        return TagReport(
            tag=tag,
            reference=reference,
            outcome=undone or TagOutcome.UNTOUCHED,
            reason=move.verdict.reason if undone else "",
        )
    outcome = TagOutcome(tagged.outcome.value)
    if outcome is TagOutcome.ALREADY and move.kind is TagKind.VERSION:
        adopted = plan.image(target.image).adopted is not None
        outcome = TagOutcome.ADOPTED if adopted else outcome
    return TagReport(
        tag=tag,
        reference=reference,
        outcome=outcome,
        digest=tagged.order.manifest.digest if outcome.is_live else tagged.before,
        before=tagged.before,
        reason=tagged.reason,
    )
