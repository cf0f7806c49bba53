"""Which image of a shared repository a tag belongs to, and what it stands for there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from podbuild.model import Tag
from podbuild.tags.names import Range, Reader
from podbuild.versions import Version


@dataclass(frozen=True, kw_only=True)
class Owned:
    """A tag's image, and the version or (for a moving tag) the versions that it stands for."""

    image: str = ""
    version: Version | None = None
    range: Range | None = None


@dataclass(frozen=True)
class Owners:
    """Finds a tag's owner by the templates that releases of each image write.

    Where several read a tag, the most specific one wrote it, as `owned_versions` says.
    """

    readers: Mapping[str, Sequence[Reader]]  # by image
    _known: dict[Tag, Owned] = field(default_factory=dict, kw_only=True, repr=False)

    def __call__(self, tag: Tag) -> Owned:
        """Give what is known of a tag: nothing where no release writes it."""
        if tag not in self._known:
            self._known[tag] = self._find(tag)
        return self._known[tag]

    def _find(self, tag: Tag) -> Owned:
        every = [(image, reader) for image, found in self.readers.items() for reader in found]
        every.sort(key=lambda each: -each[1].template.literal_length)
        for image, reader in every:
            if version := reader.version(tag):
                return Owned(image=image, version=version)
        for image, reader in every:
            if within := reader.range(tag):
                return Owned(image=image, range=within)
        return Owned()
