"""Where images live: one protocol for registries, OCI folders and memory; blobs of files and bytes.

A Store is one repository. Every manifest that a store gives has been checked against the digest
it was asked for; every blob that is put is checked by the store against its descriptor.

Artifacts are manifests that hold something else than an image.
Source: image-spec, manifest.md, "Guidelines for Artifact Usage".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import field
from enum import Enum
from pathlib import Path
from typing import Protocol

from podbuild.errors import PublishError, VerificationError
from podbuild.oci.manifest import MANIFEST_CAP, Descriptor, Manifest, MediaType
from podbuild.oci.names import Digest, Tag
from podbuild.oci.transport import problem
from podbuild.system.cancel import Cancel
from podbuild.system.files import link_whole
from podbuild.system.later import dataclass
from podbuild.system.records import JSONValue


class PushRight(Enum):
    """What a preflight could learn about the right to push (registries.md, e4)."""

    ALLOWED = "allowed"
    UNKNOWN = "unknown"


class BlobSource(Protocol):
    """Bytes that can be read as often as an upload is tried."""

    @property
    def path(self) -> Path | None:
        """Give the file that holds the bytes, where one does (it can be linked)."""

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """Give the bytes from `start` on, in pieces of bounded size."""


class Store(Protocol):
    """One repository that holds manifests, blobs and tags.

    All methods raise PublishError when the store can't be reached or answers nonsense,
    CredentialError when it refuses us, and VerificationError when bytes and digest differ.
    """

    @property
    def name(self) -> str:
        """Give the reference without tag, such as ghcr.io/acme/web, for people and reports."""

    def reference(self, target: Tag | Digest) -> str:
        """Give what a user pulls: `name:tag` or `name@digest`."""

    def head(self, target: Tag | Digest) -> Descriptor | None:
        """Give what a tag or digest names now; None when it does not exist. Costs no pull."""

    def manifest(self, target: Tag | Digest) -> Manifest | None:
        """Give a manifest's exact bytes; None when it does not exist."""

    def put_manifest(self, manifest: Manifest, tag: Tag | None = None) -> None:
        """Store a manifest by its digest, and point `tag` at it if one is given."""

    def has_blob(self, blob: Descriptor) -> bool:
        """Tell whether the blob is here already."""

    def put_blob(
        self,
        blob: Descriptor,
        source: BlobSource,
        on_bytes: Callable[[int], None] = lambda _count: None,
    ) -> None:
        """Store a blob, checked; `on_bytes` hears how many bytes went out (negative: again)."""

    def blob(self, blob: Descriptor) -> AbstractContextManager[BlobSource]:
        """Give a blob's bytes, checked against size and digest while read to the end."""

    def tags(self) -> tuple[Tag, ...]:
        """Give every tag; empty when the repository does not exist."""

    def check_push(self) -> PushRight:
        """Ask whether this login may push; raises CredentialError where it may not."""


CHUNK = 256 * 1024  # bytes read and sent at a time; small enough for slow lines' timeouts


@dataclass(frozen=True)
class FileBlob:
    """A file's bytes."""

    path: Path

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """Give the bytes from `start` on."""
        with self.path.open("rb") as file:
            file.seek(start)
            while piece := file.read(CHUNK):
                yield piece


@dataclass(frozen=True)
class BytesBlob:
    """Bytes in memory."""

    data: bytes = field(repr=False)

    @property
    def path(self) -> None:
        """Say that no file holds the bytes."""
        return

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """Give the bytes from `start` on."""
        for position in range(start, len(self.data), CHUNK):
            yield self.data[position : position + CHUNK]


@dataclass(frozen=True)
class CheckedFileBlob:
    """A file that must hold a certain blob: reading it from its start to its end proves it."""

    path: Path
    blob: Descriptor

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """Give the bytes from `start` on; raises VerificationError when they are not the blob."""
        pieces = FileBlob(self.path).chunks(start)
        return pieces if start else checked(self.blob, pieces, str(self.path))


def read_blob(store: Store, blob: Descriptor) -> bytes:
    """Give a small blob's bytes (a config, a record), checked; raises as the store does.

    Raises PublishError for one that is longer than manifests may be, unread.
    """
    if blob.size > MANIFEST_CAP:
        raise PublishError(
            f"{store.reference(blob.digest)}: {blob.size} bytes are too many for what is no layer",
            hint=f"podbuild reads {MANIFEST_CAP} bytes of a config or record at most",
        )
    with store.blob(blob) as source:
        return b"".join(source.chunks())


def checked(blob: Descriptor, pieces: Iterator[bytes], where: str) -> Iterator[bytes]:
    """Pass all pieces of a blob on; raises VerificationError when size or digest is wrong."""
    hasher = hashlib.new(blob.digest.algorithm)
    count = 0
    for piece in pieces:
        hasher.update(piece)
        count += len(piece)
        if count > blob.size:
            break
        yield piece
    if count != blob.size:
        raise VerificationError(
            f"{where}: {blob.digest} has {'more than ' if count > blob.size else ''}"
            f"{min(count, blob.size)} bytes instead of {blob.size}"
        )
    if hasher.hexdigest() != blob.digest.hex:
        raise VerificationError(f"{where}: the bytes do not have the digest {blob.digest}")


def linked(source: BlobSource, target: Path, blob: Descriptor) -> bool:
    """Link a source's file, checked, under the blob's name; False where that can't be."""
    file = source.path
    if file is None or file.is_symlink() or not file.is_file():
        return False
    for _ in checked(blob, source.chunks(), str(file)):
        pass  # reading to the end is the check
    try:
        link_whole(file, target)
    except OSError:
        return False
    return True


_NOTHING = b"{}"  # image-spec, manifest.md, "Guidance for an Empty Descriptor"
EMPTY = Descriptor(media_type=MediaType.OCI_EMPTY, digest=Digest.of(_NOTHING), size=len(_NOTHING))


def put_bytes(store: Store, media_type: str, data: bytes) -> Descriptor:
    """Put a blob that is at hand, unless it is there; raises as the store does."""
    blob = Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))
    if not store.has_blob(blob):
        store.put_blob(blob, BytesBlob(data))
    return blob


def put_artifact(
    store: Store,
    kind: str,
    layer: Descriptor,
    tag: Tag,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """Put the artifact of one layer, which is there already, under a tag; raises as the store does.

    `kind` is its artifact type. It has no config.
    """
    content: dict[str, JSONValue] = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST,
        "artifactType": kind,
        "config": EMPTY.to_json(),
        "layers": [layer.to_json()],
        **({"annotations": dict(annotations)} if annotations else {}),
    }
    data = json.dumps(content, separators=(",", ":")).encode()
    manifest = Manifest(MediaType.OCI_MANIFEST, data)
    put_bytes(store, EMPTY.media_type, _NOTHING)
    store.put_manifest(manifest, tag)
    return manifest


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
        except problem.BlobsMissingError:
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
