"""Move the tags: version tags first, then moving tags; each is read right before and right after.

Registries have no compare-and-swap, so a guard is asked again before every move, and afterwards
whether a competing release came in between. What a moving tag named before is journalled first,
so that it can go back when the release fails between two tags.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

from podbuild.cancel import Cancel
from podbuild.errors import (
    DeadlineError,
    ImmutableTagError,
    PartialReleaseError,
    PodbuildError,
    PublishError,
)
from podbuild.journal import BEFORE, MOVED, SUPERSEDED, Journal
from podbuild.model import Digest, Manifest, Tag
from podbuild.retry import Retry, Transient
from podbuild.steps import Destination
from podbuild.tags import NamedTag, TagKind

READ_BACKS = 3  # reads after a move before it counts as lost
ROUNDS = 5  # how often a competing release is answered before a person must look


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


class Verdict(Enum):
    """What a guard says of a move."""

    MOVE = "move"
    SKIP = "skip"
    REFUSE = "refuse"


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """A guard's answer; `rightful` is the tag whose image belongs there instead, if any."""

    verdict: Verdict
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


@dataclass(frozen=True, kw_only=True)
class TagMover:
    """Carries out orders. `command` is what a user runs to finish a partial release."""

    guard: Guard
    journal: Journal
    retry: Retry
    cancel: Cancel
    command: str
    note: Callable[[str], None]

    def move(self, orders: Iterable[Order]) -> Moved:
        """Move version tags everywhere, then moving tags everywhere.

        Raises the cause itself (exit 4, 6 or 7) when nothing is live yet, and
        PartialReleaseError after undoing the moving tags when something is.
        """
        every = tuple(orders)
        lasting = tuple(order for order in every if order.kind is not TagKind.MOVING)
        moving = tuple(order for order in every if order.kind is TagKind.MOVING)
        first = self._phase(lasting)
        first.raise_unless_complete(self._partial)
        self.guard.refresh()
        left = tuple(order for order in moving if order.destination not in first.failed)
        second = self._phase(left)
        if second.fatal is not None:
            self._undo(tagged for tagged in second.done if tagged.order.destination.required)
            done = (*first.done, *(tag for tag in second.done if self._is_live(tag)))
            raise self._partial(second.fatal, done)
        self.guard.refresh()
        settled = tuple(self._settle(tagged) for tagged in second.done)
        return Moved(tags=(*first.done, *settled), failed={**first.failed, **second.failed})

    def _phase(self, orders: tuple[Order, ...]) -> _Phase:
        """Do one kind of tags, each destination on a thread of its own."""
        phase = _Phase()
        lanes: dict[Destination, list[Order]] = {}
        for order in orders:
            lanes.setdefault(order.destination, []).append(order)
        if not lanes:
            return phase
        with ThreadPoolExecutor(len(lanes), thread_name_prefix="tag") as pool:
            tuple(pool.map(lambda lane: self._lane(phase, lane), lanes.values()))
        return phase

    def _lane(self, phase: _Phase, orders: list[Order]) -> None:
        for order in orders:
            if phase.fatal is not None:
                return
            try:
                self.cancel.check()
                phase.add(self._one(order))
            except PodbuildError as error:
                phase.fail(order.destination, error)
                return

    def _one(self, order: Order) -> Tagged:
        """Read, ask the guard, journal what stands there, move, read again."""
        store = order.destination.store
        found = store.head(order.tag)
        if found is not None and found.digest == order.manifest.digest:
            self.journal.record(MOVED, order.key, str(found.digest))
            before = self.journal.manifest(BEFORE, order.key)
            return Tagged(
                order=order,
                outcome=Outcome.ALREADY if before is None else Outcome.MOVED,
                before=None if before is None else before.digest,
            )
        current = None if found is None else store.manifest(found.digest)
        ruling = self.guard.rule(order, current)
        if ruling.verdict is Verdict.REFUSE:
            raise ImmutableTagError(
                f"{order} {ruling.reason}",
                hint="release a new version, or pass --allow-overwrite",
            )
        if ruling.verdict is Verdict.SKIP:
            return Tagged(
                order=order,
                outcome=Outcome.SKIPPED,
                reason=ruling.reason,
                before=None if found is None else found.digest,
            )
        if self.journal.get(BEFORE, order.key) is None:
            self.journal.keep_manifest(BEFORE, order.key, current)
        self._put(order, order.manifest)
        self._record(order, current)
        return Tagged(
            order=order,
            outcome=Outcome.MOVED,
            reason=ruling.reason,
            before=None if current is None else current.digest,
        )

    def _put(self, order: Order, manifest: Manifest) -> None:
        """Point the tag at a manifest and wait until the registry says so."""
        store = order.destination.store
        self.retry(lambda: store.put_manifest(manifest, order.tag))

        def settled() -> None:
            found = store.head(order.tag)
            if found is None or found.digest != manifest.digest:
                named = "nothing" if found is None else str(found.digest)
                raise Transient(PublishError(f"{order} names {named} right after it was moved"))

        try:
            replace(self.retry, attempts=READ_BACKS)(settled)
        except PublishError:
            if order.kind is not TagKind.MOVING:
                raise  # else a competing release may have moved it: settled at the end

    def _record(self, order: Order, current: Manifest | None) -> None:
        self.journal.record(MOVED, order.key, str(order.manifest.digest))
        if current is not None and order.kind is TagKind.MOVING:
            self.journal.record(
                SUPERSEDED, f"{order.destination.key}@{current.digest}", str(order.tag)
            )

    def _settle(self, tagged: Tagged) -> Tagged:
        """Ask once more, now that the tag has moved: the right one of two releases stays."""
        order = tagged.order
        store = order.destination.store
        if tagged.outcome in (Outcome.SKIPPED, Outcome.YIELDED):
            return tagged
        for _ in range(ROUNDS):
            current = store.manifest(order.tag)
            ours = current is not None and current.digest == order.manifest.digest
            ruling = self.guard.rule(order, None if ours else current)
            if ruling.verdict is Verdict.MOVE:
                if ours:
                    return tagged
                self._put(order, order.manifest)
                continue
            if ours and ruling.rightful is not None:
                right = store.manifest(ruling.rightful)
                if right is not None:
                    self._put(order, right)
                    self.journal.forget(MOVED, order.key)
            return Tagged(order=order, outcome=Outcome.YIELDED, reason=ruling.reason)
        self.note(f"{order} is moved by another release again and again; left as it is")
        return Tagged(order=order, outcome=Outcome.YIELDED, reason="another release moves it too")

    def _undo(self, moved: Iterable[Tagged]) -> None:
        """Put moving tags back where they were, where they still name our image."""
        for tagged in moved:
            order = tagged.order
            before = self.journal.manifest(BEFORE, order.key)
            if tagged.outcome is not Outcome.MOVED or before is None:
                continue
            try:
                found = order.destination.store.head(order.tag)
                if found is not None and found.digest == order.manifest.digest:
                    self._put(order, before)
                self.journal.forget(MOVED, order.key)
                self.note(f"{order} went back to {before.digest}")
            except PodbuildError as error:
                self.note(f"{order} could not be put back: {error}")

    def _is_live(self, tagged: Tagged) -> bool:
        return self.journal.get(MOVED, tagged.order.key) is not None

    def _partial(self, cause: PodbuildError, done: Iterable[Tagged]) -> PodbuildError:
        """Give the error for a release of which some tags are live already."""
        live = tuple(
            f"{tagged.order} -> {tagged.order.manifest.digest}"
            for tagged in done
            if tagged.outcome in (Outcome.MOVED, Outcome.ALREADY)
        )
        if not live or cause.exit_code > DeadlineError.exit_code:  # a signal says more
            return cause
        return PartialReleaseError(
            f"partly published: {cause.message}",
            hint=f"`{self.command}` finishes it",
            details=("live now:", *(f"  {line}" for line in live), *cause.details),
        )


@dataclass(kw_only=True)
class _Phase:
    """What one phase did so far; threads add to it."""

    done: list[Tagged] = field(default_factory=list)
    failed: dict[Destination, PodbuildError] = field(default_factory=dict)
    fatal: PodbuildError | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, tagged: Tagged) -> None:
        with self._lock:
            self.done.append(tagged)

    def fail(self, destination: Destination, error: PodbuildError) -> None:
        with self._lock:
            if destination.required or error.exit_code >= DeadlineError.exit_code:
                self.fatal = self.fatal or error
            else:
                self.failed[destination] = error

    def raise_unless_complete(
        self, partial: Callable[[PodbuildError, Iterable[Tagged]], PodbuildError]
    ) -> None:
        if self.fatal is not None:
            raise partial(self.fatal, self.done) from self.fatal
