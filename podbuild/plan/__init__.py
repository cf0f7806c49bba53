"""What a release or snapshot will do: built, published and tagged where. Pure.

`make_plan` needs no registry; `decide_tags` adds what the registries' answers decide.
"""

from podbuild.plan.decide import Held, decide_tags
from podbuild.plan.json import plan_json
from podbuild.plan.make import make_plan, plan_places
from podbuild.plan.model import (
    Job,
    Plan,
    PlannedImage,
    Request,
    Source,
    TagMove,
    Target,
)

__all__ = [
    "Held",
    "Job",
    "Plan",
    "PlannedImage",
    "Request",
    "Source",
    "TagMove",
    "Target",
    "decide_tags",
    "make_plan",
    "plan_json",
    "plan_places",
]
