"""The tags of a release: what each is to name, what decides, and what must be there after."""

from __future__ import annotations

from collections.abc import Iterator

from podbuild.commands.record import Recorder
from podbuild.plan.destination import Planned
from podbuild.plan.journal import Journal
from podbuild.publish.move import Guard, Moved, Order, Outcome
from podbuild.publish.tag import BranchGuard, Readers, ReleaseGuard, TagMover
from podbuild.publish.upload import Published
from podbuild.publish.verify import Expectation
from podbuild.workspace import Services


def move_tags(
    services: Services,
    planned: Planned,
    journal: Journal,
    published: Published,
    record: Recorder,
) -> Moved:
    """Move version tags, then moving tags, everywhere; raises as TagMover.move does."""
    mover = TagMover(
        guard=_guard(services, planned),
        journal=journal,
        retry=services.retry,
        cancel=services.cancel,
        command=planned.plan.request.command,
        note=services.ui.note,
        left=record.tags_left,
    )
    return mover.move(_orders(planned, published))


def expectations(planned: Planned, moved: Moved) -> Iterator[Expectation]:
    """Give what every tag that this release moved must name now."""
    for tagged in moved.tags:
        if tagged.outcome in (Outcome.MOVED, Outcome.ALREADY):
            image = planned.plan.image(tagged.order.destination.image)
            yield Expectation(
                destination=tagged.order.destination,
                tag=tagged.order.tag,
                digest=tagged.order.manifest.digest,
                platforms=frozenset(image.platforms),
                seen=tagged.seen,
            )


def _orders(planned: Planned, published: Published) -> Iterator[Order]:
    """Give an order for each tag that the plan lets move, where its image is."""
    held = {destination.key: destination for destination in published.at}
    for target in planned.plan.targets:
        destination = held.get(target.key)
        manifest = published.images.get(target.image)
        if destination is None or manifest is None:
            continue
        for move in target.tags:
            if move.decision.is_wanted:
                yield Order(destination=destination, named=move.named, manifest=manifest)


def _guard(services: Services, planned: Planned) -> Guard:
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
        yanked=frozenset(services.config.tags.yanked),
        request=plan.request,
        replaced=planned.replaced,
        cancel=services.cancel,
    )
