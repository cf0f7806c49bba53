"""Plans of what was built from a work tree with changes, elsewhere or here before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from podbuild.build.model import BuildRecord, Handed
from podbuild.commands.planning import dirt_refusal, what_dirt_means
from podbuild.plan.journal import Journal, Section
from podbuild.plan.planned import Planned


def with_dirt(planned: Planned, handed: Iterable[Handed]) -> Planned:
    """Give the plan as one of a tree with changes, where such a tree was built elsewhere."""
    folders = {each.place for each in handed if each.record.dirty}
    return _with_changes(planned, f"what {', '.join(sorted(folders))} holds", any(folders))


def with_built_dirt(planned: Planned, journal: Journal, handed: Iterable[Handed]) -> Planned:
    """Give the plan as one of a tree with changes, where such a tree was built here before.

    What is `handed` takes the place of what was built.
    """
    kept = {*planned.plan.jobs} - {each.job for each in handed}
    records = (BuildRecord.from_json(journal.get(Section.BUILT, str(job))) for job in kept)
    dirty = any(record.dirty for record in records if record)
    return _with_changes(planned, "what is staged here", dirty)


def _with_changes(planned: Planned, what: str, dirty: bool) -> Planned:
    if not dirty or planned.plan.source.dirty:
        return planned
    changes = f"{what} was built from a work tree with changes"
    refusal = dirt_refusal(planned.plan.request, changes)
    return replace(
        planned,
        plan=planned.plan.marked_dirty(),
        warnings=(*planned.warnings, f"{changes}: {what_dirt_means(refusal)}"),
        refusal=refusal,
    )
