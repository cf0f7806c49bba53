"""Deleting from a repository: what a remover can do, what there is to delete, what became of it.

One protocol; how registries of each kind delete stands in the modules beside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Protocol

from podbuild.oci.names import Digest, Tag
from podbuild.system.later import late_modules

__getattr__ = late_modules(__name__)


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
class ListedManifest:
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
    through what names them. `immutable` are the tags that the registry never gives up. `now` is
    the time by its own clock, where it tells that.
    """

    entries: tuple[ListedManifest, ...] = field(default=())
    untagged: bool = False
    immutable: frozenset[Tag] = frozenset()
    now: datetime | None = None


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
