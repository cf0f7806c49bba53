"""The recipe of a release: plan, check, build, publish by digest, tag, verify, clean up, report.

Nothing that a user can see changes before `move_tags`; everything before it can be run again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache

from podbuild.build.handover import Handed, read_handed_over, restock, take_over
from podbuild.build.toolchain.find import find_chosen
from podbuild.build.toolchain.model import Toolchain
from podbuild.commands.cleanup import record_superseded
from podbuild.commands.images import Equipment, Making, make_images, open_staging
from podbuild.commands.planning import (
    Asked,
    plan_offline,
    plan_online,
    plan_tolerantly,
    refuse_conflicts,
    with_dirt,
)
from podbuild.commands.record import Recorder
from podbuild.config.toml import shown
from podbuild.errors import CleanupError, CredentialError
from podbuild.plan.journal import Binding, Journal, open_journal, recorded_toolchain, restart
from podbuild.plan.model import Plan
from podbuild.plan.planned import Planned
from podbuild.publish.guards import BranchGuard, Overrides, Readers, ReleaseGuard
from podbuild.publish.move import Guard, Moved, Order, Outcome
from podbuild.publish.preflight import preflight
from podbuild.publish.tag import TagMover
from podbuild.publish.upload import Published, Publisher
from podbuild.publish.verify import Expectation, verify_release
from podbuild.report.model import Report
from podbuild.system.locks import Holder, Purpose, project_lock, supersede
from podbuild.workspace import Services


class Skip(StrEnum):
    """A part of a release that --skip leaves out."""

    BUILD = "build"
    VERIFY = "verify"
    CLEANUP = "cleanup"


@dataclass(frozen=True, kw_only=True)
class ReleaseOptions:
    """How to carry a release out. `command` is what a user types to go on with it."""

    asked: Asked
    command: str
    making: Making
    skip: frozenset[Skip] = frozenset()
    publish: bool = True  # False: --skip-push
    restart: bool = False
    cancel_superseded: bool = False


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A release that is out; `incomplete` says what its cleanup has left."""

    report: Report
    incomplete: CleanupError | None


def release(services: Services, options: ReleaseOptions) -> Ended:
    """Carry out a release or snapshot and give its report, which is written in any case.

    Raises what ends it, with its exit code.
    """
    offline = plan_offline(services, options.asked)
    handed = read_handed_over(options.making.handed_over, offline.plan, binding_of(offline.plan))
    work = Purpose.SNAPSHOT if options.asked.snapshot else Purpose.RELEASE
    me = Holder(work=work, name=offline.plan.name, pid=os.getpid())
    with one_at_a_time(services, me, cancel_superseded=options.cancel_superseded):
        with Recorder(
            services=services, planned=with_dirt(offline, handed)
        ).recording() as recorder:
            with recorder.step("plan"), _hinting_at_skip_push():
                ask = plan_online if options.publish else plan_tolerantly
                recorder.decided(ask(services, recorder.planned))
                refuse_conflicts(recorder.planned.plan)
            _deliver(services, options, recorder, handed)
        return Ended(report=recorder.report(), incomplete=recorder.incomplete)


def _deliver(
    services: Services, options: ReleaseOptions, recorder: Recorder, handed: tuple[Handed, ...]
) -> None:
    planned = recorder.planned
    if options.publish:
        with recorder.step("check logins"), _hinting_at_skip_push():
            planned = check_logins(services, planned, recorder)
            if _cleans_up(services, options):
                from podbuild.commands.cleanup import (  # noqa: PLC0415  # costs time
                    check_removal_rights,
                )

                check_removal_rights(services, planned.plan, planned.destinations)
    toolchain = toolchain_finder(services, recorder)
    journal = _journal(services, options, planned.plan, toolchain)
    equipment = Equipment(
        services=services,
        planned=planned,
        making=replace(options.making, skip_build=Skip.BUILD in options.skip),
        journal=journal,
        toolchain=toolchain,
        staging=open_staging(services),
        recorder=recorder,
    )
    restock(services.config.output, journal, equipment.staging)
    wanted = (each for each in handed if each.job in planned.plan.jobs)
    take_over(wanted, journal, equipment.staging, equipment.source)
    publishes = options.publish and not planned.plan.is_partial
    with open_publisher(equipment) as publisher:
        with recorder.step("build"):
            offer = publisher.offer if publishes else equipment.offer
            images = make_images(replace(equipment, offer=offer))
        if not publishes:
            return
        with recorder.step("publish by digest"):
            published = publisher.finish(images)
            recorder.published(published)
    with recorder.step("move tags"):
        moved = move_tags(services, options, planned, journal, published, recorder)
    recorder.moved(moved)
    record_superseded(services, journal, moved)
    if Skip.VERIFY not in options.skip:
        with recorder.step("verify"):
            verify_release(expectations(planned, moved), published.present, recorder.warn)
    journal.finish()
    if _cleans_up(services, options):
        clean_up(services, planned, recorder)


def _cleans_up(services: Services, options: ReleaseOptions) -> bool:
    return services.config.retention.superseded and Skip.CLEANUP not in options.skip


def clean_up(services: Services, planned: Planned, recorder: Recorder) -> None:
    """Delete what the moving tags left; a failure is told at the end, as the release stands."""
    from podbuild.commands.cleanup import (  # noqa: PLC0415  # many releases clean nothing
        remove_superseded,
    )

    with recorder.step("clean up"):
        try:
            recorder.removals = remove_superseded(services, planned.plan, planned.destinations)
        except CleanupError as error:
            recorder.incomplete = error


def check_logins(services: Services, planned: Planned, recorder: Recorder) -> Planned:
    """Give the plan with the destinations that can be pushed to; raises where one must be.

    Optional registries that refuse are left out with a warning.
    """
    ready = preflight(planned.destinations)
    for destination in ready.unknown:
        services.ui.detail(f"{destination}: whether this login may push shows when pushing")
    for destination, error in ready.unavailable:
        recorder.warn(f"{destination} is left out: {error.message}")
    return replace(
        planned,
        destinations=ready.destinations,
        silent={**planned.silent, **dict(ready.unavailable)},
    )


def move_tags(
    services: Services,
    options: ReleaseOptions,
    planned: Planned,
    journal: Journal,
    published: Published,
    recorder: Recorder,
) -> Moved:
    """Move version tags, then moving tags, everywhere; raises as TagMover.move does."""
    mover = TagMover(
        guard=_guard(services, planned),
        journal=journal,
        retry=services.retry,
        cancel=services.cancel,
        command=options.command,
        note=services.ui.note,
        left=recorder.tags_left,
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
    overrides = Overrides(overwrite=plan.request.overwrite, backwards=plan.request.backwards)
    if plan.version is None:
        return BranchGuard(
            commit=plan.source.commit, ancestry=planned.ancestry, overrides=overrides
        )
    names = [image.name for image in plan.images]
    return ReleaseGuard(
        version=plan.version,
        commit=plan.source.commit,
        results={name: plan.result(name) for name in names},
        destinations=planned.destinations,
        readers={
            image.name: Readers(image.readers, plan.readers_beside(image.name))
            for image in plan.images
        },
        yanked=frozenset(services.config.tags.yanked),
        overrides=overrides,
        replaced=planned.replaced,
        cancel=services.cancel,
    )


def open_publisher(equipment: Equipment) -> Publisher:
    """Give what copies staged images to the destinations of the plan."""
    return Publisher(
        destinations=equipment.planned.destinations,
        source=equipment.source,
        journal=equipment.journal,
        retry=equipment.services.retry,
        cancel=equipment.services.cancel,
        progress=equipment.recorder.progress,
    )


def toolchain_finder(services: Services, recorder: Recorder) -> Callable[[], Toolchain]:
    """Give what finds the toolchain when it is first asked; it raises ToolError."""

    @cache
    def found() -> Toolchain:
        toolchain = find_chosen(services.runner, services.folders, services.environment)
        recorder.engine = str(toolchain.engine)
        return toolchain

    return found


def binding_of(plan: Plan, toolchain: str = "") -> Binding:
    """Give what this plan's journal is bound to."""
    return Binding(
        release=plan.name,
        commit=plan.source.commit,
        configuration=plan.fingerprint,
        toolchain=toolchain,
    )


def _journal(
    services: Services, options: ReleaseOptions, plan: Plan, toolchain: Callable[[], Toolchain]
) -> Journal:
    """Open the journal; a join goes on with what any engine has built, and needs none itself."""
    joins = bool(options.making.handed_over)
    folder = services.config.output
    identity = recorded_toolchain(folder, plan.name) if joins else toolchain().identity
    binding = binding_of(plan, identity)
    if options.restart:
        return restart(folder, binding)
    return continued(services, plan, binding)


def continued(services: Services, plan: Plan, binding: Binding) -> Journal:
    """Continue what was begun, if it is the same; say so, or why not."""
    opened = open_journal(services.config.output, binding)
    if opened.started_anew:
        services.ui.note(f"not continued, as it differs: {opened.started_anew}")
    elif not plan.jobs:
        services.ui.info("nothing to build: the version tags hold this release's result already")
    elif not opened.journal.is_empty:
        services.ui.info(f"continues what {shown(opened.journal.path)} says was begun")
    return opened.journal


@contextmanager
def _hinting_at_skip_push() -> Iterator[None]:
    """Jobs for pull requests from forks get no logins, and can build all the same."""
    try:
        yield
    except CredentialError as error:
        way = "to build without any login, pass --skip-push"
        error.hint = f"{error.hint}; {way}" if error.hint else way
        raise


@contextmanager
def one_at_a_time(
    services: Services, me: Holder, *, cancel_superseded: bool = False
) -> Iterator[None]:
    """Hold the project's lock; a snapshot may stop an older one of its branch."""

    def waiting(holder: Holder | None) -> None:
        if cancel_superseded and supersede(holder, me):
            services.ui.note(f"stops {holder}: it is superseded")
        else:
            services.ui.info(f"waits for {holder or 'another podbuild'} on this project")

    with project_lock(
        services.folders, services.config.root, me, cancel=services.cancel, on_wait=waiting
    ):
        yield
