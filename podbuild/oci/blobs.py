"""Blobs that can be read again: files and bytes, checked while they are read.

`linked` puts a file under its name as a whole or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path

from podbuild.errors import PublishError, VerificationError
from podbuild.oci.manifest import MANIFEST_CAP, Descriptor
from podbuild.oci.store import BlobSource, Store
from podbuild.system.files import link_whole
from podbuild.system.later import dataclass

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
