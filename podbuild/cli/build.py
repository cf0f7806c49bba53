"""`podbuild build [IMAGE...]`."""

from __future__ import annotations

import click

from podbuild.cli.options import (
    Common,
    build_args,
    common_options,
    fail_fast,
    jobs,
    no_cache,
    no_reuse,
    only_platform,
    option,
    secrets,
    target,
    timeout,
)
from podbuild.cli.session import open_session


@click.command(
    epilog="\b\nExamples:\n  podbuild build\n  podbuild build web --platform linux/arm64\n"
    "  podbuild build web --load && podman run --rm localhost/web:latest"
)
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@only_platform
@target
@build_args
@secrets
@no_cache
@no_reuse
@jobs
@option("--load", is_flag=True, help="Also tag it in local storage, as localhost/IMAGE:TAG.")
@fail_fast
@timeout
@common_options
def command(
    common: Common,
    images: tuple[str, ...],
    platforms: tuple[str, ...],
    target: str | None,
    build_args: tuple[str, ...],
    secrets: tuple[str, ...],
    no_cache: bool,
    no_reuse: bool,
    jobs: int | None,
    load: bool,
    fail_fast: bool,
    timeout: str | None,
) -> None:
    """Build images into staging; publish nothing.

    What is built lies in dist/staging, an OCI layout, and can be pushed, assembled, or handed to
    another machine together with dist/state.json. No git tag and no registry is needed.
    """
    from podbuild.cli.asking import make_request, read_duration  # noqa: PLC0415  # lazily

    with open_session(common, timeout=read_duration(timeout)) as session:
        from podbuild.commands.build import build  # noqa: PLC0415
        from podbuild.report.json import summary_json  # noqa: PLC0415
        from podbuild.report.text import report_text  # noqa: PLC0415

        request = make_request(
            images=images,
            platforms=platforms,
            target=target,
            build_args=build_args,
            secrets=secrets,
            directory=session.directory,
            jobs=jobs,
            cache=not no_cache,
            reuse=not no_reuse,
            fail_fast=fail_fast,
        )
        report = build(session.services(), request, loads=load)
        session.ui.give(report_text(report), summary_json(report))
