"""The parts of a release as commands of their own: build, manifest, push. None moves a tag."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

from podbuild.build.engines import ChosenToolchain, Engines, open_engines, source_of
from podbuild.build.images import assembled_images, staged_before
from podbuild.build.indexes import assemble_images
from podbuild.build.model import HandedOver, Staged
from podbuild.commands import judge, leg
from podbuild.commands.join import join
from podbuild.commands.load import load_images
from podbuild.commands.planning import (
    plan_offline,
    plan_online,
    plan_tolerantly,
    with_built_dirt,
    with_dirt,
)
from podbuild.commands.record import Recorder
from podbuild.commands.release import (
    Supply,
    check_logins,
    continued,
    examining_images,
    hand_over,
    handed_over,
    make_staged,
    one_at_a_time,
    open_publisher,
)
from podbuild.errors import ConfigError
from podbuild.oci.names import Reference
from podbuild.plan.destination import Planned, binding_of, open_destinations
from podbuild.plan.journal import Section, recorded_toolchain
from podbuild.plan.model import Request
from podbuild.report.model import Report
from podbuild.system.locks import Purpose
from podbuild.workspace import Services


@dataclass(frozen=True, kw_only=True)
class OpenedPlan:
    """A plan under the project's lock, with what makes and keeps its images."""

    planned: Planned
    engines: Engines
    record: Recorder
    handed: HandedOver


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """What `build` leaves besides staging.

    What is `thin`, or handed over to a registry, lacks the layers: the registries have them.
    """

    loads: bool = False  # each is also tagged in the storage that the user's own engine has
    pushes: bool = False  # by digest, as soon as each is ready
    thin: bool = False
    hand_over: Reference | None = None
    tags_children: bool = False

    def __post_init__(self) -> None:
        """Refuse a hand-over without layers that no registry has."""
        names = {"--thin": self.thin, "--hand-over": self.hand_over}
        names["--tag-children"] = self.tags_children
        for name, given in names.items():
            if given and not self.pushes:
                raise ConfigError(f"{name} needs --push", hint=f"podbuild build --push {name} ...")


def build(services: Services, request: Request, leaving: Leaving) -> Report:
    """Build images into staging and hand them over in the output folder.

    Raises BuildError, CredentialError, ToolError, ConfigError; where images are pushed also
    PolicyError for one that is not fit to be released, and PublishError.
    """
    prepare = _to_assemble
    if leaving.pushes:
        prepare = plan_online if request.reuses else _to_push
    elif request.reuses:
        prepare = _to_build
    with _opened(services, request, prepare, builds=True) as opened:
        engines, record = opened.engines, opened.record
        ready = _ready_to_push(services, opened, leaving)
        for job in () if request.reuses else ready.plan.jobs:
            engines.journal.forget(Section.BUILT, str(job))  # or what was ever built would be kept
        if leaving.pushes:
            engines.journal.forget_all(Section.PUBLISHED)  # a leg runs again for what was lost
        with hand_over(engines, thin=leaving.thin), engines:
            staged = _built(replace(opened, planned=ready), leaving)
        if leaving.pushes:
            leg.hand_over_parts(engines, ready, leaving.hand_over)
        if leaving.loads:
            images = {job: each.manifest for job, each in staged.images.items()}
            source = source_of(ready, engines.staging)
            with record.step("load"):
                load_images(services, ready.plan, engines.toolchain(), images, source)
        return record.report()


def _ready_to_push(services: Services, opened: OpenedPlan, leaving: Leaving) -> Planned:
    """Give the plan with the destinations that can be pushed to; raises before any build."""
    if not leaving.pushes:
        return opened.planned
    with opened.record.step("check logins"):
        leg.check_hand_over(services, opened.planned, leaving.hand_over, thin=leaving.thin)
        return check_logins(services, opened.planned, opened.record)


def _built(opened: OpenedPlan, leaving: Leaving) -> Staged:
    """Build, and publish by digest what is asked to be pushed; what is unfit ends it."""
    planned, engines, record = opened.planned, opened.engines, opened.record
    goes_to = planned if leaving.pushes else replace(planned, destinations=())
    examining = examining_images(engines) if leaving.pushes else nullcontext()
    with open_publisher(engines, goes_to, record) as publisher, examining as examination:
        supply = Supply(
            offer=publisher.offer if leaving.pushes else None, examination=examination, anew=True
        )
        staged = make_staged(engines, planned, supply, record)
        if examination:
            judge.judge_images(engines, planned, staged, record, examination)
            with record.step("publish by digest"):
                parts = leg.pushed_parts(planned.plan, staged)
                published = publisher.finish(parts)
                record.published(published)
                if leaving.tags_children:
                    leg.tag_children(published.at, parts, record.warn, engines.services.cancel)
    return staged


def assemble(services: Services, request: Request) -> Report:
    """Assemble the lists from what is staged here or was handed over; publishes nothing.

    Raises ConfigError when a platform is missing, ToolError, BuildError, VerificationError.
    """
    with _opened(services, request, _to_assemble) as opened:
        engines, record = opened.engines, opened.record
        with hand_over(engines), engines, record.step("assemble"):
            staged = join(engines, opened.planned, opened.handed)
            record.staged(staged)
            source = source_of(opened.planned, engines.staging)
            record.assembled(assemble_images(staged, engines, source))
        return record.report()


def push(services: Services, request: Request) -> Report:
    """Publish by digest what is staged: the index where one is assembled, else every platform.

    Raises ConfigError when nothing is staged, CredentialError, PublishError.
    """
    with _opened(services, request, _to_push) as opened:
        engines, record = opened.engines, opened.record
        staged = staged_before(engines)
        if not staged.images:
            raise ConfigError(
                "nothing is staged", hint=shlex.join(["podbuild", "build", *request.images])
            )
        record.staged(staged)
        whole = assembled_images(staged, engines, source_of(opened.planned, engines.staging))
        record.assembled(whole)
        with record.step("check logins"):
            ready = check_logins(services, opened.planned, record)
        parts = [
            (job.image, each.manifest)
            for job, each in staged.images.items()
            if job.image not in whole
        ]
        with (
            record.step("publish by digest"),
            open_publisher(engines, ready, record) as publisher,
        ):
            record.published(publisher.finish([*whole.items(), *parts]))
        return record.report()


def open_staged(services: Services, request: Request) -> AbstractContextManager[OpenedPlan]:
    """Give the plan of what is staged here, under the project's lock; nothing is published."""
    return _opened(services, request, _to_assemble)


def _to_build(services: Services, offline: Planned) -> Planned:
    """Look for what can be re-used; nothing goes to a registry."""
    planned = plan_tolerantly(services, offline)
    return replace(planned, plan=replace(planned.plan, targets=()))


def _to_assemble(services: Services, offline: Planned) -> Planned:
    """Know where layers may be; nothing goes to a registry."""
    planned = _to_push(services, offline)
    return replace(planned, plan=replace(planned.plan, targets=()))


def _to_push(services: Services, offline: Planned) -> Planned:
    return replace(offline, destinations=open_destinations(services.opener, offline.plan))


@contextmanager
def _opened(
    services: Services,
    request: Request,
    prepare: Callable[[Services, Planned], Planned],
    *,
    builds: bool = False,
) -> Iterator[OpenedPlan]:
    """Plan, hold the project's lock, and write the reports however it ends.

    What `builds` continues is bound to the engine; the rest takes what any engine has built.
    """
    offline = plan_offline(services, replace(request, loose=True))
    handed = handed_over(services, offline.plan)
    with one_at_a_time(services, offline.plan, Purpose.OTHER):
        with services.ui.step("plan"):
            planned = prepare(services, with_dirt(offline, handed.parts))
            for warning in planned.warnings:
                services.ui.warn(warning)
        toolchain = ChosenToolchain(services.runner, services.folders, services.environment)
        record = Recorder(services, planned, toolchain.engine)
        with record.recording():
            output = services.config.output
            known = (
                toolchain().identity if builds else recorded_toolchain(output, planned.plan.name)
            )
            journal = continued(services, planned.plan, binding_of(planned.plan, known))
            if not builds:
                planned = record.marked(with_built_dirt(planned, journal, handed.parts))
            engines = open_engines(services, planned.plan, journal, toolchain)
            yield OpenedPlan(planned=planned, engines=engines, record=record, handed=handed)
