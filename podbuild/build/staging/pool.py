"""Blobs by their digest in a folder that several runs share, and uploads on their way there."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from podbuild.errors import BuildError, VerificationError
from podbuild.oci.manifest import Descriptor
from podbuild.oci.names import Digest
from podbuild.oci.store import CheckedFileBlob
from podbuild.system.files import file_digest, move
from podbuild.system.later import dataclass
from podbuild.system.locks import leased_folder

_WRITTEN = "user.podbuild.size"  # bytes that a blob's file was given


class Pool:
    """A content-addressed folder: `<folder>/sha256/<hex>`.

    Only whole files whose bytes have been hashed stand there. Safe to share between threads
    and between runs; what a killed run left unfinished is removed by the next one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._blobs = folder / "sha256"
        self._blobs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._own = ExitStack()
        self._mine = self._own.enter_context(leased_folder(folder / "uploads", shutil.rmtree))

    def path(self, digest: Digest) -> Path:
        """Give where a blob stands, or would stand."""
        return self._blobs / digest.hex

    def size(self, digest: Digest) -> int | None:
        """Give a blob's bytes; None when it is not here.

        A file that is shorter than what was written is none: a power cut leaves such ones, and
        engines would take its size into their manifests.
        """
        if digest.algorithm != "sha256":
            return None
        path = self.path(digest)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return None
        return size if size and _written(path) in (None, size) else None

    def holds(self, blob: Descriptor) -> bool:
        """Tell whether a blob is here in its full size.

        A file of another size that is not what its name says goes (a power cut may leave a part):
        engines send only what is not here.
        """
        size = self.size(blob.digest)
        if size is not None and size != blob.size:
            self._remove_damaged(blob.digest)
        return size == blob.size

    def _remove_damaged(self, digest: Digest) -> None:
        with suppress(FileNotFoundError):
            if file_digest(self.path(digest)) != digest.hex:
                self.path(digest).unlink()

    def touch(self, digest: Digest) -> None:
        """Note that a blob is in use, for those who remove the oldest."""
        try:
            os.utime(self.path(digest))
        except FileNotFoundError:
            return

    def receive(self) -> IncomingBlob:
        """Begin an upload."""
        return IncomingBlob(self, self._mine / secrets.token_hex(8))

    def add(self, data: bytes) -> Digest:
        """Store some bytes that are at hand."""
        digest = Digest.of(data)
        if self._read(digest) != data:
            upload = self.receive()
            upload.write(data)
            upload.finish(digest)
        return digest

    def _read(self, digest: Digest) -> bytes | None:
        try:
            return self.path(digest).read_bytes()
        except FileNotFoundError:
            return None

    def close(self) -> None:
        """Remove what was never finished. The blobs stay."""
        self._own.close()


class IncomingBlob:
    """Bytes on their way into a pool, hashed as they come."""

    def __init__(self, pool: Pool, part: Path) -> None:
        self._pool = pool
        self._part = part
        self._file: IO[bytes] = part.open("wb", buffering=0)
        self._hash = hashlib.sha256()
        self.size = 0  # bytes so far

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes; raises BuildError when the disk is full."""
        view = memoryview(data)
        self._hash.update(view)
        self.size += len(view)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise BuildError(
                f"no space left on device for the blobs in {self._pool.folder}",
                hint="free some space, or `podbuild clean`",
            ) from error

    def finish(self, expected: Digest) -> None:
        """Put the bytes where the pool keeps them; raises VerificationError on a wrong digest."""
        with suppress(OSError):  # not every file system keeps attributes
            os.setxattr(self._file.fileno(), _WRITTEN, str(self.size).encode())
        self._file.close()
        found = f"sha256:{self._hash.hexdigest()}"
        if found != str(expected):
            self.discard()
            raise VerificationError(f"uploaded bytes are {found}, not {expected}")
        move(self._part, self._pool.path(expected))

    def discard(self) -> None:
        """Give up the upload."""
        self._file.close()
        self._part.unlink(missing_ok=True)


def _written(path: Path) -> int | None:
    try:
        return int(os.getxattr(path, _WRITTEN))
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class PooledBlob:
    """A blob's bytes in a pool, checked against size and digest when read from the start."""

    pool: Pool
    blob: Descriptor

    @property
    def path(self) -> Path:
        """Give the file that holds the bytes."""
        return self.pool.path(self.blob.digest)

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """Give the bytes from `start` on.

        Raises VerificationError at the end when they are damaged; the file is then removed,
        so that the blob is made again.
        """
        try:
            yield from CheckedFileBlob(self.path, self.blob).chunks(start)
        except VerificationError as error:
            self.path.unlink(missing_ok=True)
            raise VerificationError(
                f"{error.message}; the file was removed",
                hint="the same command builds the image again",
            ) from None
