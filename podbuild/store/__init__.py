"""Where images live: one protocol for registries, OCI folders and memory, and how to copy.

A Store is one repository. Every manifest that a store gives has been checked against the digest
it was asked for; every blob that is put is checked by the store against its descriptor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Protocol

from podbuild.model import Descriptor, Digest, Manifest, Tag


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


class RemovalKind(Enum):
    """How one item of a removal ended."""

    REMOVED = "removed"
    GONE = "gone"  # it was not there any more
    KEPT = "kept"  # the registry keeps it (immutable, last tagged version, still referenced)


@dataclass(frozen=True)
class Removal:
    """What became of one tag or manifest; `reason` quotes the registry where it kept it."""

    kind: RemovalKind
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """What this registry can delete; an absent ability comes with the reason.

    `together`: a manifest goes with all its tags in one call, and that is the way to do it here.
    """

    tags: bool  # a tag without its manifest
    manifests: bool  # a manifest by digest
    together: bool = False
    reason: str = ""  # what is missing and what to do about it


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One manifest as a registry lists it. Times are the registry's own, never the config's.

    `pushed` is when the digest came, its place in every order; `touched` when anything of it
    changed last, such as a tag that left it: its grace counts from there.
    """

    digest: Digest
    tags: tuple[Tag, ...] = ()
    pushed: datetime | None = None
    touched: datetime | None = None  # None: the same as `pushed`


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """All that a registry lists of one repository.

    `untagged` says whether manifests without a tag are in it: where not, they can only be found
    through what names them. `immutable` are the tags that the registry never gives up.
    """

    entries: tuple[Entry, ...] = field(default=())
    untagged: bool = False
    immutable: frozenset[Tag] = frozenset()


class Remover(Protocol):
    """Deletes from one repository, the way its registry wants it (registries.md, b to d).

    Raises CredentialError (missing right), CleanupError (capability gone, incomplete view).
    A 404 counts as GONE only after a following read agrees.
    """

    @property
    def referrers(self) -> Callable[[Digest], tuple[Digest, ...]]:
        """Give what the referrers API adds to the listing; nothing where there is no such API."""

    def abilities(self) -> Abilities:
        """Ask, without deleting, what this login and registry can delete."""

    def inventory(self, on_page: Callable[[int], None] = lambda _count: None) -> Inventory:
        """List the repository completely, or raise: never a partial view."""

    def listed(self) -> frozenset[Tag | Digest]:
        """List again what `inventory` lists, in short: whether it changed or was incomplete."""

    def remove_tag(self, tag: Tag, expected: Digest) -> Removal:
        """Remove one tag that still names `expected`; its manifest and sibling tags stay."""

    def remove_manifest(self, digest: Digest, tags: frozenset[Tag] = frozenset()) -> Removal:
        """Remove a manifest that no tag names but `tags`, which go with it."""

    def sweep(self) -> None:
        """Remove what only the removed manifests needed, where no server does that."""
