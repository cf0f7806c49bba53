"""What engines have delivered: manifests and tags of every repository, over one pool of blobs."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from podbuild.build.staging.pool import Pool, PooledBlob
from podbuild.errors import PodbuildError, VerificationError
from podbuild.oci.manifest import STAGED_CAP, Descriptor, Manifest, manifest_type
from podbuild.oci.names import Digest, Tag, reference
from podbuild.oci.store import BlobSource, PushRight
from podbuild.plan.model import Job
from podbuild.system.later import dataclass

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
