"""`podbuild report`."""

from __future__ import annotations

from pathlib import Path

import click

from podbuild.cli.options import Common, common_options, option
from podbuild.cli.session import open_session
from podbuild.commands import history
from podbuild.config import toml
from podbuild.errors import ConfigError
from podbuild.report import page as pages
from podbuild.system import files


@click.command(
    epilog="\b\nExamples:\n  podbuild report\n  podbuild report --output public/index.html\n"
    "  podbuild report --open"
)
@option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write it there; default: history.html in the output folder.",
)
@option("--open", "shows", is_flag=True, help="Open it in the browser.")
@option("--last", type=click.IntRange(1), default=200, metavar="N", help="Show the last N runs.")
@common_options
def command(common: Common, output: Path | None, shows: bool, last: int) -> None:
    """Write the page of what runs took, made from the history.

    One file without a script: it can be archived, mailed, published. A release leaves its own
    page as report.html in the output folder.
    """
    with open_session(common) as session:
        services = session.services()
        runs = history.read_runs(services, history.open_places(services), last)
        path = Path.cwd() / output if output else services.config.output / "history.html"
        page = services.ui.redactor.cut(pages.history_page(services.config.project.name, runs))
        try:
            files.write_atomically(path, page.encode())
        except ConfigError as error:
            hint = "--output names another file" if output else error.hint
            raise ConfigError(error.message, hint=hint) from error
        services.ui.give(toml.shown(path), {"schema": 1, "page": str(path), "runs": len(runs)})
        if shows and click.launch(path.as_uri()):
            services.ui.warn(f"no browser could be opened here; the page is at {path.as_uri()}")
