"""`podbuild release [VERSION]`."""

from __future__ import annotations

from pathlib import Path

import click

from podbuild.cli.options import (
    Common,
    allow_backwards,
    allow_overwrite,
    common_options,
    dry_run,
    fail_fast,
    hand_over,
    jobs,
    no_cache,
    no_reuse,
    only_image,
    only_platform,
    only_registry,
    require_tag,
    restart,
    skip,
    skip_push,
    timeout,
)
from podbuild.cli.session import open_session


@click.command(
    epilog="\b\nExamples:\n  podbuild release v1.2.3\n  podbuild release v1.2.3 --dry-run\n"
    "  podbuild release --from dist-amd64 --from dist-arm64"
)
@click.argument("version", required=False)
@dry_run
@only_image
@only_registry
@only_platform
@jobs
@no_cache
@no_reuse
@fail_fast
@hand_over
@skip
@skip_push
@allow_overwrite
@allow_backwards
@require_tag
@restart
@timeout
@common_options
def command(
    common: Common,
    version: str | None,
    dry_run: bool,
    images: tuple[str, ...],
    registries: tuple[str, ...],
    platforms: tuple[str, ...],
    jobs: int | None,
    no_cache: bool,
    no_reuse: bool,
    fail_fast: bool,
    handed_over: tuple[Path, ...],
    skip: str | None,
    skip_push: bool,
    allow_overwrite: bool,
    allow_backwards: bool,
    require_tag: bool,
    restart: bool,
    timeout: str | None,
) -> None:
    """Take a version to every registry, all or nothing.

    Builds every image for every platform, publishes them by digest to all registries, reads
    them back, and only then moves the tags: version tags first, then moving tags. VERSION may
    be left out: the SemVer tag that is checked out counts. The same command continues a release
    that was interrupted.
    """
    from podbuild.cli.asking import make_request, read_duration  # noqa: PLC0415  # lazily

    with open_session(common, timeout=read_duration(timeout)) as session:
        from podbuild.cli.carry_out import Chosen, carry_out  # noqa: PLC0415
        from podbuild.planning import Asked  # noqa: PLC0415

        request = make_request(
            images=images,
            registries=registries,
            platforms=platforms,
            overwrite=allow_overwrite,
            backwards=allow_backwards,
        )
        chosen = Chosen(
            asked=Asked(version=version, require_tag=require_tag, request=request),
            jobs=jobs,
            cache=not no_cache,
            reuse=not no_reuse,
            fail_fast=fail_fast,
            handed_over=tuple(session.directory / each for each in handed_over),
            skip=skip or "",
            publish=not skip_push,
            restart=restart,
            dry_run=dry_run,
        )
        carry_out(session, chosen)
