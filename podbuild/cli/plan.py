"""`podbuild plan [VERSION]`."""

from __future__ import annotations

import click

from podbuild.cli.answers import show_plan
from podbuild.cli.asking import make_request
from podbuild.cli.options import (
    Common,
    allow_backwards,
    allow_dirty,
    allow_overwrite,
    common_options,
    completes,
    only_image,
    only_platform,
    only_registry,
    option,
    require_tag,
)
from podbuild.cli.session import open_session
from podbuild.commands import planning


@click.command(
    epilog="\b\nExamples:\n  podbuild plan v1.2.3\n  podbuild plan --offline --json | jq .targets"
)
@click.argument("version", required=False, shell_complete=completes("version"))
@option("--offline", is_flag=True, help="Ask no registry; what guards decide is unknown.")
@only_image
@only_registry
@only_platform
@allow_overwrite
@allow_dirty
@allow_backwards
@require_tag
@common_options
def command(
    common: Common,
    version: str | None,
    offline: bool,
    images: tuple[str, ...],
    registries: tuple[str, ...],
    platforms: tuple[str, ...],
    allow_overwrite: bool,
    allow_dirty: bool,
    allow_backwards: bool,
    require_tag: bool,
) -> None:
    """Print what a release would build, push and tag where.

    Changes nothing. Where an engine is installed it says which images would be built and which
    re-used, and why; without one it plans all the same. As `podbuild release --dry-run`.
    """
    with open_session(common) as session:
        services = session.services()
        request = make_request(
            images=images,
            registries=registries,
            platforms=platforms,
            overwrite=allow_overwrite,
            dirty=allow_dirty,
            backwards=allow_backwards,
        )
        asked = planning.Asked(version=version, require_tag=require_tag, request=request)
        planned = planning.plan_offline(services, asked)
        decided = planned if offline else planning.plan_online(services, planned)
        show_plan(services, decided, looks=not offline)
