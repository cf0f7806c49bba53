"""A plan as lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from podbuild.plan.model import Plan, PlannedImage, Target
from podbuild.tags import Decision

_VERBS = {Decision.CREATE: "+", Decision.MOVE: ">", Decision.ADOPT: "="}
_VERBS |= {Decision.SKIP: "-", Decision.REFUSE: "!", Decision.UNKNOWN: "?"}


def plan_lines(plan: Plan) -> tuple[str, ...]:
    """Give what is built, where it goes and what each tag does and why."""
    return tuple(_lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    state = ", with changes that no commit holds" if plan.source.dirty else ""
    commit = f" from {plan.source.short}{state}" if plan.source.commit else " without a commit"
    yield f"{plan.project} {plan.name}{commit}"
    for image in plan.images:
        yield f"  {image.name}: {_build(plan, image)}"
    for target in plan.targets:
        yield f"  -> {target.place}{'' if target.registry.required else ' (optional)'}"
        yield from (f"     {line}" for line in _tags(target))
    if plan.is_partial:
        yield "  not all platforms: published by digest, no tag moves"


def _build(plan: Plan, image: PlannedImage) -> str:
    platforms = ", ".join(map(str, image.platforms))
    if image.adopted and not any(job.image == image.name for job in plan.jobs):
        return f"is released already, {image.adopted.algorithm}:{image.adopted.short}"
    use = "" if image.published else " (for other images only)"
    return f"build {platforms}{use}"


def _tags(target: Target) -> Iterator[str]:
    width = max((len(str(move)) for move in target.tags), default=0)
    for move in target.tags:
        mark = _VERBS[move.decision]
        yield f"{mark} {move!s:{width}}  {move.decision}: {move.verdict.reason}"
