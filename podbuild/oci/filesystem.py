"""The file system that the layers of an image make together (image-spec, layer.md, "Applying").

And what they hold that nobody sees in it: the bytes that squashing would save, each with the
layer that has them, the layer that hides them, and how.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from podbuild.errors import VerificationError
from podbuild.oci.layers import EntryKind, FileEntry

_MOST_LINKS = 40  # symlinks that one path may lead over, as in Linux
_MOST_NODES = 4_000_000  # paths of one image, those of folders that no entry names included


class Hiding(StrEnum):
    """How a later layer hides the bytes of a file."""

    DELETED = "deleted"
    METADATA = "metadata"  # the same content is there again, with another mode or owner
    SAME = "same"  # the same content is there again
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class Placed:
    """A path of the merged file system: what it is, and which layer it comes from.

    A hard link shows the file that it shares; `layer` and `source` say where the bytes are.
    """

    entry: FileEntry
    layer: int  # its index, from the base up: the layer that holds the bytes
    source: str  # the path that the bytes have in that layer
    put_by: int  # the layer that put the path there


@dataclass(frozen=True, slots=True)
class Hidden:
    """A file of a layer that no path shows any more."""

    path: str
    size: int  # bytes
    compressed: int  # about
    layer: int  # that holds it
    by: int  # the layer that hides it, which may be the same
    cause: Hiding


@dataclass(frozen=True)
class Filesystem:
    """Every visible path, without leading slash, sorted."""

    paths: Mapping[str, Placed] = field(repr=False)

    def find(self, path: str) -> Placed | None:
        """Give what a path leads to, over symlinks; None for nothing."""
        real = self.real(path)
        return None if real is None else self.paths.get(real)

    def real(self, path: str) -> str | None:
        """Give the path without symlinks, whether anything is there or not; None for a loop."""
        seen = 0
        parts = [part for part in reversed(path.split("/")) if part]
        here = ""
        while parts:
            name = parts.pop()
            if name in (".", ".."):
                here = posixpath.dirname(here) if name == ".." else here
                continue
            step = posixpath.join(here, name)
            found = self.paths.get(step)
            if found is None or found.entry.kind is not EntryKind.SYMLINK:
                here = step
                continue
            seen += 1
            if seen > _MOST_LINKS:
                return None
            here = "" if found.entry.link.startswith("/") else here
            parts += [part for part in reversed(found.entry.link.split("/")) if part]
        return here


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of one file in one layer: `visible + hidden == total` counts each of them once."""

    entry: FileEntry
    layer: int
    digest: str = ""
    compressed: int = 0  # bytes, about


@dataclass(frozen=True)
class Folded:
    """What layers make together, and what of them is not in it. All sizes are bytes."""

    files: Filesystem
    visible: Mapping[str, Body] = field(repr=False)  # each by the first path that shows it
    hidden: tuple[Hidden, ...] = field(repr=False)
    totals: tuple[int, ...]  # of the files of each layer

    @property
    def total(self) -> int:
        """Give the bytes of all files of all layers."""
        return sum(self.totals)

    @property
    def visible_bytes(self) -> int:
        """Give the bytes of the files that are there in the end, hard links once."""
        return sum(body.entry.size for body in self.visible.values())

    @property
    def hidden_bytes(self) -> int:
        """Give what squashing would save."""
        return sum(each.size for each in self.hidden)


def merged(layers: Iterable[Iterable[FileEntry]]) -> Filesystem:
    """Put layers on each other, the base first."""
    return folded((layer, ()) for layer in layers).files


def folded(layers: Iterable[tuple[Iterable[FileEntry], Iterable[tuple[str, int]]]]) -> Folded:
    """Put layers on each other, the base first, and count.

    With each layer come the digests and compressed bytes of its files, in the same order; without
    them all that is put again counts as replaced. Raises VerificationError for too many paths.
    """
    tree = _Tree()
    for index, (entries, contents) in enumerate(layers):
        tree.apply(index, tuple(entries), tuple(contents))
    return tree.folded()


@dataclass(slots=True)
class _Bytes:
    """The bytes of a file while layers are put on each other, and how many paths show them."""

    body: Body
    paths: int = 0


@dataclass(slots=True)
class _Node:
    placed: Placed | None = None
    body: _Bytes | None = None
    children: dict[str, _Node] | None = None


class _Tree:
    """The state between layers."""

    def __init__(self) -> None:
        self._root = _Node()
        self._nodes = 0
        self._hidden: list[Hidden] = []
        self._totals: list[int] = []
        # What this layer has taken away and not put again yet, by path.
        self._gone: dict[str, _Bytes] = {}

    def apply(
        self, index: int, entries: Sequence[FileEntry], contents: Sequence[tuple[str, int]]
    ) -> None:
        for entry in entries:  # they speak of lower layers only, wherever they stand
            self._remove(entry)
        known = iter(contents)
        total = 0
        for entry in entries:
            if entry.kind in (EntryKind.WHITEOUT, EntryKind.OPAQUE):
                continue
            body = None
            if entry.kind is EntryKind.FILE:
                body = _Bytes(Body(entry, index, *next(known, ("", 0))))
                if not entry.path:  # nothing can be in the place of the root
                    continue
                total += entry.size
            self._put(entry, index, body)
        for lost in self._gone.values():
            self._hide(lost, index, Hiding.DELETED)
        self._gone.clear()
        self._totals.append(total)

    def folded(self) -> Folded:
        found = sorted(self._walk(), key=lambda each: each[0])
        visible: dict[str, Body] = {}
        seen: set[int] = set()
        for path, node in found:
            if node.body is not None and id(node.body) not in seen:
                seen.add(id(node.body))
                visible[path] = node.body.body
        paths = {path: node.placed for path, node in found if node.placed is not None}
        hidden = sorted(self._hidden, key=lambda each: (each.layer, each.by, each.path))
        return Folded(Filesystem(paths), visible, tuple(hidden), tuple(self._totals))

    def _remove(self, entry: FileEntry) -> None:
        if entry.kind is EntryKind.OPAQUE:
            if node := self._find(entry.path):
                self._empty(node, entry.path)
        elif entry.kind is EntryKind.WHITEOUT and entry.path:
            folder, name = posixpath.split(entry.path)
            node = self._find(folder)
            if node and node.children and (gone := node.children.pop(name, None)):
                self._forget(gone, entry.path)

    def _put(self, entry: FileEntry, layer: int, body: _Bytes | None) -> None:
        placed = Placed(entry, layer, entry.path, layer)
        if entry.kind is EntryKind.HARD_LINK:
            target = self._find(entry.link)
            if target is not None and target.placed is not None:
                shared = target.placed
                placed = replace(shared, entry=replace(shared.entry, path=entry.path), put_by=layer)
                body = target.body
        node = self._reach(entry.path, layer)
        if body is not None:
            body.paths += 1
        before, node.placed, node.body = node.body, placed, body
        if before is not None:
            self._release(before, layer, _cause(before, body, entry))
        if (again := self._gone.pop(entry.path, None)) is not None:
            self._hide(again, layer, _cause(again, body, entry))
        if entry.kind is not EntryKind.DIRECTORY:
            self._empty(node, entry.path)

    def _reach(self, path: str, layer: int) -> _Node:
        """Give the node of a path, which is made; folders that no entry names are made too."""
        node, parts = self._root, [name for name in path.split("/") if name]
        for depth, name in enumerate(parts):
            placed = node.placed
            if depth and placed is not None and placed.put_by < layer and not _is_folder(placed):
                here = "/".join(parts[:depth])  # the folder that holds this stands in its place
                self._lose(node, here)
                node.placed = None
            if node.children is None:
                node.children = {}
            following = node.children.get(name)
            if following is None:
                self._nodes += 1
                if self._nodes > _MOST_NODES:
                    raise VerificationError(f"an image of more than {_MOST_NODES} paths")
                following = node.children[name] = _Node()
            node = following
        return node

    def _find(self, path: str) -> _Node | None:
        node: _Node | None = self._root
        for name in filter(None, path.split("/")):
            node = node.children.get(name) if node and node.children else None
        return node

    def _empty(self, node: _Node, path: str) -> None:
        children, node.children = node.children or {}, None
        for name, child in children.items():
            self._forget(child, posixpath.join(path, name))

    def _forget(self, node: _Node, path: str) -> None:
        waiting = [(path, node)]
        while waiting:
            here, each = waiting.pop()
            self._nodes -= 1
            self._lose(each, here)
            children = (each.children or {}).items()
            waiting += [(posixpath.join(here, name), child) for name, child in children]

    def _lose(self, node: _Node, path: str) -> None:
        """Take a path from its bytes; who is without any path is hidden when the layer is over."""
        if node.body is not None:
            node.body.paths -= 1
            if not node.body.paths:
                self._gone[path] = node.body
            node.body = None

    def _release(self, lost: _Bytes, layer: int, cause: Hiding) -> None:
        lost.paths -= 1
        if not lost.paths:
            self._hide(lost, layer, cause)

    def _hide(self, lost: _Bytes, by: int, cause: Hiding) -> None:
        body = lost.body
        if body.entry.size:
            path, size = body.entry.path, body.entry.size
            self._hidden.append(Hidden(path, size, body.compressed, body.layer, by, cause))

    def _walk(self) -> Iterator[tuple[str, _Node]]:
        waiting = [("", self._root)]
        while waiting:
            here, node = waiting.pop()
            if node.placed is not None and here:
                yield here, node
            children = (node.children or {}).items()
            waiting += [(posixpath.join(here, name), child) for name, child in children]


def _is_folder(placed: Placed) -> bool:
    return placed.entry.kind is EntryKind.DIRECTORY


def _cause(before: _Bytes, after: _Bytes | None, entry: FileEntry) -> Hiding:
    """Give how what stands at a path now hides what stood there."""
    if after is None or not before.body.digest or before.body.digest != after.body.digest:
        return Hiding.REPLACED
    if before.body.entry.size != after.body.entry.size:
        return Hiding.REPLACED
    old, new = before.body.entry, after.body.entry if entry.link else entry
    same = (old.mode, old.uid, old.gid) == (new.mode, new.uid, new.gid)
    return Hiding.SAME if same else Hiding.METADATA
