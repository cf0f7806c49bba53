"""`podbuild history`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from podbuild.cli.options import Common, common_options, option
from podbuild.cli.session import open_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podbuild.report.runs import Run


@click.command(
    epilog="\b\nExamples:\n  podbuild history\n  podbuild history --last 100 --image web\n"
    "  podbuild history --json"
)
@option("--last", type=click.IntRange(1), default=20, metavar="N", help="Show the last N runs.")
@option("--image", metavar="IMAGE", help="Show what builds of this image took.")
@common_options
def command(common: Common, last: int, image: str | None) -> None:
    """Show what runs took: their ends, times, cache hits and sizes, the newest last.

    Every release and snapshot leaves an entry on this machine and in the place that [history]
    names, also those that fail. Entries are never changed, so runners write at the same time.
    """
    with open_session(common) as session:
        from podbuild.commands.history import open_places, read_runs  # noqa: PLC0415
        from podbuild.report.history import history_json, history_text  # noqa: PLC0415

        services = session.services()
        if image is not None:
            services.config.image(image)
        runs: Sequence[Run] = read_runs(services, open_places(services), last)
        services.ui.give(history_text(runs, image, services.ui.width), history_json(runs))
