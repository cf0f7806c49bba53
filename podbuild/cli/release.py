"""`podbuild release [VERSION]`."""

from __future__ import annotations

import click

from podbuild.cli.answers import carry_out
from podbuild.cli.options import (
    Common,
    Typed,
    allow_dirty,
    allow_overwrite,
    common_options,
    dry_run,
    flow_options,
    gathered,
    require_tag,
    timeout,
    version_argument,
)
from podbuild.cli.session import open_session


@click.command(
    epilog="\b\nExamples:\n  podbuild release v1.2.3\n  podbuild release v1.2.3 --dry-run\n"
    "  podbuild release --from dist-amd64 --from dist-arm64"
)
@version_argument
@dry_run
@flow_options
@timeout
@gathered("typed", allow_overwrite, allow_dirty, require_tag)
@common_options
def command(common: Common, typed: Typed, dry_run: bool, timeout: str | None) -> None:
    """Take a version to every registry, all or nothing.

    Builds every image for every platform, publishes them by digest to all registries, reads
    them back, and only then moves the tags: version tags first, then moving tags. VERSION may
    be left out: the SemVer tag that is checked out counts. The same command continues a release
    that was interrupted.
    """
    with open_session(common, timeout) as session:
        carry_out(session, session.request(typed), dry_run=dry_run)
