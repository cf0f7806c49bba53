"""`podbuild doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from podbuild.cli.options import Common, common_options
from podbuild.cli.session import Session, open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from podbuild.commands.attest import signing_state
    from podbuild.commands.doctor import Patient
    from podbuild.oci.names import Platform
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
        from podbuild.commands.doctor import (  # noqa: PLC0415  # --help is asked often
            examine,
            exit_code,
            findings_json,
            findings_text,
        )

        found = []
        with session.ui.step("examine this machine"):
            for finding in examine(_patient(session)):
                session.ui.detail(f"{finding.subject}: {finding.state}")
                found.append(finding)
        session.ui.give(findings_text(found), findings_json(found))
        return exit_code(found)


def _patient(session: Session) -> Patient:
    """Say what to examine; without a configuration, what most projects need."""
    from functools import partial  # noqa: PLC0415

    from podbuild.cli.tools import find_toolchain, own_folders  # noqa: PLC0415
    from podbuild.commands.builders import ask_builders  # noqa: PLC0415
    from podbuild.commands.doctor import (  # noqa: PLC0415
        Patient,
        Trial,
    )
    from podbuild.errors import ConfigError  # noqa: PLC0415

    services = None
    try:
        services = session.services()
    except ConfigError as error:
        session.ui.warn(f"examined without a configuration: {error.message}")
    folders = services.folders if services else own_folders(session)
    trial = Trial(runner=session.runner, folders=folders, environment=session.environment)
    return Patient(
        runner=session.runner,
        folders=folders,
        toolchain=lambda: find_toolchain(session, folders),
        platforms=_platforms(services),
        stores=_stores(services) if services else {},
        build=trial.build,
        builders=partial(ask_builders, services, build=True) if services else tuple,
        signing=partial(signing_state, services) if services and services.config.attest else None,
    )


def _platforms(services: Services | None) -> tuple[Platform, ...]:
    from podbuild.oci.names import Platform  # noqa: PLC0415

    if services is None:
        return (Platform("linux", "amd64"), Platform("linux", "arm64"))
    return tuple(sorted({each for image in services.config.images for each in image.platforms}))


def _stores(services: Services) -> Mapping[str, Callable[[], Store]]:
    """Give what opens the store of each published image on each of its registries."""
    from functools import partial  # noqa: PLC0415

    from podbuild.config.template import Placeholders  # noqa: PLC0415

    config = services.config
    found = {}
    for image in config.images:
        values = Placeholders(
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
