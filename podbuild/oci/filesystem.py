"""The file system that the layers of an image make together (image-spec, layer.md, "Applying")."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from podbuild.oci.layers import EntryKind, FileEntry

_MOST_LINKS = 40  # symlinks that one path may lead over, as in Linux


@dataclass(frozen=True, slots=True)
class Placed:
    """A path of the merged file system: what it is, and which layer it comes from.

    A hard link shows the file that it shares; `layer` and `source` say where the bytes are.
    """

    entry: FileEntry
    layer: int  # its index, from the base up: the layer that holds the bytes
    source: str  # the path that the bytes have in that layer
    put_by: int  # the layer that put the path there


@dataclass(slots=True)
class _Node:
    placed: Placed | None = None
    children: dict[str, _Node] = field(default_factory=dict)


@dataclass(frozen=True)
class Filesystem:
    """Every visible path, without leading slash, sorted."""

    paths: Mapping[str, Placed] = field(repr=False)

    def find(self, path: str) -> Placed | None:
        """Give what a path leads to, over symlinks; None for nothing."""
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
        return self.paths.get(here)


def merged(layers: Iterable[Iterable[FileEntry]]) -> Filesystem:
    """Put layers on each other, the base first."""
    root = _Node()
    for index, layer in enumerate(layers):
        entries = tuple(layer)
        for entry in entries:  # they speak of lower layers only, wherever they stand
            _remove(root, entry)
        for entry in entries:
            if entry.kind not in (EntryKind.WHITEOUT, EntryKind.OPAQUE):
                _put(root, entry, index)
    return Filesystem(dict(sorted(_walk(root, ""))))


def _remove(root: _Node, entry: FileEntry) -> None:
    if entry.kind is EntryKind.OPAQUE:
        node = _find(root, entry.path)
        if node:
            node.children = {}
    elif entry.kind is EntryKind.WHITEOUT and entry.path:
        folder, name = posixpath.split(entry.path)
        node = _find(root, folder)
        if node:
            node.children.pop(name, None)


def _put(root: _Node, entry: FileEntry, layer: int) -> None:
    placed = Placed(entry, layer, entry.path, layer)
    if entry.kind is EntryKind.HARD_LINK:
        target = _find(root, entry.link)
        if target is not None and target.placed is not None:
            shared = target.placed
            placed = replace(shared, entry=replace(shared.entry, path=entry.path), put_by=layer)
    node = root
    for name in filter(None, entry.path.split("/")):
        node = node.children.setdefault(name, _Node())
    node.placed = placed
    if entry.kind is not EntryKind.DIRECTORY:
        node.children = {}


def _find(root: _Node, path: str) -> _Node | None:
    node: _Node | None = root
    for name in filter(None, path.split("/")):
        node = node.children.get(name) if node else None
    return node


def _walk(root: _Node, path: str) -> Iterator[tuple[str, Placed]]:
    waiting = [(path, root)]
    while waiting:
        here, node = waiting.pop()
        if node.placed is not None and here:
            yield here, node.placed
        waiting += [(posixpath.join(here, name), child) for name, child in node.children.items()]
