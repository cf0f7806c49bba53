"""A plan as text: what would be built, published and tagged where, and why."""

from __future__ import annotations

from collections.abc import Iterator

from podbuild.plan import Plan, Target
from podbuild.tags import Decision
from podbuild.ui.table import table


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
