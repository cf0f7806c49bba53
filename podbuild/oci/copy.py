"""Copy images between stores: blobs first, children before parents, bytes as they are.

A FallbackStore reads what one store lacks from others: staging, then where an image came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from podbuild.errors import VerificationError
from podbuild.oci.manifest import Descriptor, Manifest
from podbuild.oci.names import Digest, Tag
from podbuild.oci.store import BlobSource, PushRight, Store
from podbuild.oci.transport.problem import BlobsMissingError
from podbuild.system.cancel import Cancel
from podbuild.system.later import dataclass

_AT_ONCE = 4  # blobs
_SETTLING = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds between looks at what was just written
_LOST_BLOBS = 3  # times that a registry may have lost blobs of one manifest
_DEEPEST = 8  # indexes within indexes


def copy_blob(
    source: Store,
    sink: Store,
    blob: Descriptor,
    on_bytes: Callable[[int], None] = lambda _count: None,
) -> bool:
    """Copy one blob unless it is there already; tell whether it was copied."""
    if sink.has_blob(blob):
        return False
    with source.blob(blob) as content:
        sink.put_blob(blob, content, on_bytes)
    return True


def copy_manifest(
    source: Store,
    sink: Store,
    manifest: Manifest,
    on_bytes: Callable[[int], None] = lambda _count: None,
) -> None:
    """Put a manifest whose parts were copied; copy again what the registry lost meanwhile."""
    for _ in range(_LOST_BLOBS - 1):
        try:
            sink.put_manifest(manifest)
        except BlobsMissingError:
            for blob in manifest.blobs:
                copy_blob(source, sink, blob, on_bytes)
        else:
            return
    sink.put_manifest(manifest)


def descendants(source: Store, manifest: Manifest, depth: int = 0) -> tuple[Manifest, ...]:
    """Give a manifest and all that it names, directly or not, children before their parents.

    Raises VerificationError when one is missing in the source.
    """
    if depth > _DEEPEST:
        raise VerificationError(f"{manifest.digest}: indexes are nested more than {_DEEPEST} deep")
    found: dict[Digest, Manifest] = {}
    for child in manifest.children:
        content = source.manifest(child.digest)
        if content is None:
            raise VerificationError(
                f"{source.reference(child.digest)} is missing, and {manifest.digest} names it"
            )
        for each in descendants(source, content, depth + 1):
            found.setdefault(each.digest, each)
    return (*found.values(), manifest)


def copy_image(
    source: Store,
    sink: Store,
    manifest: Manifest,
    *,
    tag: Tag | None = None,
    on_bytes: Callable[[int], None] = lambda _count: None,
) -> int:
    """Copy an image or index with all that it names; give how many blobs went out.

    With `tag`, it is named in the sink at the very end.
    """
    every = descendants(source, manifest)
    blobs = {blob.digest: blob for each in every for blob in each.blobs}
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="copy") as pool:
        copied = pool.map(lambda blob: copy_blob(source, sink, blob, on_bytes), blobs.values())
        count = sum(copied)
    for each in every:
        copy_manifest(source, sink, each, on_bytes)
    if tag:
        sink.put_manifest(manifest, tag)
    return count


def settled_head(
    store: Store,
    target: Tag | Digest,
    expected: Digest,
    *,
    cancel: Cancel | None = None,
    waits: tuple[float, ...] = _SETTLING,
) -> Descriptor | None:
    """Give what a reference names, looking again for a while until that is `expected`.

    Registries may show the state before a write for some seconds; this is for reading back what
    was just put, never for deciding that something does not exist.
    """
    pause = (cancel or Cancel()).sleep
    found = store.head(target)
    for wait in waits:
        if found and found.digest == expected:
            break
        pause(wait)
        found = store.head(target)
    return found


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
        holder = next((store for store in self._all if store.has_blob(blob)), self.first)
        with holder.blob(blob) as content:
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
