"""Where images live: one protocol for registries, OCI folders and memory.

A Store is one repository. Every manifest that a store gives has been checked against the digest
it was asked for; every blob that is put is checked by the store against its descriptor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from enum import Enum
from pathlib import Path
from typing import Protocol

from podbuild.oci.manifest import Descriptor, Manifest
from podbuild.oci.names import Digest, Tag


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
