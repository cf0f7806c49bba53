"""Delete what nothing kept can reach: planned on the whole graph, looked at again, verified.

A cleanup that fails never undoes a release.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from podbuild.config.model import Retention
from podbuild.errors import CleanupError, PodbuildError, PublishError, VerificationError
from podbuild.oci.delete import Inventory, Removal
from podbuild.oci.names import Digest
from podbuild.plan.destination import own_failure
from podbuild.publish.retention.chart import Chart, CleanupTarget, chart, check_list
from podbuild.publish.retention.graph import Graph
from podbuild.publish.retention.plan import RemovalItem, RemovalPlan, make_removal_plan
from podbuild.publish.retention.policy import Policy, superseded_policy
from podbuild.publish.retention.removal import Cleaned, Removing
from podbuild.system.cancel import Cancel

_TRIES = 3  # views of a repository that may change under our eyes


def _nothing(_count: int) -> None:
    return


def _silent(_item: RemovalItem, _removal: Removal) -> None:
    return


@dataclass(frozen=True, kw_only=True)
class CleanupProgress:
    """Hears of what was listed, read, removed and checked."""

    listed: Callable[[int], None] = _nothing
    read: Callable[[int], None] = _nothing
    removed: Callable[[RemovalItem, Removal], None] = _silent
    checked: Callable[[int], None] = _nothing


@dataclass(frozen=True, kw_only=True)
class PlannedCleanup:
    """The plan for one repository, with what it was made from."""

    place: CleanupTarget
    plan: RemovalPlan
    chart: Chart = field(repr=False)
    view: frozenset[object] = field(repr=False)


Dates = Callable[[Collection[str]], Mapping[str, datetime]]


def _no_dates(_revisions: Collection[str]) -> Mapping[str, datetime]:
    return {}


def plan_repository(
    place: CleanupTarget,
    policy: Policy,
    progress: CleanupProgress | None = None,
    dates: Dates = _no_dates,
) -> PlannedCleanup:
    """Give what a cleanup of one repository would do. Deletes nothing.

    `dates` gives the committer dates of revisions, where the registry tells no time. Raises
    CleanupError where the view is not complete, CredentialError for a missing right.
    """
    hears = progress or CleanupProgress()
    try:
        abilities = place.remover.abilities()
        inventory = place.remover.inventory(hears.listed)
        found = chart(place, inventory, policy.superseded, on_read=hears.read)
        known = replace(
            policy,
            now=min(policy.now, inventory.now or policy.now),  # our clock may be days ahead
            dates={**policy.dates, **dates(_undated(found.graph))},
        )
        plan = make_removal_plan(found.graph, known, abilities)
        if plan.removed:
            check_list(place, found.graph.tags)
    except (PublishError, VerificationError) as error:
        raise _incomplete(place, error) from error
    return PlannedCleanup(place=place, plan=plan, chart=found, view=view_of(inventory))


def apply_plan(
    planned: PlannedCleanup, cancel: Cancel, progress: CleanupProgress | None = None
) -> Cleaned | None:
    """Carry out a plan, if the repository still looks the same; None where it does not.

    Every tag is asked again right before it goes. Afterwards every kept image must still be
    complete. Raises CleanupError, CredentialError.
    """
    hears = progress or CleanupProgress()
    if not planned.plan.removed:
        return Cleaned()
    place = planned.place
    try:
        if place.remover.listed() != planned.view:
            return None
        removing = Removing(place, planned.plan, planned.chart, cancel, hears.removed)
        failure = _until_it_fails(removing)
        restored = removing.check_kept(hears.checked)
        if failure:
            raise failure
        place.remover.sweep()
    except (PublishError, VerificationError) as error:
        raise _incomplete(place, error) from error
    return removing.cleaned(restored)


def prune_repository(
    place: CleanupTarget,
    policy: Policy,
    cancel: Cancel,
    progress: CleanupProgress | None = None,
    dates: Dates = _no_dates,
) -> tuple[PlannedCleanup, Cleaned]:
    """Plan and apply; a repository that changes meanwhile is planned again.

    Raises CleanupError where it does not come to rest.
    """
    for _ in range(_TRIES):
        planned = plan_repository(place, policy, progress, dates)
        cleaned = apply_plan(planned, cancel, progress)
        if cleaned is not None:
            return planned, cleaned
    raise CleanupError(
        f"{place.store.name} changes while it is looked at, or its list is not complete",
        hint="nothing was deleted; try again when no release runs",
    )


def clean_superseded(
    place: CleanupTarget,
    retention: Retention,
    superseded: Mapping[Digest, datetime],
    now: datetime,
    cancel: Cancel,
) -> Cleaned:
    """Delete what moving tags left, where its grace is over and nothing kept needs it.

    Raises CleanupError whatever goes wrong (the release stands), or the error of a stop.
    """
    policy = superseded_policy(retention, now, superseded)
    if not policy.due:
        return Cleaned()
    try:
        return prune_repository(place, policy, cancel)[1]
    except CleanupError:
        raise
    except PodbuildError as error:
        own_failure(error, cancel)
        raise CleanupError(
            f"{place.store.name}: {error.message}", hint=error.hint, details=error.details
        ) from error


def view_of(inventory: Inventory) -> frozenset[object]:
    """Give what `Remover.listed` must give again: the tags, and the manifests where listed."""
    tags = frozenset(tag for entry in inventory.entries for tag in entry.tags)
    digests = frozenset(entry.digest for entry in inventory.entries if inventory.untagged)
    return tags | digests


def _undated(graph: Graph) -> frozenset[str]:
    """Give the revisions of tagged images whose time the registry does not tell."""
    nodes = (graph.nodes[digest] for digest in graph.tags.values() if digest not in graph.pushed)
    return frozenset(node.revision for node in nodes if node.revision)


def _until_it_fails(removing: Removing) -> PodbuildError | None:
    """Remove in order; an error stops the repository, and what is kept is checked even then."""
    try:
        removing.run()
    except PodbuildError as error:
        return own_failure(error, removing.cancel)
    return None


def _incomplete(place: CleanupTarget, error: PodbuildError) -> CleanupError:
    return CleanupError(
        f"{place.store.name}: cleanup stopped: {error.message}",
        hint=error.hint or "nothing that is kept was touched; run the same command again",
        details=error.details,
    )
