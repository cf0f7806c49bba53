"""`podbuild release [VERSION]`."""

from __future__ import annotations

from dataclasses import replace

import click

from podbuild.cli.asking import read_duration
from podbuild.cli.carry_out import carry_out, flow_request
from podbuild.cli.options import (
    Common,
    Flow,
    allow_dirty,
    allow_overwrite,
    common_options,
    completes,
    flow_options,
    require_tag,
)
from podbuild.cli.session import open_session
from podbuild.commands import planning


@click.command(
    epilog="\b\nExamples:\n  podbuild release v1.2.3\n  podbuild release v1.2.3 --dry-run\n"
    "  podbuild release --from dist-amd64 --from dist-arm64"
)
@click.argument("version", required=False, shell_complete=completes("version"))
@flow_options
@allow_overwrite
@allow_dirty
@require_tag
@common_options
def command(
    common: Common,
    flow: Flow,
    version: str | None,
    allow_overwrite: bool,
    allow_dirty: bool,
    require_tag: bool,
) -> None:
    """Take a version to every registry, all or nothing.

    Builds every image for every platform, publishes them by digest to all registries, reads
    them back, and only then moves the tags: version tags first, then moving tags. VERSION may
    be left out: the SemVer tag that is checked out counts. The same command continues a release
    that was interrupted.
    """
    with open_session(common, timeout=read_duration(flow.timeout)) as session:
        request = replace(
            flow_request(flow, session.directory), overwrite=allow_overwrite, dirty=allow_dirty
        )
        carry_out(
            session, planning.Asked(version=version, require_tag=require_tag, request=request), flow
        )
