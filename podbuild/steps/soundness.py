"""After a cleanup: every kept image is complete, also one that was pushed meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from concurrent.futures import ThreadPoolExecutor

from podbuild.errors import CleanupError
from podbuild.model import Descriptor, Digest, Tag
from podbuild.retention import RemovalPlan
from podbuild.steps.chart import READERS, Archive, Place, tree


def check_kept(
    place: Place,
    plan: RemovalPlan,
    archive: Archive,
    gone: frozenset[Digest],
    known: Container[Digest],
    on_checked: Callable[[int], None],
) -> tuple[Digest, ...]:
    """Ask for every kept manifest and tag; give what had to be put back.

    `known` is what the plan was made from. A push that re-used a manifest in the moment of its
    deletion gets it back, from the bytes that were read before. Raises CleanupError where
    something kept is not complete.
    """
    heads = _heads(place, plan.needed | frozenset(plan.roots), on_checked)
    listed = place.remover.listed()
    moved = {tag for tag in listed if isinstance(tag, Tag) and not _as_planned(plan, tag, heads)}
    new = {found.digest for tag in sorted(moved) if (found := place.store.head(tag))}
    new |= {each for each in listed if isinstance(each, Digest) and each not in known}
    wanted = {digest for top in new for digest in tree(place.store, top)}
    lost = {each for each, found in heads.items() if found is None}
    restored = _restore(place, archive, gone.intersection(wanted | lost))
    still_lost = sorted(str(each) for each in lost.difference(restored))
    if still_lost:
        raise CleanupError(
            f"{place.store.name}: of what was to be kept, {len(still_lost)} are missing now",
            hint="unless somebody else deleted them, push the images that hold them again",
            details=still_lost,
        )
    return restored


def _as_planned(plan: RemovalPlan, tag: Tag, heads: dict[Tag | Digest, Descriptor | None]) -> bool:
    """Tell whether a tag names what the plan kept it for."""
    found = heads.get(tag)
    return found is not None and plan.roots.get(tag) == found.digest


def _heads(
    place: Place, targets: Iterable[Tag | Digest], on_checked: Callable[[int], None]
) -> dict[Tag | Digest, Descriptor | None]:
    """Ask what exists; that something does not must be said twice."""

    def ask(target: Tag | Digest) -> tuple[Tag | Digest, Descriptor | None]:
        found = place.store.head(target) or place.store.head(target)
        on_checked(1)
        return target, found

    with ThreadPoolExecutor(READERS, thread_name_prefix="check") as pool:
        return dict(pool.map(ask, targets))


def _restore(place: Place, archive: Archive, digests: Iterable[Digest]) -> tuple[Digest, ...]:
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
