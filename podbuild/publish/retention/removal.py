"""Carry out a removal plan: in its order, each tag asked again, and what turns out kept spared.

Afterwards every kept image must be complete, also one that was pushed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from podbuild.errors import CleanupError
from podbuild.oci.delete import Removal, RemovalKind
from podbuild.oci.manifest import Descriptor
from podbuild.oci.names import Digest, Tag
from podbuild.publish.retention.chart import READERS, Archive, Chart, CleanupTarget, tree
from podbuild.publish.retention.plan import RemovalItem, RemovalPlan
from podbuild.system.cancel import Cancel

_LAGS = (0.5, 1.0, 2.0, 4.0)  # seconds; registries may show for a while what is deleted


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """What became of each item: removed, already gone, or kept after all with the reason.

    `restored` are manifests that a push needed again while they were deleted.
    """

    removed: tuple[RemovalItem, ...] = ()
    gone: tuple[RemovalItem, ...] = ()
    kept: tuple[tuple[RemovalItem, str], ...] = ()
    restored: tuple[Digest, ...] = ()


class Removing:
    """One run over one plan."""

    def __init__(
        self,
        place: CleanupTarget,
        plan: RemovalPlan,
        chart: Chart,
        cancel: Cancel,
        tell: Callable[[RemovalItem, Removal], None],
    ) -> None:
        self.cancel = cancel
        self._place = place
        self._plan = plan
        self._graph = chart.graph
        self._tell = tell
        self._ends: list[tuple[RemovalItem, Removal]] = []
        self._spared: dict[Digest, str] = {}
        self._archive = chart.archive.only(
            self._graph.brought_by({item.digest for item in plan.removed})
        )
        self._tags_go_alone = False  # as the registry has shown

    @property
    def _touched(self) -> frozenset[Digest]:
        """Give the manifests that this run removed or took a tag from, with what they bring."""
        ended = (item for item, removal in self._ends if removal.kind is not RemovalKind.KEPT)
        return self._graph.brought_by({item.digest for item in ended})

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
            if item.tag and removal.kind is RemovalKind.REMOVED and not self._tags_go_alone:
                self._expect_rest(item)

    def check_kept(self, on_checked: Callable[[int], None]) -> tuple[Digest, ...]:
        """Ask for every kept manifest and tag; give what had to be put back.

        A push that re-used a manifest in the moment of its deletion gets it back, from the bytes
        that were read before; so does an image that went with one of its tags. Raises CleanupError
        where something kept is not complete, and after the latter.
        """
        place, plan = self._place, self._plan
        heads = _heads(place, plan.needed | frozenset(plan.roots), on_checked)
        listed = place.remover.listed()
        touched = self._touched
        self._keep_shown(each for each in listed if isinstance(each, Tag))
        tags = (each for each in listed if isinstance(each, Tag))
        moved = {tag for tag in tags if not _as_planned(plan, tag, heads)}
        new = {found.digest for tag in sorted(moved) if (found := place.store.head(tag))}
        digests = (each for each in listed if isinstance(each, Digest))
        new |= {each for each in digests if each not in self._graph.nodes}
        wanted = {digest for top in new for digest in tree(place.store, top)}
        lost = {each for each, found in heads.items() if found is None}
        restored = _restore(place, self._archive, touched.intersection(wanted | lost))
        back = self._tags_back(lost)
        still_lost = sorted(str(each) for each in lost.difference(restored, back))
        if still_lost:
            raise CleanupError(
                f"{place.store.name}: of what was to be kept, {len(still_lost)} are missing now",
                hint="unless somebody else deleted them, push the images that hold them again",
                details=still_lost,
            )
        if back:
            raise self._took_more(back)
        return restored

    def cleaned(self, restored: tuple[Digest, ...]) -> Cleaned:
        """Give what became of each item."""
        back = frozenset(restored)

        def ended(kind: RemovalKind) -> tuple[RemovalItem, ...]:
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

    def _keep_shown(self, listed: Iterable[Tag]) -> None:
        """Take tags for kept that the registry shows long after it said that they are deleted."""
        went = {
            tag: item.digest
            for item, removal in self._ends
            if removal.kind is RemovalKind.REMOVED
            for tag in (item.tag, *item.tags)
            if tag
        }
        shown = went.keys() & set(listed)
        for wait in (0.0, *_LAGS):
            if shown:
                self.cancel.sleep(wait)
                heads = _heads(self._place, shown, lambda _count: None)
                shown = {tag for tag in shown if (at := heads[tag]) and at.digest == went[tag]}
        kept = Removal(RemovalKind.KEPT, "the registry says that it is deleted, and shows it still")
        self._ends = [
            (item, kept if shown.intersection((item.tag, *item.tags)) else removal)
            for item, removal in self._ends
        ]

    def _expect_rest(self, item: RemovalItem) -> None:
        """Look whether one tag went alone: not every registry knows deletions of tags.

        Raises CleanupError where its image or its other tags went along; `check_kept` brings back
        what was to be kept.
        """
        if item.digest not in self._plan.needed:
            return
        others = (tag for tag, digest in self._plan.roots.items() if digest == item.digest)
        heads = _heads(self._place, (item.digest, *others), lambda _count: None)
        lost = [target for target, found in heads.items() if found is None]
        if lost:
            raise self._took_more(lost)
        self._tags_go_alone = True

    def _tags_back(self, lost: Iterable[Tag | Digest]) -> frozenset[Tag]:
        """Point kept tags at their images again, where those went with another tag."""
        back: set[Tag] = set()
        for tag in lost:
            digest = self._plan.roots.get(tag) if isinstance(tag, Tag) else None
            manifest = self._archive.manifest(digest) if digest in self._touched else None
            if manifest is not None and isinstance(tag, Tag):
                self._place.store.put_manifest(manifest, tag)
                back.add(tag)
        return frozenset(back)

    def _took_more(self, lost: Iterable[Tag | Digest]) -> CleanupError:
        return CleanupError(
            f"{self._place.store.name}: the registry deletes an image with all its tags where one "
            "tag is to go; nothing more is deleted",
            hint="what was to be kept was put back",
            details=sorted(map(str, lost)),
        )

    def _remove(self, item: RemovalItem) -> Removal:
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


def _as_planned(plan: RemovalPlan, tag: Tag, heads: dict[Tag | Digest, Descriptor | None]) -> bool:
    """Tell whether a tag names what the plan kept it for."""
    found = heads.get(tag)
    return found is not None and plan.roots.get(tag) == found.digest


def _heads(
    place: CleanupTarget, targets: Iterable[Tag | Digest], on_checked: Callable[[int], None]
) -> dict[Tag | Digest, Descriptor | None]:
    """Ask what exists; that something does not must be said twice."""

    def ask(target: Tag | Digest) -> tuple[Tag | Digest, Descriptor | None]:
        found = place.store.head(target) or place.store.head(target)
        on_checked(1)
        return target, found

    with ThreadPoolExecutor(READERS, thread_name_prefix="check") as pool:
        return dict(pool.map(ask, targets))


def _restore(
    place: CleanupTarget, archive: Archive, digests: Iterable[Digest]
) -> tuple[Digest, ...]:
    """Put manifests back, children before their parents: those that are really missing."""
    restored: list[Digest] = []

    def put(digest: Digest) -> None:
        manifest = archive.manifest(digest)
        if manifest is None or digest in restored or place.store.head(digest) is not None:
            return
        for child in manifest.children:
            put(child.digest)
        place.store.put_manifest(manifest)
        restored.append(digest)

    for digest in sorted(digests):
        put(digest)
    return tuple(restored)
