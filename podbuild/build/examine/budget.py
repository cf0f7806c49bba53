"""Which images are larger than they may be; manifests alone say it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from podbuild.build.image import layer_bytes
from podbuild.build.inputs.lint import Finding, Level
from podbuild.config.trials import OverBudget
from podbuild.oci.manifest import Manifest
from podbuild.plan.model import Job, Plan
from podbuild.system.console.text import size as size_text

SIZE_RULE = "budget-size"


def over_budget(
    plan: Plan, images: Mapping[Job, Manifest], place: Callable[[str], tuple[str, int]]
) -> Iterator[Finding]:
    """Give a finding for each published image over its budget, re-used ones too.

    `place` says where the configuration sets an image's budget: file and line.
    """
    for job, manifest in sorted(images.items(), key=lambda each: each[0]):
        planned = plan.image(job.image)
        budget, size = planned.image.budget, layer_bytes(manifest)
        if not planned.published or budget.size is None or size <= budget.size:
            continue
        file, line = place(job.image)
        yield Finding(
            level=Level.WARNING if budget.on is OverBudget.WARN else Level.ERROR,
            file=file,
            line=line,
            message=f"{size_text(size)} compressed ({size} bytes), "
            f"and its budget is {size_text(budget.size)} ({budget.size} bytes)",
            hint="make it smaller, or raise the budget",
            rule=SIZE_RULE,
            image=job.image,
            platforms=(job.platform,),
        )
