"""Blobs by their digest in a folder that several runs share, and uploads on their way there."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from podbuild.errors import BuildError, VerificationError
from podbuild.leases import leased_folder
from podbuild.model import Descriptor, Digest
from podbuild.store.blobs import CheckedFileBlob


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
        """Give a blob's bytes; None when it is not here. An empty file is none (power loss)."""
        if digest.algorithm != "sha256":
            return None
        try:
            facts = self.path(digest).stat()
        except FileNotFoundError:
            return None
        return facts.st_size or None

    def touch(self, digest: Digest) -> None:
        """Note that a blob is in use, for those who remove the oldest."""
        try:
            os.utime(self.path(digest))
        except FileNotFoundError:
            return

    def receive(self) -> Upload:
        """Begin an upload."""
        return Upload(self, self._mine / secrets.token_hex(8))

    def add(self, data: bytes) -> Digest:
        """Store some bytes that are at hand."""
        digest = Digest.of(data)
        if self.size(digest) is None:
            upload = self.receive()
            upload.write(data)
            upload.finish(digest)
        return digest

    def close(self) -> None:
        """Remove what was never finished. The blobs stay."""
        self._own.close()


class Upload:
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
        self._file.close()
        found = f"sha256:{self._hash.hexdigest()}"
        if found != str(expected):
            self.discard()
            raise VerificationError(f"uploaded bytes are {found}, not {expected}")
        self._part.replace(self._pool.path(expected))

    def discard(self) -> None:
        """Give up the upload."""
        self._file.close()
        self._part.unlink(missing_ok=True)


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
