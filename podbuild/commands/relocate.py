"""Move tags without building: `promote` to a chosen image, `rollback` to the previous release.

Both make a list of relocations first, which is shown; nothing moves before every registry holds
every image. Only these two may take a tag back to an older release.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, TypeVar

from podbuild.commands import attest
from podbuild.errors import PodbuildError
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest
from podbuild.oci.store import Store
from podbuild.plan.destination import Destination, everywhere, open_destinations
from podbuild.plan.guards import Decision
from podbuild.plan.journal import Binding, Journal, TagKey
from podbuild.plan.make import plan_places
from podbuild.plan.model import Plan, PlannedImage, Request
from podbuild.plan.tags import NamedTag, TagKind
from podbuild.publish import carry
from podbuild.publish.ledger import Ledger, named_again
from podbuild.publish.move import Moved, Order, Ruling
from podbuild.publish.tag import TagMover
from podbuild.publish.upload import Publisher
from podbuild.workspace import Services


@dataclass(frozen=True, kw_only=True)
class Relocation:
    """One tag at one destination that shall name another image, and where its bytes are."""

    destination: Destination
    named: NamedTag
    manifest: Manifest = field(repr=False)
    source: Store = field(repr=False, compare=False)
    before: Digest | None
    reason: str

    @property
    def changes(self) -> bool:
        """Tell whether the tag names something else now."""
        return self.before != self.manifest.digest

    def __str__(self) -> str:
        was = self.before.short if self.before else "nothing"
        reference = self.destination.store.reference(self.named.tag)
        return f"{reference}: {was} -> {self.manifest.digest.short} ({self.reason})"


@dataclass(frozen=True, kw_only=True)
class Relocations:
    """What is to be moved, and the optional registries that can't be asked, which stay."""

    moves: tuple[Relocation, ...]
    silent: Mapping[Destination, PodbuildError]

    @property
    def changes(self) -> Relocations:
        """Give those of them that change something."""
        return replace(self, moves=tuple(each for each in self.moves if each.changes))


def plan_of(services: Services, request: Request) -> Plan:
    """Give the plan of all published images, without version, commit or decisions."""
    return plan_places(services.config, request)


def carry_out(services: Services, relocations: Iterable[Relocation], command: str) -> Moved:
    """Copy what is missing, then move the tags; raises as a release does.

    `Moved.failed` has the optional registries that failed on the way.
    """
    every = tuple(found for found in relocations if found.changes)
    journal = Journal(
        services.config.output / "relocation.json",
        Binding(release=command, commit="", configuration="", toolchain=""),
        {},
    )
    try:
        failed = _copy(services, every, journal)
        if services.config.attest:
            failed = {**failed, **_carry(services, every, failed)}
        orders = {
            Order(destination=each.destination, named=each.named, manifest=each.manifest): each
            for each in every
            if each.destination not in failed
        }
        mover = TagMover(
            guard=_AsShown({order.key: each.before for order, each in orders.items()}),
            journal=journal,
            retry=services.retry,
            cancel=services.cancel,
            command=command,
            note=services.ui.note,
        )
        moved = mover.move(orders)
    finally:
        journal.path.unlink(missing_ok=True)
    ledger = Ledger.of(services.folders, services.config.root)
    ledger.forget(named_again(moved))  # it is left anew when it is left
    return replace(moved, failed={**failed, **moved.failed})


@dataclass(frozen=True)
class _AsShown:
    """The guard of moves that a person has seen and confirmed, from what tags named then."""

    before: Mapping[TagKey, Digest | None]
    takes_long: ClassVar[bool] = False

    def refresh(self) -> None:
        """Need nothing."""

    def rule(self, order: Order, current: Manifest | None) -> Ruling:
        """Allow the move that was shown; another release may have moved the tag since."""
        if current is None or current.digest in (self.before[order.key], order.manifest.digest):
            return Ruling(decision=Decision.MOVE, reason="as asked")
        lasting = order.kind is not TagKind.MOVING
        return Ruling(
            decision=Decision.REFUSE if lasting else Decision.SKIP,
            reason=f"names {current.digest} meanwhile",
        )


def _copy(
    services: Services, relocations: tuple[Relocation, ...], journal: Journal
) -> Mapping[Destination, PodbuildError]:
    """Have every destination hold the image, by digest, before any tag moves.

    Gives the optional ones that do not.
    """
    failed: dict[Destination, PodbuildError] = {}
    groups: dict[tuple[Digest, str], list[Relocation]] = {}
    for each in relocations:
        groups.setdefault((each.manifest.digest, each.destination.image), []).append(each)
    for group in groups.values():
        first = group[0]
        image, source = first.destination.image, first.source
        publisher = Publisher(
            destinations=tuple(dict.fromkeys(each.destination for each in group)),
            source=lambda _image, store=source: store,  # type: ignore[misc]
            journal=journal,
            retry=services.retry,
            cancel=services.cancel,
        )
        with publisher:
            failed |= publisher.finish([(image, first.manifest)]).failed
    return failed


def _carry(
    services: Services, relocations: Iterable[Relocation], failed: Collection[Destination]
) -> Mapping[Destination, PodbuildError]:
    """Have every destination hold what must be said of the image, before any tag moves."""
    form = services.config.project.form
    return attest.carry_statements(
        services,
        (
            carry.Promoted(
                destination=each.destination,
                tag=each.named.tag,
                version=str(form.read(each.named.tag.text) or "")
                if each.named.kind is TagKind.VERSION
                else "",
                manifest=each.manifest,
                source=each.source,
            )
            for each in relocations
            if each.destination not in failed
        ),
    )


def by_image(
    services: Services, plan: Plan
) -> Iterator[tuple[PlannedImage, tuple[Destination, ...]]]:
    """Give each published image with its destinations."""
    every = open_destinations(services.opener, plan)
    for image in plan.images:
        mine = tuple(each for each in every if each.image == image.name)
        if mine:
            yield image, mine


Answer = TypeVar("Answer")


def ask_each(
    services: Services, destinations: Iterable[Destination], ask: Callable[[Destination], Answer]
) -> tuple[Mapping[Destination, Answer], Mapping[Destination, PodbuildError]]:
    """Ask everywhere; raises the first error where nobody answers."""
    answers = everywhere(destinations, ask, services.cancel)
    if not answers.found:
        raise next(iter(answers.failed.values()))
    return answers.found, answers.failed


def required_first(destinations: Iterable[Destination]) -> list[Destination]:
    """Give the required ones, then the others, each in the order of the configuration."""
    return sorted(destinations, key=lambda each: not each.required)
