"""The parts of a release as commands of their own: build, manifest, push. None moves a tag."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

from podbuild.build.attest.subjects import remember_making
from podbuild.build.engines import Engines
from podbuild.build.handover import Handed, handing_over, read_handed_over, restock, take_over
from podbuild.build.images import (
    assembled_images,
    open_staging,
    require_all,
    source_of,
    stage,
    staged_before,
)
from podbuild.build.indexes import assemble_images
from podbuild.build.resolve import resolve
from podbuild.build.toolchain.find import ChosenToolchain
from podbuild.commands.dirt import with_built_dirt, with_dirt
from podbuild.commands.load import load_images
from podbuild.commands.planning import (
    Asked,
    plan_offline,
    plan_tolerantly,
)
from podbuild.commands.record import Recorder
from podbuild.commands.release import (
    binding_of,
    check_logins,
    continued,
    one_at_a_time,
    open_publisher,
)
from podbuild.errors import ConfigError
from podbuild.plan.destination import open_destinations
from podbuild.plan.journal import Section, recorded_toolchain
from podbuild.plan.model import Request
from podbuild.plan.planned import Planned
from podbuild.report.model import Report
from podbuild.system.locks import Holder, Purpose
from podbuild.workspace import Services


@dataclass(frozen=True, kw_only=True)
class OpenedPlan:
    """A plan under the project's lock, with what makes and keeps its images."""

    planned: Planned
    engines: Engines
    record: Recorder
    handed: tuple[Handed, ...]


def build(services: Services, request: Request, *, loads: bool = False) -> Report:
    """Build images into staging and hand them over in the output folder.

    With `loads`, each is also tagged in the storage that the user's own engine has.

    Raises BuildError, CredentialError, ToolError, ConfigError.
    """
    prepare = _to_build if request.reuses else _to_assemble
    with _opened(services, request, prepare, builds=True) as opened:
        engines, planned, record = opened.engines, opened.planned, opened.record
        for job in () if request.reuses else planned.plan.jobs:
            engines.journal.forget(Section.BUILT, str(job))  # or what was ever built would be kept
        with _handing_over(engines), engines, record.step("build"):
            inputs = resolve(planned, engines, anew=True)
            staged = stage(planned, inputs, engines)
            remember_making(planned, staged, inputs, engines)
            record.staged(staged)
            staged.check()
        if loads:
            images = {job: each.manifest for job, each in staged.images.items()}
            source = source_of(planned, engines.staging)
            with record.step("load"):
                load_images(services, planned.plan, engines.toolchain(), images, source)
        return record.report()


def assemble(services: Services, request: Request) -> Report:
    """Assemble the lists from what is staged here or was handed over; publishes nothing.

    Raises ConfigError when a platform is missing, ToolError, BuildError, VerificationError.
    """
    with _opened(services, request, _to_assemble) as opened:
        engines, record = opened.engines, opened.record
        source = source_of(opened.planned, engines.staging)
        take_over(opened.handed, engines.journal, engines.staging, source)
        with _handing_over(engines), engines, record.step("assemble"):
            staged = require_all(opened.planned.plan, staged_before(engines))
            record.staged(staged)
            record.assembled(assemble_images(staged, engines))
        return record.report()


def push(services: Services, request: Request) -> Report:
    """Publish by digest what is staged: the index where one is assembled, else every platform.

    Raises ConfigError when nothing is staged, CredentialError, PublishError.
    """
    with _opened(services, request, _to_push) as opened:
        engines, record = opened.engines, opened.record
        staged = staged_before(engines)
        if not staged.images:
            raise ConfigError("nothing is staged", hint="podbuild build")
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
    asked = Asked(loose=True, request=request)
    offline = plan_offline(services, asked)
    handed = read_handed_over(request.handed_over, offline.plan, binding_of(offline.plan))
    me = Holder(work=Purpose.OTHER, name=offline.plan.name, pid=os.getpid())
    with one_at_a_time(services, me):
        with services.ui.step("plan"):
            planned = prepare(services, with_dirt(offline, handed, asked))
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
                planned = record.marked(with_built_dirt(planned, journal, handed, asked))
            engines = Engines(
                services=services,
                plan=planned.plan,
                journal=journal,
                staging=open_staging(services),
                toolchain=toolchain,
            )
            restock(output, engines.journal, engines.staging)
            yield OpenedPlan(planned=planned, engines=engines, record=record, handed=handed)


def _handing_over(engines: Engines) -> AbstractContextManager[None]:
    services = engines.services
    return handing_over(services.config.output, engines.journal, engines.staging, services.ui.warn)
