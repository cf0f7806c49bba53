"""A plan for programs (JSON, stable and sorted, so that two can be compared) and for people."""

from __future__ import annotations

from collections.abc import Iterator

from podbuild.plan.fingerprint import relative
from podbuild.plan.guards import Decision
from podbuild.plan.model import Plan, PlannedImage, TagMove, Target
from podbuild.system.console.text import table
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


def plan_text(plan: Plan) -> str:
    """Give the plan for people."""
    return "\n".join((*_heading(plan), "", *_builds(plan), "", *_targets(plan)))


def _heading(plan: Plan) -> Iterator[str]:
    what = f"release {plan.version}" if plan.version else f"snapshot of {plan.source.branch}"
    commit = plan.source.commit[:12] or "no commit"
    dirty = ", with changes that no commit holds" if plan.source.dirty else ""
    yield f"{plan.project}: {what} at {commit}{dirty}"


def _builds(plan: Plan) -> Iterator[str]:
    if not plan.jobs:
        yield "build nothing: every image is there already"
        return
    yield f"build {len(plan.jobs)}:"
    for image in plan.images:
        platforms = [str(job.platform) for job in plan.jobs if job.image == image.name]
        if platforms:
            inner = sorted(set(image.image.inner.values()))
            on = f" on {', '.join(inner)}" if inner else ""
            only = "" if image.published else " (published nowhere)"
            yield f"  {image.name}: {', '.join(platforms)}{on}{only}"


def _targets(plan: Plan) -> Iterator[str]:
    yield "publish and tag:"
    rows = [row for target in plan.targets for row in _rows(target)]
    yield from (f"  {line}" for line in table(("where", "tag", "what", "why"), rows))
    if plan.is_partial:
        yield "  no tag moves: platforms are left out"


def _rows(target: Target) -> Iterator[tuple[str, str, str, str]]:
    optional = "" if target.registry.required else " (optional)"
    place = f"{target.place}{optional}"
    if not target.tags:
        yield (place, "-", "publish by digest", "")
    for move in target.tags:
        reason = "" if move.decision is Decision.UNKNOWN else move.verdict.reason
        yield (place, str(move), move.decision.value, reason)
