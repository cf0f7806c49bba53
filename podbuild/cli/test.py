"""`podbuild test [IMAGE...]`."""

from __future__ import annotations

import click

from podbuild.cli.options import (
    Common,
    Typed,
    common_options,
    gathered,
    image_arguments,
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
@gathered("typed", image_arguments, only_platform, jobs)
@timeout
@common_options
def command(common: Common, typed: Typed, timeout: str | None) -> None:
    """Try the images that are staged here; publish nothing.

    Each is started in a network of its own, foreign platforms under emulation: its HEALTHCHECK,
    and the tests of [[images.NAME.tests]]. What passes is not tried again by a release of the same
    images, nor where they are handed over to. What fails is exit 10.
    """
    with open_session(common, timeout) as session:
        report = test.try_staged(session.services(), session.request(typed))
        session.ui.give(
            text_report.tried_text(report, session.ui.width), json_report.summary_json(report)
        )
