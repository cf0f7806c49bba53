"""The recipe of a release: plan, check, build, publish by digest, tag, verify, clean up, report.

Nothing that a user can see changes before `move_tags`; everything before it can be run again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import field, replace
from typing import TYPE_CHECKING

from podbuild.build import images as making
from podbuild.build import indexes
from podbuild.build.engines import (
    ChosenToolchain,
    Engines,
    Offer,
    adopted_images,
    open_engines,
    source_of,
)
from podbuild.build.handover import handing_over
from podbuild.build.model import HandedOver, Staged
from podbuild.commands import attest, checks, cleanup, following, history, join, judge
from podbuild.commands.planning import (
    plan_offline,
    plan_online,
    plan_tolerantly,
    refuse_conflicts,
    with_built_dirt,
    with_dirt,
)
from podbuild.commands.record import Recorder
from podbuild.config.output import remove_torn
from podbuild.config.toml import shown
from podbuild.errors import CleanupError, CredentialError, PodbuildError, PolicyError
from podbuild.oci.manifest import Manifest
from podbuild.plan.destination import Planned, binding_of
from podbuild.plan.journal import (
    Binding,
    Journal,
    Section,
    open_journal,
    recorded_toolchain,
    restart,
)
from podbuild.plan.model import Plan, Request, Skip
from podbuild.publish.ledger import record_superseded
from podbuild.publish.move import Moved, orders_of
from podbuild.publish.tag import TagMover, guard_of
from podbuild.publish.upload import Published, Publisher, preflight
from podbuild.publish.verify import expectations_of, verify_release
from podbuild.report.collect import adopted_parts
from podbuild.report.model import Report
from podbuild.system.later import dataclass
from podbuild.system.locks import Holder, Purpose, project_lock, supersede
from podbuild.workspace import Services

if TYPE_CHECKING:
    from podbuild.build.examine.children import Examination
    from podbuild.build.toolchain.model import Toolchain
    from podbuild.publish.attested import Held


@dataclass(frozen=True, kw_only=True)
class Supply:
    """Who hears of each image that is staged, and what other machines have staged.

    `anew` is that of `stage`.
    """

    offer: Offer | None = None
    examination: Examination | None = None
    handed: HandedOver = field(default_factory=HandedOver)
    anew: bool = False


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A release that is out; `incomplete` says what its cleanup has left."""

    report: Report
    incomplete: CleanupError | None
    regressed: PolicyError | None = None  # what [history] on = "fail" makes of slower builds


def release(services: Services, request: Request) -> Ended:
    """Carry out a release or snapshot and give its report, which is written in any case.

    Raises what ends it, with its exit code.
    """
    if Skip.CHECKS in request.skip:
        services = replace(services, config=replace(services.config, checks=()))
    offline = plan_offline(services, request)
    handed = handed_over(services, offline.plan)
    work = Purpose.SNAPSHOT if request.snapshot else Purpose.RELEASE
    with one_at_a_time(services, offline.plan, work):
        toolchain = ChosenToolchain(services.runner, services.folders, services.environment)
        begun = with_dirt(offline, handed.parts)
        record = Recorder(services, begun, toolchain.engine)
        with _leaving(services, begun.plan, record), record.recording():
            if begun.refusal:
                raise begun.refusal
            planned = _decided(services, begun, record)
            ready = _ready(services, planned, record)
            journal = _journal(services, ready.plan, toolchain)
            journal.record(Section.BEGAN, "day", ready.plan.source.day)
            if handed.parts:
                ready = record.marked(with_built_dirt(ready, journal, handed.parts))
            engines = open_engines(services, ready.plan, journal, toolchain)
            incomplete = _deliver(engines, ready, record, handed)
        report = record.report()
        regressed = _leave(services, begun.plan, report)
        _follow(services, planned.plan, report)
        return Ended(report=report, incomplete=incomplete, regressed=regressed)


def _deliver(
    engines: Engines, planned: Planned, record: Recorder, handed: HandedOver
) -> CleanupError | None:
    """Make the images, publish them by digest, move the tags, verify, and clean up.

    Gives what its cleanup has left. What was built stays journalled and is handed over.
    """
    services, plan = engines.services, planned.plan
    publishes = plan.request.publish and not plan.is_partial
    with open_publisher(engines, planned, record) as publisher:
        with hand_over(engines), engines, examining_images(engines) as examination:
            offer = publisher.offer if publishes else None
            supply = Supply(offer=offer, examination=examination, handed=handed)
            staged = make_staged(engines, planned, supply, record)
            images = _assembled(engines, planned, staged, record)
            if examination and staged.images:
                judge.judge_images(engines, planned, staged, record, examination)
        if not publishes:
            return None
        with record.step("publish by digest"):
            published = publisher.finish(images.items())
            record.published(published)
    held: Held = {}
    if plan.attest:
        published, held = attest.attest(engines, planned, published, record)
    moved = _moved(engines, planned, published, record)
    if Skip.VERIFY not in plan.request.skip:
        with record.step("verify"):
            asked = expectations_of(planned, moved)
            verify_release(asked, published.present, record.warn, services.cancel)
            if plan.attest:
                attest.verify_moved(services, plan, moved, held, record.warn)
    engines.journal.finish()
    return _cleaned(services, planned, record)


@contextmanager
def _leaving(services: Services, plan: Plan, record: Recorder) -> Iterator[None]:
    """Leave what a run leaves after a failure too; a stop has no time for it."""
    try:
        yield
    except PodbuildError as error:
        if not error.is_stop:
            _leave(services, plan, record.report())
        raise


def _leave(services: Services, plan: Plan, report: Report) -> PolicyError | None:
    if plan.request.publish and not plan.is_partial:
        return history.leave(services, report)
    history.leave_unpublished(services, report)
    return None


def _follow(services: Services, plan: Plan, report: Report) -> None:
    wanted = services.config.notes.update or any(each.update for each in services.config.deploy)
    if wanted and plan.request.publish and plan.version is not None:
        following.follow(services, report, plan.version)


def _decided(services: Services, begun: Planned, record: Recorder) -> Planned:
    """Let the registries' answers decide every tag; raises what stands in the release's way."""
    with record.step("plan"), _hinting_at_skip_push():
        ask = plan_online if begun.plan.request.publish else plan_tolerantly
        planned = ask(services, begun)
        record.decided(planned)
        refuse_conflicts(planned.plan)
    return planned


def _ready(services: Services, planned: Planned, record: Recorder) -> Planned:
    """Give the plan with the destinations that can be pushed to, and cleaned where that is due."""
    if not planned.plan.request.publish:
        return planned
    with record.step("check logins"), _hinting_at_skip_push():
        ready = check_logins(services, planned, record)
        if _cleans_up(services, planned.plan):
            cleanup.check_removal_rights(services, ready.plan, ready.destinations)
    if services.config.attest:
        attest.check_signing(services, ready.plan)
    return ready


def handed_over(services: Services, plan: Plan) -> HandedOver:
    """Give what other machines hand over; without any, no word of joins is loaded."""
    if not plan.request.handed_over:
        return HandedOver()
    return join.open_parts(services, plan, binding_of(plan))


@contextmanager
def examining_images(engines: Engines) -> Iterator[Examination | None]:
    """Give what examines images while others are built; nothing where there are none to make."""
    if not engines.plan.jobs:
        yield None
        return
    if engines.services.config.checks:
        checks.checks_of(engines.services).require()
    with judge.examination_of(engines) as examination:
        yield examination


def make_staged(engines: Engines, planned: Planned, supply: Supply, record: Recorder) -> Staged:
    """Give each job's image; raises BuildError, CredentialError, ToolError, ConfigError."""
    with record.step("build"):
        staged = _staged(engines, planned, supply)
        record.staged(staged)
        staged.check()
    return staged


def _staged(engines: Engines, planned: Planned, supply: Supply) -> Staged:
    """Build, join or know; without a job, no word of builds and engines is loaded."""
    request = planned.plan.request
    if not planned.plan.jobs:
        return Staged(images={}, inputs={})
    if request.handed_over:
        return join.join(engines, planned, supply.handed)
    return making.stage(
        planned,
        engines,
        anew=supply.anew,
        offer=supply.offer,
        examine=supply.examination.begin if supply.examination else None,
        builds=Skip.BUILD not in request.skip,
    )


def _assembled(
    engines: Engines, planned: Planned, staged: Staged, record: Recorder
) -> Mapping[str, Manifest]:
    """Give what is published of each image, all staged or where an earlier release put it."""
    source = source_of(planned, engines.staging)
    with record.step("assemble"):
        images = indexes.assemble_images(staged, engines, source) if staged.images else {}
        adopted = adopted_images(planned.plan.images, source)
        record.assembled(images, dict(adopted_parts(planned.plan, adopted, source)))
    return {**images, **adopted}


def _moved(engines: Engines, planned: Planned, published: Published, record: Recorder) -> Moved:
    services, journal = engines.services, engines.journal
    mover = TagMover(
        guard=guard_of(planned, services.config.tags.yanked, services.cancel),
        journal=journal,
        retry=services.retry,
        cancel=services.cancel,
        command=planned.plan.request.command,
        note=services.ui.note,
        left=record.tags_left,
    )
    with record.step("move tags"):
        moved = mover.move(orders_of(planned, published.at, published.images))
    record.moved(moved)
    record_superseded(services.folders, services.config.root, journal, moved)
    return moved


def _cleans_up(services: Services, plan: Plan) -> bool:
    return services.config.retention.superseded and Skip.CLEANUP not in plan.request.skip


def _cleaned(services: Services, planned: Planned, record: Recorder) -> CleanupError | None:
    """Delete what the moving tags left; what fails is told at the end, as the release stands."""
    if not _cleans_up(services, planned.plan):
        return None
    with record.step("clean up"):
        try:
            record.cleaned(cleanup.remove_superseded(services, planned.plan, planned.destinations))
        except CleanupError as error:
            record.left_incomplete(error)
            return error
    return None


def check_logins(services: Services, planned: Planned, record: Recorder) -> Planned:
    """Give the plan with the destinations that can be pushed to; raises where one must be.

    Optional registries that refuse are left out with a warning.
    """
    ready = preflight(planned.destinations, services.cancel)
    for destination in ready.unknown:
        services.ui.detail(f"{destination}: whether this login may push shows when pushing")
    for destination, error in ready.unavailable:
        record.warn(f"{destination} is left out: {error.message}")
    return replace(
        planned,
        destinations=ready.destinations,
        silent={**planned.silent, **dict(ready.unavailable)},
    )


def open_publisher(engines: Engines, planned: Planned, record: Recorder) -> Publisher:
    """Give what copies staged images to the destinations of the plan."""
    return Publisher(
        destinations=planned.destinations,
        source=source_of(planned, engines.staging),
        journal=engines.journal,
        retry=engines.services.retry,
        cancel=engines.services.cancel,
        progress=record.progress,
        earlier=frozenset(filter(None, (image.adopted for image in planned.plan.images))),
        before=planned.alone_before,
        expected=planned.standing.children,
    )


def _journal(services: Services, plan: Plan, toolchain: Callable[[], Toolchain]) -> Journal:
    """Open the journal; a join goes on with what any engine has built, and needs none itself."""
    joins = bool(plan.request.handed_over)
    folder = services.config.output
    identity = recorded_toolchain(folder, plan.name) if joins else toolchain().identity
    binding = binding_of(plan, identity)
    if plan.request.restart:
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


def hand_over(engines: Engines, *, thin: bool = False) -> AbstractContextManager[None]:
    """Give what hands over what was built, however the block ends."""
    output, warn = engines.services.config.output, engines.services.ui.warn
    return handing_over(output, engines.journal, engines.staging, warn, thin=thin)


@contextmanager
def one_at_a_time(services: Services, plan: Plan, work: Purpose) -> Iterator[None]:
    """Hold the project's lock; a snapshot may stop an older one of its branch.

    What a killed run was writing goes: it would get into images whose context is the project.
    """
    me = Holder(work=work, name=plan.name, pid=os.getpid())

    def waiting(holder: Holder | None) -> None:
        if plan.request.cancel_superseded and supersede(holder, me):
            services.ui.note(f"stops {holder}: it is superseded")
        else:
            services.ui.info(f"waits for {holder or 'another podbuild'} on this project")

    folders, root = services.folders, services.config.root
    with project_lock(folders, root, me, cancel=services.cancel, on_wait=waiting):
        remove_torn(services.config.output)
        yield
