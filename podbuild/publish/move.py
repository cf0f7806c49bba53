"""Point one tag at one image: read back, finished even when a stop comes, corrected after races.

The words of tagging stand here too: orders, guards' rulings, and what became of each tag.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field, replace
from enum import Enum
from typing import Protocol

from podbuild.errors import CredentialError, ImmutableTagError, PodbuildError, PublishError
from podbuild.oci.manifest import Descriptor, Manifest
from podbuild.oci.names import Digest, Tag
from podbuild.oci.transport.problem import RegistryError
from podbuild.plan.destination import Destination, Planned, own_failure
from podbuild.plan.guards import Decision
from podbuild.plan.journal import ImageKey, Journal, Section, TagKey
from podbuild.plan.tags import NamedTag, TagKind
from podbuild.system.cancel import Cancel
from podbuild.system.later import dataclass
from podbuild.system.retry import Retry, Transient


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
    def key(self) -> TagKey:
        """Give the name that the journal uses."""
        return TagKey(self.destination.key, self.tag)

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

    @property
    def takes_long(self) -> bool:
        """Tell whether ruling takes so long that the tag may have changed meanwhile."""

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
    """One tag and what became of it; `before` is what it named (None: nothing).

    `seen` is when it was last read, by the monotonic clock (seconds).
    """

    order: Order
    outcome: Outcome
    reason: str = ""
    before: Digest | None = None
    seen: float = field(default=-math.inf, compare=False)


@dataclass(frozen=True, kw_only=True)
class Moved:
    """All tags of a release."""

    tags: tuple[Tagged, ...]
    failed: Mapping[Destination, PodbuildError]  # optional registries only


READ_BACKS = 5  # reads after a move before it counts as lost
ROUNDS = 5  # how often a competing release is answered before a person must look
SHIELD = 30.0  # seconds after a stop in which a begun move may end, and moved tags go back


@dataclass(frozen=True, kw_only=True)
class Placer:
    """Moves single tags and remembers it. Safe to share between threads.

    Version tags are read back at once; moving tags when all have moved, which finds competing
    releases as well (`settle`).
    """

    guard: Guard
    journal: Journal
    retry: Retry
    cancel: Cancel
    note: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic

    def standing(self, order: Order, named: Digest) -> Manifest:
        """Read what a tag names: guards need it, and a tag must not count as new without it.

        A registry may show a tag a moment before its image, and some keep an image under its tags
        alone. Raises PublishError where it stays unreadable.
        """
        store = order.destination.store

        def read() -> Manifest:
            for target in (named, order.tag):
                found = store.manifest(target)
                if found is not None and found.digest == named:
                    return found
            raise Transient(
                PublishError(
                    f"{order} names {named}, which can't be read",
                    hint="another release may run; the same command looks again",
                )
            )

        return self.retry(read)

    def move(self, order: Order, current: Manifest | None) -> None:
        """Carry out an order; what its tag names now (`current`) is journalled first."""
        with self.cancel.shielded(SHIELD):
            self.journal.keep_manifest(Section.BEFORE, order.key, current)
            self.put(order, order.manifest)
            if order.kind is not TagKind.MOVING:
                self.read_back(order, order.manifest.digest)
            self.record(order)

    def record(self, order: Order) -> None:
        """Remember that a tag names the image of its order, and what it left."""
        before = self.journal.manifest(Section.BEFORE, order.key)
        if before is not None and order.kind is TagKind.MOVING:
            self.journal.record(Section.SUPERSEDED, _left(order, before), str(order.tag))
        self.journal.record(Section.MOVED, order.key, str(order.manifest.digest))

    def put(self, order: Order, manifest: Manifest) -> None:
        """Point the tag at a manifest; raises as the registry does."""
        store = order.destination.store
        try:
            self.retry(lambda: store.put_manifest(manifest, order.tag))
        except (RegistryError, CredentialError) as error:
            found = _named_after(order, error)
            if found == manifest.digest:  # by a try whose answer was lost, or was no success
                return
            raise _immutable(order, found, error) or error from error

    def read_back(self, order: Order, expected: Digest) -> None:
        """Wait until the registry says that a tag names this; raises PublishError if it does not.

        Of a moving tag it raises nothing: a competing release may have moved it.
        """

        def read() -> None:
            found = order.destination.store.head(order.tag)
            if found is None or found.digest != expected:
                named = "nothing" if found is None else str(found.digest)
                raise Transient(
                    PublishError(
                        f"{order} names {named} right after it was moved",
                        hint="another release may run; the same command looks again",
                    )
                )

        try:
            replace(self.retry, attempts=READ_BACKS)(read)
        except PublishError:
            if order.kind is not TagKind.MOVING:
                raise

    def settle(self, tags: Iterable[Tagged]) -> tuple[Tagged, ...]:
        """Ask once more, now that tags have moved, until nothing has to be put right.

        The facts are newer than every move of ours, so the right one of two releases stays.
        """
        settled = tuple(tags)
        placed = {tagged.order: tagged.order.manifest.digest for tagged in settled}
        for _ in range(ROUNDS):
            self.guard.refresh()
            found = tuple(self._settled_or_noted(tagged, placed) for tagged in settled)
            settled = tuple(tagged for tagged, _ in found)
            if not any(corrected for _, corrected in found):
                return settled
        self.note("other releases move the same tags again and again; they are left as they are")
        return settled

    def _settled_or_noted(self, tagged: Tagged, placed: dict[Order, Digest]) -> tuple[Tagged, bool]:
        try:
            return self._settled(tagged, placed)
        except PodbuildError as error:
            own_failure(error, self.cancel)
            if tagged.order.destination.required:
                raise
            self.note(f"{tagged.order} could not be looked at again: {error}")
            return tagged, False

    def _settled(self, tagged: Tagged, placed: dict[Order, Digest]) -> tuple[Tagged, bool]:
        """Give what a tag's state is now, and whether it had to be put right."""
        order = tagged.order
        if tagged.outcome is Outcome.SKIPPED:
            return tagged, False
        found = self._settled_head(tagged)
        ours = found is not None and found.digest == order.manifest.digest
        current = None if ours or found is None else self.standing(order, found.digest)
        ruling = self.guard.rule(order, current)
        if ruling.decision is not Decision.MOVE:
            corrected = self.give_way(order, placed)
            return replace(tagged, outcome=Outcome.YIELDED, reason=ruling.reason), corrected
        if ours:
            outcome = Outcome.MOVED if tagged.outcome is Outcome.YIELDED else tagged.outcome
            return replace(tagged, outcome=outcome, seen=self.clock()), False
        self.move(order, current or self.journal.manifest(Section.BEFORE, order.key))
        placed[order] = order.manifest.digest
        return replace(tagged, outcome=Outcome.MOVED), True

    def _settled_head(self, tagged: Tagged) -> Descriptor | None:
        """Read what a tag names; a registry may show for a while what it named before."""
        order = tagged.order
        found = order.destination.store.head(order.tag)
        for attempt in range(1, READ_BACKS):
            if tagged.outcome is not Outcome.MOVED or (found and found.digest != tagged.before):
                break
            self.retry.sleep(self.retry.delay(attempt, None))
            found = order.destination.store.head(order.tag)
        return found

    def give_way(self, order: Order, placed: dict[Order, Digest]) -> bool:
        """Put the rightful image where a tag names what we placed; tell whether we had to.

        What another release placed is its own business.
        """
        ruling = self.guard.rule(order, None)
        if ruling.decision is Decision.MOVE or ruling.rightful is None:
            return False
        store = order.destination.store
        found = store.head(order.tag)
        right = store.manifest(ruling.rightful)
        if found is None or right is None or found.digest != placed[order]:
            return False
        self.journal.forget(Section.MOVED, order.key)
        if right.digest == found.digest:
            return False
        with self.cancel.shielded(SHIELD):
            self.put(order, right)
            self.read_back(order, right.digest)
        placed[order] = right.digest
        return True

    def take_back(self, orders: Iterable[Order]) -> None:
        """Put moving tags back where they were before this release, as far as that can be."""
        with self.cancel.shielded(SHIELD):
            placed: dict[Order, Digest] = {}
            for order in orders:
                try:
                    if before := self._taken_back(order):
                        placed[order] = before
                except PodbuildError as error:
                    self.note(f"{order} could not be put back: {error}")
            try:
                for order, before in placed.items():  # all have gone back before any is waited for
                    self.read_back(order, before)
                self._give_way_all(placed)
            except PodbuildError as error:
                self.note(f"tags that went back could not be checked again: {error}")

    def _taken_back(self, order: Order) -> Digest | None:
        """Put one tag back; a tag that was new stays, as not every registry can remove it.

        A registry that shows what it named before may only lag behind the move.
        """
        before = self.journal.manifest(Section.BEFORE, order.key)
        if before is None:
            return None
        found = order.destination.store.head(order.tag)
        has_moved = self.journal.get(Section.MOVED, order.key) is not None
        mine = {order.manifest.digest, *((before.digest,) if has_moved else ())}
        ours = found is not None and found.digest in mine
        if ours:
            self.put(order, before)
            self.note(f"{order} went back to {before.digest}")
            self.journal.forget(Section.SUPERSEDED, _left(order, before))
        self.journal.forget(Section.MOVED, order.key)
        self.journal.forget(Section.BEFORE, order.key)
        return before.digest if ours else None

    def _give_way_all(self, placed: dict[Order, Digest]) -> None:
        """Look again: a competing release may have moved a tag just before it went back."""
        for _ in range(ROUNDS if placed else 0):
            self.guard.refresh()
            corrected = tuple(self.give_way(order, placed) for order in tuple(placed))
            if not any(corrected):
                return


def _left(order: Order, before: Manifest) -> ImageKey:
    """Name what a tag left, as the journal does."""
    return ImageKey(order.destination.key, before.digest)


# As ECR (400 TAG_INVALID), Harbor (412 PRECONDITION), Quay (409), Docker Hub (403), Artifact
# Registry and Azure (a locked tag) say it.
_FIXED = re.compile(
    r"immutab|TAG_INVALID|TAG_?ALREADY_?EXISTS|\b412\b|\b409\b|PRECONDITION|overwrit"
    r"|tag\b.{0,200}\balready exists|disallowed on this registry|is locked",
    re.IGNORECASE | re.DOTALL,
)


def _named_after(order: Order, error: RegistryError | CredentialError) -> Digest | None:
    """Give what a tag names that could not be written; raises the error where that is unknown."""
    try:
        found = order.destination.store.head(order.tag)
    except PodbuildError:
        raise error from None
    return None if found is None else found.digest


def _immutable(
    order: Order, found: Digest | None, error: RegistryError | CredentialError
) -> ImmutableTagError | None:
    """Give the error for a tag that the registry itself never moves; None where it is another."""
    is_full = isinstance(error, RegistryError) and error.problem.is_full
    if found is None or is_full or not _FIXED.search(error.message):
        return None
    if order.kind is TagKind.MOVING:
        hint = (
            f"let the registry exclude {order.tag} from its immutable tags, or write no tags that "
            'move: [tags] release = ["{version}"], which an image can have for itself'
        )
    else:
        hint = "release a new version, or let the registry's rule exclude this tag"
    return ImmutableTagError(
        f"{order} names {found} and is immutable at the registry: {error.message}", hint=hint
    )


def orders_of(
    planned: Planned, at: Iterable[Destination], images: Mapping[str, Manifest]
) -> Iterator[Order]:
    """Give an order for each tag that the plan lets move, where its image is."""
    held = {destination.key: destination for destination in at}
    for target in planned.plan.targets:
        destination, manifest = held.get(target.key), images.get(target.image)
        if destination is None or manifest is None:
            continue
        for move in target.tags:
            if move.decision.is_wanted:
                yield Order(destination=destination, named=move.named, manifest=manifest)
