"""Move the tags: version tags first, then moving tags; each is read right before and right after.

Registries have no compare-and-swap, so a guard (of a release, of a branch) is asked again before
every move, on facts read anew, and afterwards whether a competing release came in between. What a
moving tag named before is journalled first, so that it can go back when the release fails between
two tags.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from functools import cached_property
from typing import ClassVar

from podbuild.errors import (
    ImmutableTagError,
    InterruptedBySignal,
    PartialReleaseError,
    PodbuildError,
)
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest, Tag
from podbuild.plan.destination import (
    Destination,
    Planned,
    everywhere,
    read_remote,
    revision_of,
    version_of,
)
from podbuild.plan.guards import (
    Ancestry,
    Decision,
    HeldVersions,
    ReleaseIdentity,
    Verdict,
    branch_guard,
    sha_guard,
    version_guard,
)
from podbuild.plan.journal import Journal, Section, TagKey
from podbuild.plan.model import Request, by_image
from podbuild.plan.tags import Range, Reader, TagKind, is_own_tag, owned_versions
from podbuild.publish.move import (
    ROUNDS,
    SHIELD,
    Guard,
    Moved,
    Order,
    Outcome,
    Placer,
    Ruling,
    Tagged,
)
from podbuild.semver import Version
from podbuild.system.cancel import Cancel
from podbuild.system.later import dataclass
from podbuild.system.retry import Retry


@dataclass(frozen=True)
class Readers:
    """How one image's tags are read back, and those of images that share its repository."""

    mine: tuple[Reader, ...]
    others: tuple[Reader, ...] = ()

    def versions(self, tags: Iterable[Tag]) -> Mapping[Tag, Version]:
        """Give the version of each tag that a release of this image wrote."""
        return owned_versions(tags, self.mine, self.others)


@dataclass(frozen=True, kw_only=True)
class ReleaseGuard:
    """Guards a release by the versions that all required registries hold together."""

    version: Version
    commit: str
    results: Mapping[str, ReleaseIdentity]  # by image
    destinations: tuple[Destination, ...]
    readers: Mapping[str, Readers]  # by image
    yanked: frozenset[Version] = frozenset()
    request: Request = field(default_factory=Request)  # which says what is allowed
    replaced: Mapping[TagKey, Digest] = field(default_factory=dict)  # as planned
    cancel: Cancel = field(default_factory=Cancel)
    _held: dict[Destination, Mapping[Tag, Version]] = field(default_factory=dict)
    takes_long: ClassVar[bool] = False

    def refresh(self) -> None:
        """List every repository's tags anew; an optional registry may stay silent."""
        answers = everywhere(self.destinations, _tags, self.cancel)
        for destination, found in answers.found.items():
            self._held[destination] = self.readers[destination.image].versions(found)

    def rule(self, order: Order, current: Manifest | None) -> Ruling:
        """Say whether an order may be carried out, given what its tag names now."""
        match order.kind:
            case TagKind.VERSION:
                return self._version_tag(order, current)
            case TagKind.SHA:
                return _sha_tag(order, current, self.commit)
            case TagKind.MOVING:
                return self._moving_tag(order, current)

    def _version_tag(self, order: Order, current: Manifest | None) -> Ruling:
        if current is None or self.request.overwrite:
            return Ruling(decision=Decision.MOVE)
        if self.replaced.get(order.key) == current.digest:
            return Ruling(decision=Decision.MOVE, reason="another registry's result is used")
        remote = read_remote(order.destination.store, order.tag, current)
        difference = self.results[order.destination.image].difference(remote)
        return Ruling(
            decision=Decision.REFUSE,
            reason=f"names {current.digest} since this release began"
            + (f": {difference}" if difference else ", another build of the same commit"),
        )

    def _moving_tag(self, order: Order, current: Manifest | None) -> Ruling:
        named = None if current is None else version_of(order.destination.store, current)
        if is_own_tag(order.tag, named, self.readers[order.destination.image].mine):
            return Ruling(decision=Decision.SKIP, reason=f"it is the tag of version {named}")
        if self.request.backwards:
            return Ruling(decision=Decision.MOVE)
        published = self.published(order.destination.image)
        if named is not None and order.destination in self._counted(order.destination.image):
            published = replace(published, versions=published.versions | {named})
        decided = version_guard(order.named, self.version, published)
        if decided.decision is not Decision.SKIP:
            return Ruling(decision=Decision.MOVE, reason=decided.reason)
        highest = published.highest(Range.of(order.named.template, self.version))
        held = self._held.get(order.destination, {})
        rightful = next((tag for tag, version in held.items() if version == highest), None)
        return Ruling(decision=Decision.SKIP, reason=decided.reason, rightful=rightful)

    def published(self, image: str) -> HeldVersions:
        """Give the versions of an image that required registries hold together.

        Where all its registries are optional, they count.
        """
        counted = self._counted(image)
        versions = (version for each in counted for version in self._held[each].values())
        return HeldVersions(versions=frozenset(versions), yanked=self.yanked)

    def _counted(self, image: str) -> list[Destination]:
        mine = [each for each in self._destinations.get(image, ()) if each in self._held]
        return [each for each in mine if each.required] or mine

    @cached_property
    def _destinations(self) -> Mapping[str, tuple[Destination, ...]]:
        return by_image(self.destinations)


@dataclass(frozen=True, kw_only=True)
class BranchGuard:
    """Guards a branch's tags by the history of commits; a pull request's move `freely`."""

    commit: str
    freely: bool = False
    ancestry: Callable[[str], Ancestry]  # of a revision, to this commit
    request: Request = field(default_factory=Request)  # which says what is allowed
    takes_long: ClassVar[bool] = True  # git is asked, and may fetch

    def refresh(self) -> None:
        """Do nothing: what a tag names is read right before it is asked for."""

    def rule(self, order: Order, current: Manifest | None) -> Ruling:
        """Say whether an order may be carried out, given what its tag names now."""
        if order.kind is TagKind.SHA:  # which goes nowhere, not even back
            return _sha_tag(order, current, self.commit)
        if current is None or self.request.backwards or self.freely:
            return Ruling(decision=Decision.MOVE)
        revision = revision_of(order.destination.store, current)
        known = self.ancestry(revision) if revision else Ancestry.UNKNOWN
        return _ruling(branch_guard(revision, self.commit, known))


def _tags(destination: Destination) -> tuple[Tag, ...]:
    return destination.store.tags()


def _sha_tag(order: Order, current: Manifest | None, commit: str) -> Ruling:
    if current is None:
        return Ruling(decision=Decision.MOVE)
    revision = revision_of(order.destination.store, current)
    return _ruling(sha_guard(revision, commit))


def _ruling(decided: Verdict) -> Ruling:
    return Ruling(decision=decided.decision, reason=decided.reason)


@dataclass(frozen=True, kw_only=True)
class TagMover:
    """Carries out orders. `command` is what a user runs to finish a partial release."""

    guard: Guard
    journal: Journal
    retry: Retry
    cancel: Cancel
    command: str
    note: Callable[[str], None]
    left: Callable[[tuple[Tagged, ...]], None] = lambda _tags: None  # hears it, whatever fails

    def move(self, orders: Iterable[Order]) -> Moved:
        """Move version tags everywhere, then moving tags everywhere.

        Raises the cause itself (exit 4, 6 or 7) when nothing is live yet, and
        PartialReleaseError after undoing the moving tags when something is.
        """
        every = tuple(orders)
        lasting = tuple(order for order in every if order.kind is not TagKind.MOVING)
        moving = tuple(order for order in every if order.kind is TagKind.MOVING)
        try:
            first = self._phase(lasting)
            self.guard.refresh()
            left = tuple(order for order in moving if order.destination not in first.failed)
            second = self._phase(left)
        except PodbuildError as error:
            begun = self._begun(every)
            self._placer.take_back(moving)
            raise self._partial(error, begun) from error
        settled = second.tags
        try:
            if any(tagged.outcome is Outcome.MOVED for tagged in settled):
                settled = self._placer.settle(settled)
        except PodbuildError as error:
            raise self._partial(error, self._begun(every)) from error
        return Moved(tags=(*first.tags, *settled), failed={**first.failed, **second.failed})

    @property
    def _placer(self) -> Placer:
        return Placer(
            guard=self.guard,
            journal=self.journal,
            retry=self.retry,
            cancel=self.cancel,
            note=self.note,
        )

    def _phase(self, orders: tuple[Order, ...]) -> Moved:
        """Do one kind of tags, each destination on a thread of its own.

        Raises the first failure of a required destination, when all threads have ended.
        """
        lanes: dict[Destination, list[Order]] = {}
        for order in orders:
            lanes.setdefault(order.destination, []).append(order)
        done: list[Tagged] = []
        over = threading.Event()  # what nothing depends on need not begin any more

        def lane(destination: Destination) -> None:
            try:
                for order in lanes[destination]:
                    if over.is_set():
                        return
                    self.cancel.check()
                    done.append(self._one(order))
            except PodbuildError as error:
                if destination.required or error.is_stop:
                    over.set()
                raise

        answers = everywhere(lanes, lane, self.cancel, at_once=max(1, len(lanes)))
        return Moved(tags=tuple(done), failed=answers.failed)

    def _one(self, order: Order, rounds: int = ROUNDS) -> Tagged:
        """Read, ask the guard, journal what stands there, move, read again.

        A guard may ask git for long: where the tag has changed meanwhile, it is asked once more.
        """
        before = _named(order)
        if before == order.manifest.digest:
            return self._already(order)
        current = None if before is None else self._placer.standing(order, before)
        ruling = self.guard.rule(order, current)
        moves = ruling.decision is Decision.MOVE and order.kind is TagKind.MOVING
        if moves and self.guard.takes_long and rounds and _named(order) != before:
            return self._one(order, rounds - 1)
        if ruling.decision is Decision.REFUSE:
            raise ImmutableTagError(
                f"{order} {ruling.reason}",
                hint="release a new version, or pass --allow-overwrite",
            )
        if ruling.decision is Decision.SKIP:
            return Tagged(order=order, outcome=Outcome.SKIPPED, reason=ruling.reason, before=before)
        self._placer.move(order, current)
        return Tagged(
            order=order,
            outcome=Outcome.MOVED,
            reason=ruling.reason,
            before=before,
            seen=self._placer.clock(),
        )

    def _already(self, order: Order) -> Tagged:
        """Find a tag in its place; an interrupted run of this release may have moved it."""
        self._placer.record(order)
        before = self.journal.manifest(Section.BEFORE, order.key)
        moved_by_us = self.journal.get(Section.BEFORE, order.key) is not None
        return Tagged(
            order=order,
            outcome=Outcome.MOVED if moved_by_us else Outcome.ALREADY,
            before=None if before is None else before.digest,
            seen=self._placer.clock(),
        )

    def _begun(self, orders: Iterable[Order]) -> Mapping[Order, bool]:
        """Give the orders that this release began, and whether it carried them out for sure."""
        moved = {order: self.journal.get(Section.MOVED, order.key) is not None for order in orders}
        return {
            order: is_moved
            for order, is_moved in moved.items()
            if is_moved or self.journal.get(Section.BEFORE, order.key) is not None
        }

    def _partial(self, cause: PodbuildError, begun: Mapping[Order, bool]) -> PodbuildError:
        """Give the error for a release of which some tags are live already."""
        with self.cancel.shielded(SHIELD):
            asked = tuple(map(self._as_left, begun))
        left = tuple(
            tagged
            for tagged in asked
            if tagged.outcome is not Outcome.UNDONE or begun[tagged.order]
        )
        self.left(left)
        live = tuple(tagged for tagged in left if tagged.outcome is not Outcome.UNDONE)
        if not live:
            return cause
        details = ("live now:", *(f"  {_said(tagged)}" for tagged in live), *cause.details)
        if isinstance(cause, InterruptedBySignal):  # its own code says more
            cause.details = details
            return cause
        again = f"`{self.command}` finishes it"
        return PartialReleaseError(
            f"partly published: {cause.message}",
            hint=cause.hint if isinstance(cause, ImmutableTagError) else again,
            details=details,
        )

    def _as_left(self, order: Order) -> Tagged:
        """Ask what a tag names after all."""
        try:
            found = _named(order)
        except PodbuildError as error:
            reason = f"can't be asked: {error}"
            return Tagged(order=order, outcome=Outcome.UNCERTAIN, reason=reason)
        if found == order.manifest.digest:
            return Tagged(order=order, outcome=Outcome.MOVED)
        return Tagged(order=order, outcome=Outcome.UNDONE, before=found)


def _named(order: Order) -> Digest | None:
    """Give what the tag names right now."""
    found = order.destination.store.head(order.tag)
    return None if found is None else found.digest


def _said(tagged: Tagged) -> str:
    if tagged.outcome is Outcome.UNCERTAIN:
        return f"{tagged.order} (may be, {tagged.reason})"
    return f"{tagged.order} -> {tagged.order.manifest.digest}"


def guard_of(planned: Planned, yanked: Iterable[Version], cancel: Cancel) -> Guard:
    """Give what decides whether a plan's tags may move."""
    plan = planned.plan
    if plan.version is None:
        return BranchGuard(
            commit=plan.source.commit,
            freely=bool(plan.source.pr),
            ancestry=planned.ancestry,
            request=plan.request,
        )
    return ReleaseGuard(
        version=plan.version,
        commit=plan.source.commit,
        results={image.name: plan.result(image.name) for image in plan.images},
        destinations=planned.destinations,
        readers={
            image.name: Readers(image.readers, plan.readers_beside(image.name))
            for image in plan.images
        },
        yanked=frozenset(yanked),
        request=plan.request,
        replaced=planned.replaced,
        cancel=cancel,
    )
