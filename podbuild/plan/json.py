"""A plan as JSON: stable and sorted, so that two plans can be compared as text."""

from __future__ import annotations

from podbuild.model import JSONValue
from podbuild.plan.fingerprint import relative
from podbuild.plan.model import Plan, PlannedImage, TagMove, Target

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
