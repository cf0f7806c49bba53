"""`podbuild push [IMAGE...]`."""

from __future__ import annotations

import click

from podbuild.cli.answers import give_report
from podbuild.cli.options import (
    Common,
    Typed,
    common_options,
    gathered,
    image_arguments,
    only_registry,
    timeout,
)
from podbuild.cli.session import open_session
from podbuild.commands import build


@click.command(
    epilog="\b\nExamples:\n  podbuild build && podbuild manifest && podbuild push\n"
    "  podbuild push web --registry ghcr"
)
@gathered("typed", image_arguments, only_registry)
@timeout
@common_options
def command(common: Common, typed: Typed, timeout: str | None) -> None:
    """Publish by digest what is staged, to every registry; no tag moves.

    Where `podbuild manifest` has assembled a list, it goes out with its platforms.
    """
    with open_session(common, timeout) as session:
        give_report(session.ui, build.push(session.services(), session.request(typed)))
