"""`podbuild doctor`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from podbuild.cli.options import Common, common_options
from podbuild.cli.session import Session, open_session
from podbuild.cli.tools import find_toolchain, own_folders
from podbuild.commands import attest, builders, doctor
from podbuild.config import template
from podbuild.errors import ConfigError
from podbuild.oci import names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from podbuild.oci.store import Store
    from podbuild.workspace import Services


@click.command(epilog="\b\nExamples:\n  podbuild doctor\n  podbuild doctor --json | jq .checks")
@common_options
def command(common: Common) -> int:
    """Try this machine for real and say how to fix what fails.

    Builds one step, runs a program of each foreign architecture, maps ids, proves the storage
    driver, lets each builder build, and asks each configured registry whether this login may
    push. The exit code is that of the first failure.
    """
    with open_session(common) as session:
        found = []
        with session.ui.step("examine this machine"):
            for finding in doctor.examine(_patient(session)):
                session.ui.detail(f"{finding.subject}: {finding.state}")
                found.append(finding)
        session.ui.give(doctor.findings_text(found, session.ui.width), doctor.findings_json(found))
        return doctor.exit_code(found)


def _patient(session: Session) -> doctor.Patient:
    """Say what to examine; without a configuration, what most projects need."""
    services = None
    try:
        services = session.services()
    except ConfigError as error:
        session.ui.warn(f"examined without a configuration: {error.message}")
    folders = services.folders if services else own_folders(session)
    trial = doctor.Trial(runner=session.runner, folders=folders, environment=session.environment)
    return doctor.Patient(
        runner=session.runner,
        folders=folders,
        toolchain=lambda: find_toolchain(session, folders),
        platforms=_platforms(services),
        stores=_stores(services) if services else {},
        build=trial.build,
        optional=_optional(services) if services else frozenset(),
        builders=partial(builders.ask_builders, services, build=True) if services else tuple,
        signing=partial(attest.signing_state, services)
        if services and services.config.attest
        else None,
    )


def _platforms(services: Services | None) -> tuple[names.Platform, ...]:
    if services is None:
        return (names.Platform("linux", "amd64"), names.Platform("linux", "arm64"))
    return tuple(sorted({each for image in services.config.images for each in image.platforms}))


def _optional(services: Services) -> frozenset[str]:
    return frozenset(each.name for each in services.config.registries if not each.required)


def _stores(services: Services) -> Mapping[str, Callable[[], Store]]:
    """Give what opens the store of each published image on each of its registries."""
    config = services.config
    found = {}
    for image in config.images:
        values = template.Placeholders(
            project=config.project.name,
            image=image.name,
            sha="0" * 7,
            branch="main",
            env=config.env,
        )
        for registry in config.registries if image.publish else ():
            if image.registries is None or registry.name in image.registries:
                place = registry.template.expand(values)
                found[f"{registry.name}/{image.name}"] = partial(
                    services.opener.open, registry, place
                )
    return found
