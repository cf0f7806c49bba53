"""The parts of a release as commands of their own: build, manifest, push. None moves a tag."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from podbuild.build.handover import Handed, read_handed_over, restock, take_over
from podbuild.commands.images import (
    Equipment,
    Making,
    assemble_images,
    build_images,
    open_staging,
    staged_images,
)
from podbuild.commands.load import load_images
from podbuild.commands.planning import Asked, plan_offline, plan_tolerantly, with_dirt
from podbuild.commands.record import Recorder
from podbuild.commands.release import (
    binding_of,
    check_logins,
    continued,
    one_at_a_time,
    open_publisher,
    toolchain_finder,
)
from podbuild.oci.manifest import Manifest
from podbuild.plan.destination import open_destinations
from podbuild.plan.journal import Journal, Section, recorded_toolchain
from podbuild.plan.model import Request
from podbuild.plan.planned import Planned
from podbuild.publish.upload import Published
from podbuild.report.model import Report
from podbuild.system.locks import Holder, Purpose
from podbuild.workspace import Services


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What a stage is asked for."""

    request: Request
    making: Making
    loads: bool = False  # --load


def build(services: Services, options: BuildOptions) -> Report:
    """Build images into staging and hand them over in the output folder.

    With `loads`, each is also tagged in the storage that the user's own engine has.

    Raises BuildError, CredentialError, ToolError, ConfigError.
    """
    reuses = options.making.reuse and options.making.cache
    with _told(services, options, _to_build if reuses else _to_assemble) as (
        planned,
        recorder,
        _handed,
    ):
        toolchain = toolchain_finder(services, recorder)
        binding = binding_of(planned.plan, toolchain().identity)
        journal = continued(services, planned.plan, binding)
        for job in () if reuses else planned.plan.jobs:
            journal.forget(Section.BUILT, str(job))  # or nothing would be built that ever was
        equipment = replace(
            _equipment(services, options, planned, recorder, journal),
            toolchain=toolchain,
            resolves_anew=True,
        )
        with recorder.step("build"):
            images = build_images(equipment)
        if options.loads:
            with recorder.step("load"):
                load_images(equipment, images)
        return recorder.report()


def assemble(services: Services, options: BuildOptions) -> Report:
    """Assemble the lists from what is staged here or was handed over; publishes nothing.

    Raises ConfigError when a platform is missing, ToolError, BuildError, VerificationError.
    """
    with _told(services, options, _to_assemble) as (planned, recorder, handed):
        journal = _journal(services, planned)
        equipment = _equipment(services, options, planned, recorder, journal)
        take_over(handed, journal, equipment.staging, equipment.source)
        with recorder.step("assemble"):
            assemble_images(equipment)
        return recorder.report()


def push(services: Services, options: BuildOptions) -> Report:
    """Publish by digest what is staged: the index where one is assembled, else every platform.

    Raises ConfigError when nothing is staged, CredentialError, PublishError.
    """
    with _told(services, options, _to_push) as (planned, recorder, _handed):
        journal = _journal(services, planned)
        equipment = _equipment(services, options, planned, recorder, journal)
        rounds = staged_images(equipment)
        with recorder.step("check logins"):
            ready = check_logins(services, planned, recorder)
        with (
            recorder.step("publish by digest"),
            open_publisher(replace(equipment, planned=ready)) as publisher,
        ):
            for each in rounds:
                for image, manifest in each.items():
                    publisher.offer(image, manifest)
            recorder.published(_together([publisher.finish(each) for each in rounds]))
        return recorder.report()


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
def _told(
    services: Services, options: BuildOptions, prepare: Callable[[Services, Planned], Planned]
) -> Iterator[tuple[Planned, Recorder, tuple[Handed, ...]]]:
    """Plan, hold the project's lock, and write the reports however it ends."""
    offline = plan_offline(services, Asked(loose=True, request=options.request))
    plan = offline.plan
    handed = read_handed_over(options.making.handed_over, plan, binding_of(plan))
    me = Holder(work=Purpose.OTHER, name=plan.name, pid=os.getpid())
    with one_at_a_time(services, me):
        with services.ui.step("plan"):
            planned = prepare(services, with_dirt(offline, handed))
            for warning in planned.warnings:
                services.ui.warn(warning)
        with Recorder(services=services, planned=planned).recording() as recorder:
            yield planned, recorder, handed


def _journal(services: Services, planned: Planned) -> Journal:
    """Continue what any engine has built."""
    known = recorded_toolchain(services.config.output, planned.plan.name)
    return continued(services, planned.plan, binding_of(planned.plan, known))


def _equipment(
    services: Services,
    options: BuildOptions,
    planned: Planned,
    recorder: Recorder,
    journal: Journal,
) -> Equipment:
    staging = open_staging(services)
    restock(services.config.output, journal, staging)
    return Equipment(
        services=services,
        planned=planned,
        making=options.making,
        journal=journal,
        toolchain=toolchain_finder(services, recorder),
        staging=staging,
        recorder=recorder,
    )


def _together(rounds: list[Published]) -> Published:
    """Give what several rounds published as one; a destination that failed once has failed."""
    failed = {found: error for each in rounds for found, error in each.failed.items()}
    images: dict[str, Manifest] = {}
    for each in rounds:
        images |= _new(each.images, images)
    at = dict.fromkeys(found for each in rounds for found in each.at if found not in failed)
    return Published(images=images, at=tuple(at), failed=failed)


def _new(found: Mapping[str, Manifest], known: Mapping[str, Manifest]) -> Mapping[str, Manifest]:
    return {name: manifest for name, manifest in found.items() if name not in known}
