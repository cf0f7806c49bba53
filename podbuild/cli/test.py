"""`podbuild test [IMAGE...]`."""

from __future__ import annotations

import click

from podbuild.cli.asking import make_request, read_duration
from podbuild.cli.options import (
    Common,
    common_options,
    completes,
    jobs,
    only_platform,
    timeout,
)
from podbuild.cli.session import open_session
from podbuild.commands import test
from podbuild.report import json as json_report
from podbuild.report import text as text_report


@click.command(
    epilog="\b\nExamples:\n  podbuild build && podbuild test\n"
    "  podbuild test web --platform linux/arm64"
)
@click.argument("images", nargs=-1, metavar="[IMAGE]...", shell_complete=completes("image"))
@only_platform
@jobs
@timeout
@common_options
def command(
    common: Common,
    images: tuple[str, ...],
    platforms: tuple[str, ...],
    jobs: int | None,
    timeout: str | None,
) -> None:
    """Try the images that are staged here; publish nothing.

    Each is started in a network of its own, foreign platforms under emulation: its HEALTHCHECK,
    and the tests of [[images.NAME.tests]]. What passes is not tried again by a release of the same
    images, nor where they are handed over to. What fails is exit 10.
    """
    with open_session(common, timeout=read_duration(timeout)) as session:
        request = make_request(images=images, platforms=platforms, jobs=jobs)
        report = test.try_staged(session.services(), request)
        session.ui.give(
            text_report.tried_text(report, session.ui.width), json_report.summary_json(report)
        )
