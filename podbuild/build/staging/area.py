"""What engines have delivered: manifests and tags of every repository, over one pool of blobs.

The pool has blobs by their digest in a folder that several runs share, and uploads on their way
there.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol

from podbuild.errors import BuildError, PodbuildError, VerificationError
from podbuild.oci.manifest import STAGED_CAP, Descriptor, Manifest, manifest_type
from podbuild.oci.names import Digest, Tag, reference
from podbuild.oci.store import BlobSource, CheckedFileBlob, PushRight
from podbuild.plan.model import Job
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


# Distribution spec, "Pulling manifests": one part of a <name>.
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")


def staged_tag(job: Job) -> Tag:
    """Give the tag of one platform's image in staging."""
    return Tag(job.platform.slug)


def repository_name(image: str, longest: int = 255) -> str:
    """Give the repository that an image of the configuration has in staging.

    >>> repository_name("web")
    'web'
    """
    lowered = image.lower()
    if lowered == image and len(image) <= longest and _NAME.fullmatch(image):
        return image
    return f"image-{hashlib.sha256(image.encode()).hexdigest()[:12]}"


class Backing(Protocol):
    """What stands behind a repository of staging: a cache that engines read and fill.

    Its methods are called in the server's threads and never raise.
    """

    def find(self, key: Tag) -> Manifest | None:
        """Give what a tag names; its blobs may have to be fetched."""

    def fetch(self, digest: Digest) -> None:
        """Bring a blob of what was found into the pool, if possible."""

    def take(self, key: Tag, manifest: Manifest) -> None:
        """Take what an engine leaves under a tag; the blobs are in the pool."""


class Staging:
    """The staging area itself. Blobs and manifests last in the pool, tags as long as the run.

    `failure` is why the pool could not take an upload (the disk is full).
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.failure: PodbuildError | None = None
        self._manifests: dict[Digest, Manifest] = {}
        self._tags: dict[str, dict[Tag, Digest]] = {}
        self._backings: dict[str, Backing] = {}
        self._lock = threading.Lock()

    def back(self, name: str, backing: Backing) -> None:
        """Put a cache behind a repository, before engines are told of it."""
        self._backings[name] = backing

    def backing(self, name: str) -> Backing | None:
        """Give the cache behind a repository; None for those that hold images."""
        return self._backings.get(name)

    def repository(self, name: str) -> StagedRepository:
        """Give one repository as a Store, in this process, without HTTP."""
        return StagedRepository(self, name)

    def resolve(self, name: str, target: Tag | Digest) -> Digest | None:
        """Give the digest that a tag names here."""
        if isinstance(target, Digest):
            return target
        with self._lock:
            return self._tags.get(name, {}).get(target)

    def manifest(self, digest: Digest) -> Manifest | None:
        """Give a manifest of this run, or of an earlier one that left it in the pool."""
        with self._lock:
            found = self._manifests.get(digest)
        return found or self._from_pool(digest)

    def accept(self, name: str, manifest: Manifest, tag: Tag | None) -> None:
        """Store a manifest, and point a tag at it."""
        self.pool.add(manifest.data)
        with self._lock:
            self._manifests[manifest.digest] = manifest
            if tag:
                self._tags.setdefault(name, {})[tag] = manifest.digest

    def missing(self, manifest: Manifest) -> Descriptor | None:
        """Give the first part of a manifest that is not here."""
        for child in manifest.children:
            if self.manifest(child.digest) is None:
                return child
        return next((each for each in manifest.blobs if not self.pool.holds(each)), None)

    def tags(self, name: str) -> tuple[Tag, ...]:
        """Give a repository's tags, sorted."""
        with self._lock:
            return tuple(sorted(self._tags.get(name, {})))

    def _from_pool(self, digest: Digest) -> Manifest | None:
        size = self.pool.size(digest)
        if size is None or size > STAGED_CAP:
            return None
        data = self.pool.path(digest).read_bytes()
        if not digest.matches(data):
            return None
        kind = manifest_type(data)
        return Manifest(kind, data) if kind else None


@dataclass(frozen=True)
class StagedRepository:
    """One repository of the staging area; a Store."""

    staging: Staging
    name: str

    def reference(self, target: Tag | Digest) -> str:
        """Give the reference for people; engines use `StagingRegistry.reference`."""
        return reference(self.name, target)

    def head(self, target: Tag | Digest) -> Descriptor | None:
        """Give what a tag or digest names; None when it is not here."""
        found = self.manifest(target)
        return found.descriptor if found else None

    def manifest(self, target: Tag | Digest) -> Manifest | None:
        """Give a manifest; by digest it may be one of an earlier run."""
        digest = self.staging.resolve(self.name, target)
        return self.staging.manifest(digest) if digest else None

    def put_manifest(self, manifest: Manifest, tag: Tag | None = None) -> None:
        """Store a manifest. Its layers may be elsewhere: a re-used image brings its config only."""
        self.staging.accept(self.name, manifest, tag)

    def has_blob(self, blob: Descriptor) -> bool:
        """Tell whether the blob is here, in full length."""
        return self.staging.pool.size(blob.digest) == blob.size

    def put_blob(
        self,
        blob: Descriptor,
        source: BlobSource,
        on_bytes: Callable[[int], None] = lambda _count: None,
    ) -> None:
        """Store a blob; raises VerificationError when its bytes are others."""
        upload = self.staging.pool.receive()
        try:
            for chunk in source.chunks():
                upload.write(chunk)
                on_bytes(len(chunk))
            upload.finish(blob.digest)
        finally:
            upload.discard()

    @contextmanager
    def blob(self, blob: Descriptor) -> Iterator[BlobSource]:
        """Give a blob's bytes; raises VerificationError when it is not here."""
        if self.staging.pool.size(blob.digest) is None:
            raise VerificationError(
                f"{blob.digest} is not staged", hint="build again: its file is gone from the cache"
            )
        self.staging.pool.touch(blob.digest)
        yield PooledBlob(self.staging.pool, blob)

    def tags(self) -> tuple[Tag, ...]:
        """Give the tags of this run."""
        return self.staging.tags(self.name)

    def check_push(self) -> PushRight:
        """Staging belongs to this run."""
        return PushRight.ALLOWED
