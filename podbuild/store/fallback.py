"""One store that reads what it lacks from others: staging first, then where an image came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from podbuild.model import Descriptor, Digest, Manifest, Tag
from podbuild.store import BlobSource, PushRight, Store


@dataclass(frozen=True)
class FallbackStore:
    """A Store that writes to `first` and reads from it, else from the `others` in order."""

    first: Store
    others: tuple[Store, ...]

    @property
    def name(self) -> str:
        """Give the first store's name."""
        return self.first.name

    def reference(self, target: Tag | Digest) -> str:
        """Give the first store's reference."""
        return self.first.reference(target)

    def head(self, target: Tag | Digest) -> Descriptor | None:
        """Give what a tag or digest names in the first store that has it."""
        return next(filter(None, (store.head(target) for store in self._all)), None)

    def manifest(self, target: Tag | Digest) -> Manifest | None:
        """Give a manifest of the first store that has it."""
        return next(filter(None, (store.manifest(target) for store in self._all)), None)

    def put_manifest(self, manifest: Manifest, tag: Tag | None = None) -> None:
        """Store a manifest in the first store."""
        self.first.put_manifest(manifest, tag)

    def has_blob(self, blob: Descriptor) -> bool:
        """Tell whether any of the stores has the blob."""
        return any(store.has_blob(blob) for store in self._all)

    def put_blob(
        self,
        blob: Descriptor,
        source: BlobSource,
        on_bytes: Callable[[int], None] = lambda _count: None,
    ) -> None:
        """Store a blob in the first store."""
        self.first.put_blob(blob, source, on_bytes)

    @contextmanager
    def blob(self, blob: Descriptor) -> Iterator[BlobSource]:
        """Give a blob's bytes from the first store that has it."""
        holder = next((store for store in self.others if store.has_blob(blob)), self.first)
        with (self.first if self.first.has_blob(blob) else holder).blob(blob) as content:
            yield content

    def tags(self) -> tuple[Tag, ...]:
        """Give the first store's tags."""
        return self.first.tags()

    def check_push(self) -> PushRight:
        """Ask the first store."""
        return self.first.check_push()

    @property
    def _all(self) -> tuple[Store, ...]:
        return (self.first, *self.others)
