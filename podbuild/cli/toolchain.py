"""`podbuild toolchain install` and `podbuild toolchain show`."""

from __future__ import annotations

import click

from podbuild.build.toolchain import find, workshop
from podbuild.build.toolchain import install as installing
from podbuild.build.toolchain import model as records
from podbuild.cli.options import Common, common_options, option
from podbuild.cli.session import open_session
from podbuild.cli.tools import find_toolchain, own_folders
from podbuild.oci.transport import endpoint
from podbuild.report import toolchain as toolchain_report

_SOURCES = ("auto", "podman-static", "debian")


@click.group(
    epilog="\b\nExamples:\n  podbuild toolchain install\n  podbuild toolchain show\n\n"
    "PODBUILD_TOOLCHAIN=auto|system|private says which engine a build uses: auto is the private "
    "one if installed, else a good one on PATH. PODBUILD_ENGINE=buildah|podman picks one."
)
def command() -> None:
    """Install or show the private toolchain: engine, helpers and qemu, without root."""


@command.command(
    epilog="\b\nExamples:\n  podbuild toolchain install\n"
    "  podbuild toolchain install --source debian\n"
    "  PODBUILD_TOOLCHAIN_URL=/mnt/podman-linux-amd64.tar.gz podbuild toolchain install"
)
@option(
    "--source",
    type=click.Choice(_SOURCES),
    default="auto",
    show_default=True,
    help="Where it comes from; auto is the first that serves.",
)
@common_options
def install(common: Common, source: str) -> None:
    """Put a private toolchain into podbuild's own folder. Changes nothing when it is there."""
    with open_session(common) as session:
        shop = workshop.Workshop(
            runner=session.runner,
            folders=own_folders(session),
            note=session.ui.info,
            network=endpoint.WayOut.from_environment(session.environment),
        )
        mirror = session.environment.get("PODBUILD_TOOLCHAIN_URL", "")
        request = installing.InstallRequest(
            source=installing.ToolchainSource(source), mirror=mirror
        )
        with session.ui.step("install the toolchain"):
            record = installing.install(shop, request)
        session.ui.give(toolchain_report.record_text(record), toolchain_report.record_json(record))


@command.command(
    short_help="Show the engine that a build uses.",
    epilog="\b\nExamples:\n  podbuild toolchain show\n  podbuild --version && "
    "podbuild toolchain show --json",
)
@common_options
def show(common: Common) -> None:
    """Show the engine that a build uses, its version, helpers, and what its start costs."""
    with open_session(common) as session:
        folders = own_folders(session)
        toolchain = find_toolchain(session, folders)
        starts = find.start_costs(session.runner, folders, toolchain.engine)
        record = records.read_record(folders)
        session.ui.give(
            toolchain_report.toolchain_text(toolchain, record, starts, session.ui.width),
            toolchain_report.toolchain_json(toolchain, record, starts),
        )
