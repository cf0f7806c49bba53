"""What changed between two images of one platform: packages, files, layers. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from podbuild.build.attest.packages import PackageKind
from podbuild.build.examine.anatomy import Anatomy
from podbuild.build.examine.owners import python_name
from podbuild.oci.filesystem import Placed
from podbuild.oci.layers import EntryKind
from podbuild.oci.manifest import Descriptor

_OWNERS = {PackageKind.PYTHON: "pip"}  # where an owner's kind is not the package's


@dataclass(frozen=True, kw_only=True)
class PackageChange:
    """A package by its owner's name, such as deb:bash: versions before and after, and bytes."""

    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    bytes: int  # more than before


@dataclass(frozen=True, kw_only=True)
class FileChange:
    """A path that is new, gone, or other than before; None: it was or is not there (bytes)."""

    path: str
    before: int | None
    after: int | None
    owner: str

    @property
    def growth(self) -> int:
        """Give the bytes that it is larger."""
        return (self.after or 0) - (self.before or 0)


@dataclass(frozen=True, kw_only=True)
class LayerChanges:
    """Layers that are the same, new, and gone; a user of the old image fetches the new ones."""

    same: tuple[Descriptor, ...]
    new: tuple[Descriptor, ...]
    gone: tuple[Descriptor, ...]

    @property
    def update(self) -> int:
        """Give the bytes that a user of the old image downloads."""
        return sum({each.digest: each.size for each in self.new}.values())


@dataclass(frozen=True)
class Difference:
    """Two images, the older one first."""

    old: Anatomy = field(repr=False)
    new: Anatomy = field(repr=False)

    @property
    def is_none(self) -> bool:
        """Tell whether they are one image."""
        return self.old.manifest.digest == self.new.manifest.digest

    @cached_property
    def owners(self) -> Mapping[str, int]:
        """Give how much more of each owner there is (bytes), what changed most first."""
        names = {*self.old.by_owner, *self.new.by_owner}
        grown = {
            name: self.new.by_owner.get(name, 0) - self.old.by_owner.get(name, 0) for name in names
        }
        changed = {name: count for name, count in grown.items() if count}
        return dict(sorted(changed.items(), key=lambda each: (-abs(each[1]), each[0])))

    @cached_property
    def packages(self) -> tuple[PackageChange, ...]:
        """Give the packages whose versions are others, sorted by name."""
        before, after = _versions(self.old), _versions(self.new)
        return tuple(
            PackageChange(
                name=name,
                before=before.get(name, ()),
                after=after.get(name, ()),
                bytes=self.owners.get(name, 0),
            )
            for name in sorted({*before, *after})
            if before.get(name) != after.get(name)
        )

    @cached_property
    def files(self) -> tuple[FileChange, ...]:
        """Give the files and links that differ in content, mode or owner; what grew most first."""
        before, after = self.old.folded.files.paths, self.new.folded.files.paths
        found = []
        for path in {*before, *after}:
            old, new = before.get(path), after.get(path)
            if _is_folder(old) and _is_folder(new):
                continue
            if _facts(self.old, old) != _facts(self.new, new):
                change = FileChange(
                    path=path, before=_size(old), after=_size(new), owner=self._owner(path)
                )
                found.append(change)
        return tuple(sorted(found, key=lambda each: (-abs(each.growth), each.path)))

    @cached_property
    def layers(self) -> LayerChanges:
        """Give what a registry and its users see of it."""
        old, new = self.old.manifest.layers, self.new.manifest.layers
        known, wanted = ({each.digest for each in layers} for layers in (old, new))
        return LayerChanges(
            same=tuple(each for each in new if each.digest in known),
            new=tuple(each for each in new if each.digest not in known),
            gone=tuple(each for each in old if each.digest not in wanted),
        )

    def _owner(self, path: str) -> str:
        for image in (self.new, self.old):
            if body := image.folded.visible.get(path):
                return image.owner(path, body)
        return self.new.owners.of(path) or self.old.owners.of(path)


def _is_folder(placed: Placed | None) -> bool:
    return placed is None or placed.entry.kind is EntryKind.DIRECTORY


def _size(placed: Placed | None) -> int | None:
    return placed.entry.size if placed else None


def _facts(image: Anatomy, placed: Placed | None) -> tuple[object, ...]:
    """Give what makes a path what it is; layers are not among it."""
    if placed is None:
        return ()
    entry = placed.entry
    digest = image.digest_of(placed)
    return (entry.kind, entry.size, entry.mode, entry.uid, entry.gid, entry.link, digest)


def _versions(image: Anatomy) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, set[str]] = defaultdict(set)
    for each in image.packages.packages:
        name = python_name(each.name) if each.kind is PackageKind.PYTHON else each.name
        found[f"{_OWNERS.get(each.kind, each.kind.value)}:{name}"].add(each.version)
    return {name: tuple(sorted(versions)) for name, versions in found.items()}
