"""How long jobs took before, so that the longest way through the graph starts first."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from podbuild.emulation import native_architecture
from podbuild.model import JSONValue
from podbuild.plan import Job
from podbuild.records import Records

_NAME = "durations.json"
_NATIVE, _FOREIGN = 1.0, 2.0  # seconds; a guess where nothing is known, for the order alone


def priorities(needs: Mapping[Job, Collection[Job]], records: Records) -> Mapping[Job, float]:
    """Give each job's seconds with the longest chain of those that build on it.

    `needs` has what others build on first.
    """
    known = records.read(_NAME)
    after = dict.fromkeys(needs, 0.0)
    found: dict[Job, float] = {}
    for job, bases in reversed(tuple(needs.items())):
        found[job] = _seconds(job, known.get(str(job))) + after[job]
        for base in bases:
            after[base] = max(after.get(base, 0.0), found[job])
    return found


def remember(took: Mapping[Job, float], records: Records) -> None:
    """Keep how many seconds jobs took that were built now."""
    if took:
        new: dict[str, JSONValue] = {str(job): round(took[job], 2) for job in took}
        records.write(_NAME, {**records.read(_NAME), **new})


def _seconds(job: Job, known: JSONValue) -> float:
    if isinstance(known, int | float):
        return float(known)
    return _NATIVE if job.platform.architecture == native_architecture() else _FOREIGN
