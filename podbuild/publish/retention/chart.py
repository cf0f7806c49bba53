"""Read the whole graph of one repository, each manifest once; nothing partial is ever given."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from podbuild.errors import CleanupError
from podbuild.oci.delete import Inventory, Remover
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest, Tag
from podbuild.oci.store import Store
from podbuild.plan import labels
from podbuild.plan.destination import config_labels
from podbuild.publish.retention.graph import Graph, Node, subject_of_tag

READERS = 8  # requests at a time
_WAVE = 512  # manifests under way at a time: memory stays bounded
Count = Callable[[int], None]


def _nobody(_count: int) -> None:
    return


@dataclass(frozen=True, kw_only=True)
class CleanupTarget:
    """One repository to clean: where it is read and where it is deleted from.

    `expected` are tags that should be there, by all that is known without the registry.
    """

    key: str  # registry and image, as in reports
    store: Store = field(repr=False)
    remover: Remover = field(repr=False)
    expected: tuple[Tag, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Archive:
    """The bytes of manifests, packed, so that one deleted too soon can be put back."""

    packed: Mapping[Digest, tuple[str, bytes]]

    def manifest(self, digest: Digest) -> Manifest | None:
        """Give a manifest's exact bytes; None where they are not here."""
        found = self.packed.get(digest)
        return Manifest(found[0], zlib.decompress(found[1])) if found else None

    def only(self, digests: Iterable[Digest]) -> Archive:
        """Give the part that is still of use."""
        return Archive({each: self.packed[each] for each in digests if each in self.packed})


@dataclass(frozen=True)
class Chart:
    """The graph of a repository, and the bytes it was read from."""

    graph: Graph
    archive: Archive = field(repr=False)


@dataclass(frozen=True)
class _Read:
    node: Node
    packed: tuple[str, bytes]
    referrers: tuple[Digest, ...]


def chart(
    place: CleanupTarget,
    inventory: Inventory,
    recorded: Iterable[Digest] = (),
    *,
    on_read: Count = _nobody,
) -> Chart:
    """Give the graph of everything listed or recorded, and all that these name.

    Raises CleanupError where a listed manifest can't be read or is not understood, and what the
    registry raises.
    """
    tags = {tag: entry.digest for entry in inventory.entries for tag in entry.tags}
    listed = {entry.digest for entry in inventory.entries}
    pushed = {entry.digest: entry.pushed for entry in inventory.entries if entry.pushed}
    subjects = {subject for tag in tags if (subject := subject_of_tag(tag))}
    undated = frozenset(set(tags.values()) - pushed.keys())
    found = _read_all(place, {*listed, *subjects, *recorded}, undated, on_read)
    missing = frozenset(digest for digest, read in found.items() if read is None)
    if lost := missing & listed:
        raise CleanupError(
            f"{place.store.reference(min(lost))} is listed and can't be read",
            hint="the view of this repository is not complete; nothing is deleted",
        )
    reads = {digest: read for digest, read in found.items() if read}
    return Chart(
        Graph(
            tags=tags,
            nodes={digest: read.node for digest, read in reads.items()},
            missing=missing,
            pushed=pushed,
            touched={entry.digest: entry.touched for entry in inventory.entries if entry.touched},
            immutable=inventory.immutable,
        ),
        Archive({digest: read.packed for digest, read in reads.items()}),
    )


def check_list(place: CleanupTarget, listed: Collection[Tag]) -> None:
    """Ask for each expected tag that a list leaves out.

    Raises CleanupError where one is there: the list is not complete, and what only it names would
    count as unreachable.
    """
    missing = [tag for tag in dict.fromkeys(place.expected) if tag not in listed]
    if not missing:
        return
    with ThreadPoolExecutor(READERS, thread_name_prefix="expected") as pool:
        heads = dict(zip(missing, pool.map(place.store.head, missing), strict=True))
    there = [tag for tag in missing if heads[tag]]
    if there:
        raise CleanupError(
            f"{place.store.reference(there[0])} is there, but the registry's list leaves it out",
            hint="nothing was deleted: the list is not complete; try again later",
            details=[place.store.reference(tag) for tag in there[1:]],
        )


def tree(store: Store, top: Digest) -> frozenset[Digest]:
    """Give a manifest and all it names: children, subjects, all the way; missing ones too."""
    found = {top}
    waiting = [top]
    while waiting:
        manifest = store.manifest(waiting.pop())
        if manifest:
            node = Node.of(manifest)
            fresh = {*node.children, *((node.subject,) if node.subject else ())} - found
            found |= fresh
            waiting.extend(fresh)
    return frozenset(found)


def _read_all(
    place: CleanupTarget, first: set[Digest], undated: frozenset[Digest], on_read: Count
) -> dict[Digest, _Read | None]:
    found: dict[Digest, _Read | None] = {}
    waiting, seen = sorted(first), set(first)
    with ThreadPoolExecutor(READERS, thread_name_prefix="chart") as pool:
        while waiting:
            wave, waiting = waiting[:_WAVE], waiting[_WAVE:]
            for digest, read in pool.map(lambda each: (each, _read(place, each, undated)), wave):
                found[digest] = read
                on_read(1)
                fresh = {*_named_by(read)} - seen if read else set()
                waiting.extend(sorted(fresh))
                seen |= fresh
    return found


def _named_by(read: _Read) -> Iterable[Digest]:
    yield from read.node.children
    yield from read.referrers
    if read.node.subject:
        yield read.node.subject


def _read(place: CleanupTarget, digest: Digest, undated: frozenset[Digest]) -> _Read | None:
    """Read one manifest; that it does not exist must be said twice."""
    manifest = place.store.manifest(digest)
    if manifest is None:
        if place.store.head(digest) is not None:
            raise CleanupError(f"{place.store.reference(digest)} comes and goes; try again later")
        return None
    node = Node.of(manifest)
    if digest in undated and not node.revision and not manifest.is_index:
        # The only date where a registry tells none.
        said = config_labels(place.store, manifest.config)
        node = replace(node, revision=said.get(labels.REVISION, ""))
    return _Read(
        node=node,
        packed=(manifest.media_type, zlib.compress(manifest.data)),
        referrers=place.remover.referrers(digest),
    )
