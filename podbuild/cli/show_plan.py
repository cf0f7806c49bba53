"""Print a plan, for `plan` and `release --dry-run` alike."""

from __future__ import annotations

from podbuild.plan.json import plan_json
from podbuild.planning import Planned, refuse_conflicts
from podbuild.report.plan_text import plan_text
from podbuild.ui import Ui


def show_plan(ui: Ui, planned: Planned) -> None:
    """Give the plan as the answer; raises ImmutableTagError when the release would be refused."""
    for warning in planned.warnings:
        ui.warn(warning)
    ui.give(plan_text(planned.plan), plan_json(planned.plan))
    refuse_conflicts(planned.plan)
