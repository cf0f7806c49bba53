"""The words of tagging: orders for tags, the guards' rulings on them, and what became of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from podbuild.errors import PodbuildError
from podbuild.model import Digest, Manifest, Tag
from podbuild.steps import Destination
from podbuild.tags import Decision, NamedTag, TagKind


@dataclass(frozen=True, kw_only=True)
class Order:
    """One tag that shall name an image at one destination."""

    destination: Destination
    named: NamedTag
    manifest: Manifest = field(repr=False)

    @property
    def tag(self) -> Tag:
        """Give the tag itself."""
        return self.named.tag

    @property
    def kind(self) -> TagKind:
        """Give what the tag promises."""
        return self.named.kind

    @property
    def key(self) -> str:
        """Give the name that the journal uses."""
        return f"{self.destination.key}:{self.tag}"

    def __str__(self) -> str:
        return self.destination.store.reference(self.tag)


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """A guard's answer: MOVE, SKIP or REFUSE.

    `rightful` is the tag whose image belongs there instead, if any.
    """

    decision: Decision
    reason: str = ""
    rightful: Tag | None = None


class Guard(Protocol):
    """Decides on fresh facts whether a tag may move (design, invariants 4 and 5)."""

    def refresh(self) -> None:
        """Ask the registries anew for what the decisions rest on."""

    def rule(self, order: Order, current: Manifest | None) -> Ruling:
        """Say whether `order` may replace what its tag names now (None: nothing)."""


class Outcome(Enum):
    """What became of a tag."""

    MOVED = "moved"
    ALREADY = "already there"
    SKIPPED = "skipped"
    YIELDED = "left to a competing release"
    UNDONE = "put back"
    UNCERTAIN = "may have moved"  # the registry can't be asked any more


@dataclass(frozen=True, kw_only=True)
class Tagged:
    """One tag and what became of it; `before` is what it named (None: nothing)."""

    order: Order
    outcome: Outcome
    reason: str = ""
    before: Digest | None = None


@dataclass(frozen=True, kw_only=True)
class Moved:
    """All tags of a release."""

    tags: tuple[Tagged, ...]
    failed: Mapping[Destination, PodbuildError]  # optional registries only
