"""A plan for programs (JSON, stable and sorted, so that two can be compared) and for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field

from podbuild.plan.guards import Decision
from podbuild.plan.labels import relative
from podbuild.plan.model import Job, Plan, PlannedImage, TagMove, Target
from podbuild.report.text import attest_line
from podbuild.system.console.text import fold, size, table
from podbuild.system.later import dataclass
from podbuild.system.records import JSONValue

SCHEMA = 1


def plan_json(plan: Plan) -> dict[str, JSONValue]:
    """Give the content of plan.json; it holds no secret and no path of this machine."""
    source = plan.source
    return {
        "schema": SCHEMA,
        "project": plan.project,
        "name": plan.name,
        "version": str(plan.version) if plan.version else None,
        "commit": source.commit or None,
        "branch": source.branch,
        "created": source.created.isoformat() if source.created else None,
        "dirty": source.dirty,
        "partial": plan.is_partial,
        "fingerprint": plan.fingerprint,
        "images": [_image(plan, image) for image in plan.images],
        "jobs": [
            {
                "image": job.image,
                "platform": str(job.platform),
                "needs": [str(need) for need in plan.needs[job]],
            }
            for job in plan.jobs
        ],
        "targets": [_target(target) for target in plan.targets],
        "attest": attest_line(plan.attest) if plan.attest else None,
        "mirrors": {name: [*places] for name, places in sorted(plan.mirrors.items())},
        "secrets": [*plan.secrets],
    }


def _image(plan: Plan, planned: PlannedImage) -> dict[str, JSONValue]:
    image = planned.image
    return {
        "name": image.name,
        "containerfile": relative(image.containerfile, plan.root),
        "context": relative(image.context, plan.root),
        "target": image.target,
        "platforms": [str(platform) for platform in planned.platforms],
        "index": planned.is_index,
        "publish": planned.published,
        "format": image.format.value,
        "compression": image.compression.value,
        "build-args": dict(planned.build_args),
        "labels": dict(planned.labels),
        "annotations": dict(planned.release_annotations),
        "fingerprint": planned.fingerprint,
        "adopted": str(planned.adopted) if planned.adopted else None,
    }


def _target(target: Target) -> dict[str, JSONValue]:
    return {
        "registry": target.registry.name,
        "kind": target.registry.kind.value,
        "required": target.registry.required,
        "repository": target.place,
        "image": target.image,
        "tags": [_tag(move) for move in target.tags],
    }


def _tag(move: TagMove) -> dict[str, JSONValue]:
    return {
        "tag": str(move),
        "kind": move.kind.value,
        "decision": move.decision.value,
        "reason": move.verdict.reason,
    }


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """What a release would find out: what becomes of each job and why, and what goes afterwards.

    Empty where nobody looked: no registry was asked, or there is no engine here.
    """

    jobs: Mapping[Job, tuple[bool, str]] = field(default_factory=dict, hash=False)  # built? why?
    superseded: tuple[tuple[str, str, str], ...] = ()  # repository, digest, when and why
    unknown: str = ""  # why nothing is known of the jobs
    sizes: tuple[tuple[Job, str, int, str], ...] = ()  # the version before, its bytes, the budget

    def to_json(self) -> dict[str, JSONValue]:
        """Give what `podbuild plan --json` adds."""
        return {
            "foreseen": [
                {
                    "image": job.image,
                    "platform": str(job.platform),
                    "builds": builds,
                    "reason": reason,
                }
                for job, (builds, reason) in self.jobs.items()
            ],
            "compared": [
                {
                    "image": job.image,
                    "platform": str(job.platform),
                    "since": since,
                    "size": count,
                    "growth": budget or None,
                }
                for job, since, count, budget in self.sizes
            ],
            "superseded": [
                {"repository": place, "digest": digest, "reason": reason}
                for place, digest, reason in self.superseded
            ],
        }


NOTHING_FORESEEN = Foreseen()


def plan_text(plan: Plan, foreseen: Foreseen = NOTHING_FORESEEN, width: int | None = None) -> str:
    """Give the plan for people; `width` is that of the terminal that shows it, in columns."""
    sizes = _sizes(foreseen, width)
    parts = (_heading(plan), _builds(plan, foreseen, width), sizes, _targets(plan, width))
    blocks = ["\n".join(part) for part in (*parts, _superseded(foreseen, width))]
    return "\n\n".join(block for block in blocks if block)


def _heading(plan: Plan) -> Iterator[str]:
    what = f"release {plan.version}" if plan.version else f"snapshot of {plan.source.branch}"
    commit = plan.source.commit[:12] or "no commit"
    dirty = ", with changes that no commit holds" if plan.source.dirty else ""
    yield f"{plan.project}: {what} at {commit}{dirty}"


def _builds(plan: Plan, foreseen: Foreseen, width: int | None) -> Iterator[str]:
    if not plan.jobs:
        there = "every image is there already" if plan.targets else "no image is published"
        yield f"build nothing: {there}"
        return
    if foreseen.jobs:
        yield from _foreseen(plan, foreseen, width)
        return
    yield f"build {len(plan.jobs)}, or re-use what is known:"
    found: dict[str, list[str]] = {}
    for job in plan.jobs:
        found.setdefault(job.image, []).append(str(job.platform))
    for image in plan.images:
        if platforms := found.get(image.name):
            yield from fold(f"  {image.name}: {', '.join(platforms)}{_on(image)}", width)
    if foreseen.unknown:
        yield from fold(f"  which of them is not known: {foreseen.unknown}", width)


def _foreseen(plan: Plan, foreseen: Foreseen, width: int | None) -> Iterator[str]:
    builds = sum(built for built, _ in foreseen.jobs.values())
    counts = ((builds, "build"), (len(foreseen.jobs) - builds, "re-use"))
    yield f"{', '.join(f'{word} {count}' for count, word in counts if count)}:"
    rows: dict[tuple[str, str, str], list[str]] = {}
    for job, (built, why) in foreseen.jobs.items():
        key = (f"{job.image}{_on(plan.image(job.image))}", "build" if built else "re-use", why)
        rows.setdefault(key, []).append(str(job.platform))
    lines = [(name, ", ".join(found), what, why) for (name, what, why), found in rows.items()]
    found = table(("image", "platforms", "what", "why"), lines, width=_inner(width))
    yield from (f"  {line}" for line in found)


def _sizes(foreseen: Foreseen, width: int | None) -> Iterator[str]:
    """Say what sizes are compared with."""
    rows = [
        (job.image, str(job.platform), since, size(count), budget and f"at most +{budget}")
        for job, since, count, budget in foreseen.sizes
    ]
    if rows:
        yield "compare sizes with:"
        header = ("image", "platform", "version", "size", "growth")
        found = table(header, rows, right=("size",), width=_inner(width))
        yield from (f"  {line}" for line in found)


def _on(image: PlannedImage) -> str:
    inner = sorted(set(image.image.inner.values()))
    only = "" if image.published else " (published nowhere)"
    on = f" on {', '.join(inner)}" if inner else ""
    return f"{on}{only}"


def _targets(plan: Plan, width: int | None) -> Iterator[str]:
    """Say what becomes of each tag, once where registries agree."""
    if not plan.targets:
        return
    yield "publish and tag:"
    alike: dict[tuple[str, str, str, str], list[str]] = {}
    for target in plan.targets:
        optional = "" if target.registry.required else " (optional)"
        for tag, what, why in _moves(target):
            alike.setdefault((target.image, tag, what, why), []).append(f"{target.place}{optional}")
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    for (image, tag, what, why), places in alike.items():
        rows.setdefault((image, ", ".join(places), what, why), []).append(tag)
    lines = [(where, ", ".join(tags), what, why) for (_, where, what, why), tags in rows.items()]
    found = table(("where", "tag", "what", "why"), lines, width=_inner(width))
    yield from (f"  {line}" for line in found)
    if plan.attest:
        yield from fold(f"  attach: {attest_line(plan.attest)}", width)
    if plan.is_partial:
        yield "  no tag moves: platforms are left out"


def _moves(target: Target) -> Iterator[tuple[str, str, str]]:
    if not target.tags:
        yield ("-", "publish by digest", "")
    for move in target.tags:
        reason = "" if move.decision is Decision.UNKNOWN else move.verdict.reason
        yield (str(move), move.decision.value, reason)


def _superseded(foreseen: Foreseen, width: int | None) -> Iterator[str]:
    if foreseen.superseded:
        yield "delete afterwards (superseded), where nothing else reaches it:"
        found = table(("where", "digest", "why"), foreseen.superseded, width=_inner(width))
        yield from (f"  {line}" for line in found)


def _inner(width: int | None) -> int | None:
    return None if width is None else width - 2
