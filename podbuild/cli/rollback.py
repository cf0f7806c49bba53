"""`podbuild rollback`."""

from __future__ import annotations

import click

from podbuild.cli.answers import carry_out_moves
from podbuild.cli.options import Common, Typed, common_options, completes, scope, yes
from podbuild.cli.session import open_session
from podbuild.commands import rollback


@click.command(
    epilog="\b\nExamples:\n  podbuild rollback\n  podbuild rollback v1.2.3 --registry ghcr --yes"
)
@click.argument("version", required=False, shell_complete=completes("version"))
@scope
@yes
@common_options
def command(common: Common, typed: Typed, version: str | None, yes: bool) -> None:
    """Put the moving tags back to the previous stable release.

    Each moving tag that names VERSION (default: the newest release that one names) goes to the
    highest stable version below it, in its range, that all required registries hold. Version
    tags stay as they are.
    """
    with open_session(common) as session:
        services = session.services()
        form = services.config.project.form
        leaving = None if version is None else form.parse(version)
        found = rollback.rollbacks(services, session.request(typed), leaving)
        of = f"of {version}" if version else "of the newest release"
        idle = f"no moving tag {of} has a lower stable release to go to"
        moved = carry_out_moves(services, found, yes=yes, idle=idle)
        if moved is not None:
            services.ui.note(
                "name the version that was left in [tags] yanked, so that the next release "
                "below it gets the moving tags"
            )
