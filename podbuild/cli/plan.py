"""`podbuild plan [VERSION]`."""

from __future__ import annotations

import click

from podbuild.cli.answers import show_plan
from podbuild.cli.options import (
    Common,
    Typed,
    allow_backwards,
    allow_dirty,
    allow_overwrite,
    common_options,
    gathered,
    only_image,
    only_platform,
    only_registry,
    option,
    require_tag,
    version_argument,
)
from podbuild.cli.session import open_session
from podbuild.commands import planning

_narrowed = gathered(
    "typed",
    only_image,
    only_registry,
    only_platform,
    allow_overwrite,
    allow_dirty,
    allow_backwards,
    require_tag,
)


@click.command(
    epilog="\b\nExamples:\n  podbuild plan v1.2.3\n  podbuild plan --offline --json | jq .targets"
)
@version_argument
@option("--offline", is_flag=True, help="Ask no registry; what guards decide is unknown.")
@_narrowed
@common_options
def command(common: Common, typed: Typed, offline: bool) -> None:
    """Print what a release would build, push and tag where.

    Changes nothing. Where an engine is installed it says which images would be built and which
    re-used, and why; without one it plans all the same. As `podbuild release --dry-run`.
    """
    with open_session(common) as session:
        services = session.services()
        planned = planning.plan_offline(services, session.request(typed))
        decided = planned if offline else planning.plan_online(services, planned)
        show_plan(services, decided, looks=not offline)
