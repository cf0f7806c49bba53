"""What git (or the CI system) knows of the work tree. Nothing is written but missing history."""

from podbuild.git.ci import CiFacts, ci_facts
from podbuild.git.facts import Facts, NoFacts, commit_dates, read_facts, tracked_modes
from podbuild.git.history import History
from podbuild.git.version import Resolved, previous_tag, resolve_version

__all__ = [
    "CiFacts",
    "Facts",
    "History",
    "NoFacts",
    "Resolved",
    "ci_facts",
    "commit_dates",
    "previous_tag",
    "read_facts",
    "resolve_version",
    "tracked_modes",
]
