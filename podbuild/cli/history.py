"""`podbuild history`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from podbuild.cli.options import Common, common_options, only_image, option
from podbuild.cli.session import open_session
from podbuild.commands import history
from podbuild.report import history as history_report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podbuild.report.runs import Run


@click.command(
    epilog="\b\nExamples:\n  podbuild history\n  podbuild history --last 100 --image web\n"
    "  podbuild history --json"
)
@option("--last", type=click.IntRange(1), default=20, metavar="N", help="Show the last N runs.")
@only_image
@common_options
def command(common: Common, last: int, images: tuple[str, ...]) -> None:
    """Show what runs took: their ends, times, cache hits and sizes, the newest last.

    Every release and snapshot leaves an entry on this machine and in the place that [history]
    names, also those that fail. With --image it shows what that image's builds took. Entries are
    never changed, so runners may write at the same time.
    """
    with open_session(common) as session:
        services = session.services()
        for image in images:
            services.config.image(image)
        runs: Sequence[Run] = history.read_runs(services, history.open_places(services), last)
        services.ui.give(
            history_report.history_text(runs, images, services.ui.width),
            history_report.history_json(runs),
        )
