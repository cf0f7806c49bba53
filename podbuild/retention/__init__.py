"""What cleanup deletes from a repository, and why the rest stays. Pure.

The safety rules that it keeps are those of every registry's painful bugs: the unit is the digest,
the whole graph decides, what is not known stays, and a kept tag keeps all that it needs.
"""

from __future__ import annotations

from podbuild.retention.graph import Graph, Node, subject_of_tag
from podbuild.retention.plan import Item, RemovalPlan, make_removal_plan
from podbuild.retention.policy import MOST, Policy, prune_policy, superseded_policy

__all__ = [
    "MOST",
    "Graph",
    "Item",
    "Node",
    "Policy",
    "RemovalPlan",
    "make_removal_plan",
    "prune_policy",
    "subject_of_tag",
    "superseded_policy",
]
