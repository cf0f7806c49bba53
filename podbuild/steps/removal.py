"""Carry out a removal plan: in its order, each tag asked again, and what turns out kept spared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from podbuild.cancel import Cancel
from podbuild.model import Digest, Tag
from podbuild.retention import Item, RemovalPlan
from podbuild.steps.chart import Chart, Place, tree
from podbuild.store import Removal, RemovalKind


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """What became of each item: removed, already gone, or kept after all with the reason.

    `restored` are manifests that a push needed again while they were deleted.
    """

    removed: tuple[Item, ...] = ()
    gone: tuple[Item, ...] = ()
    kept: tuple[tuple[Item, str], ...] = ()
    restored: tuple[Digest, ...] = ()


class Removing:
    """One run over one plan."""

    def __init__(
        self,
        place: Place,
        plan: RemovalPlan,
        chart: Chart,
        cancel: Cancel,
        tell: Callable[[Item, Removal], None],
    ) -> None:
        self.cancel = cancel
        self._place = place
        self._plan = plan
        self._graph = chart.graph
        self._tell = tell
        self._ends: list[tuple[Item, Removal]] = []
        self._spared: dict[Digest, str] = {}
        self.archive = chart.archive.only(item.digest for item in plan.removed)

    @property
    def gone(self) -> frozenset[Digest]:
        """Give the manifests that this run removed."""
        return frozenset(
            item.digest
            for item, removal in self._ends
            if item.tag is None and removal.kind is not RemovalKind.KEPT
        )

    def run(self) -> None:
        """Remove the tags, look at the repository again, then remove the manifests.

        Raises what the registry raises; what was done until then is known.
        """
        first = next((n for n, item in enumerate(self._plan.removed) if item.tag is None), None)
        for number, item in enumerate(self._plan.removed):
            if number == first:
                self._spare_what_moved()
            self.cancel.check()
            removal = self._remove(item)
            self._ends.append((item, removal))
            self._tell(item, removal)

    def cleaned(self, restored: tuple[Digest, ...]) -> Cleaned:
        """Give what became of each item."""
        back = frozenset(restored)

        def ended(kind: RemovalKind) -> tuple[Item, ...]:
            return tuple(
                item
                for item, removal in self._ends
                if removal.kind is kind and (item.tag or item.digest not in back)
            )

        kept = [(i, end.reason) for i, end in self._ends if end.kind is RemovalKind.KEPT]
        kept += [(i, "a push needed it again") for i, _ in self._ends if i.digest in back]
        return Cleaned(
            removed=ended(RemovalKind.REMOVED),
            gone=ended(RemovalKind.GONE),
            kept=tuple(kept),
            restored=restored,
        )

    def _remove(self, item: Item) -> Removal:
        goes_with_it = item.tag is None or item.tag in self._graph.attached
        if goes_with_it and item.digest in self._spared:
            return Removal(RemovalKind.KEPT, self._spared[item.digest])
        if item.tag:
            removal = self._place.remover.remove_tag(item.tag, item.digest)
        else:
            removal = self._place.remover.remove_manifest(item.digest, item.tags)
        if removal.kind is RemovalKind.KEPT:
            self._spare(item.digest, removal.reason)
            for tag in (item.tag, *item.tags):
                if tag:
                    self._spare_present(tag)
        return removal

    def _spare_present(self, tag: Tag) -> None:
        """Spare what a tag names now that it did not go."""
        found = self._place.store.head(tag)
        if found:
            self._spare_tree(found.digest, f"{tag} names it now")

    def _spare_what_moved(self) -> None:
        """Spare what tags name that the plan does not know, or that name something else now.

        So does an index that is new: a release puts it some time before its tags.
        """
        planned = self._graph.tags
        for entry in self._place.remover.inventory().entries:
            if entry.digest not in self._graph.nodes:
                self._spare_tree(entry.digest, f"{entry.digest} is new")
            for tag in entry.tags:
                if planned.get(tag) != entry.digest:
                    self._spare_tree(entry.digest, f"{tag} names it now")

    def _spare_tree(self, top: Digest, reason: str) -> None:
        for digest in tree(self._place.store, top):
            self._spare(digest, reason)

    def _spare(self, digest: Digest, reason: str) -> None:
        """Spare a manifest with all that lives as long as it does."""
        for each, why in self._graph.kept_by({digest: reason}).items():
            self._spared.setdefault(each, why)
