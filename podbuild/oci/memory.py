"""A Store in memory, for tests and for what never leaves the process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from podbuild.errors import VerificationError
from podbuild.oci.manifest import Descriptor, Manifest
from podbuild.oci.names import Digest, Tag, reference
from podbuild.oci.store import BlobSource, BytesBlob, PushRight, checked


@dataclass(frozen=True, kw_only=True)
class MemoryStore:
    """One repository in dictionaries; as strict as a registry about what a manifest names."""

    name: str = "memory"
    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    named: dict[Tag, Digest] = field(default_factory=dict)

    def reference(self, target: Tag | Digest) -> str:
        """Give what a user would pull."""
        return reference(self.name, target)

    def head(self, target: Tag | Digest) -> Descriptor | None:
        """Give what a tag or digest names now."""
        found = self.manifest(target)
        return found.descriptor if found else None

    def manifest(self, target: Tag | Digest) -> Manifest | None:
        """Give a manifest."""
        digest = target if isinstance(target, Digest) else self.named.get(target)
        return self.manifests.get(digest) if digest else None

    def put_manifest(self, manifest: Manifest, tag: Tag | None = None) -> None:
        """Store a manifest, and point a tag at it."""
        lost = [part for part in manifest.blobs if part.digest not in self.blobs]
        lost += [part for part in manifest.children if part.digest not in self.manifests]
        if lost:
            raise VerificationError(f"{self.name}: {manifest.digest} names {lost[0].digest}, "
                                    "which is not here")  # fmt: skip
        self.manifests[manifest.digest] = manifest
        if tag:
            self.named[tag] = manifest.digest

    def has_blob(self, blob: Descriptor) -> bool:
        """Tell whether the blob is here."""
        return blob.digest in self.blobs

    def put_blob(
        self,
        blob: Descriptor,
        source: BlobSource,
        on_bytes: Callable[[int], None] = lambda _count: None,
    ) -> None:
        """Store a blob, checked."""
        data = b"".join(checked(blob, source.chunks(), self.name))
        on_bytes(len(data))
        self.blobs[blob.digest] = data

    @contextmanager
    def blob(self, blob: Descriptor) -> Iterator[BlobSource]:
        """Give a blob's bytes."""
        if blob.digest not in self.blobs:
            raise VerificationError(f"{self.reference(blob.digest)}: no such blob")
        yield BytesBlob(self.blobs[blob.digest])

    def tags(self) -> tuple[Tag, ...]:
        """Give every tag, sorted."""
        return tuple(sorted(self.named))

    def check_push(self) -> PushRight:
        """Allow it."""
        return PushRight.ALLOWED
