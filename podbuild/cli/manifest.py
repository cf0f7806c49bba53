"""`podbuild manifest [IMAGE...]`."""

from __future__ import annotations

import click

from podbuild.cli.answers import give_report
from podbuild.cli.options import (
    Common,
    Typed,
    common_options,
    gathered,
    hand_over,
    image_arguments,
)
from podbuild.cli.session import open_session
from podbuild.commands import build


@click.command(
    epilog="\b\nExamples:\n  podbuild build && podbuild manifest\n"
    "  podbuild manifest --from dist-amd64 --from dist-arm64"
)
@gathered("typed", image_arguments, hand_over)
@common_options
def command(common: Common, typed: Typed) -> None:
    """Assemble the manifest lists from what is staged; publish nothing.

    Takes what `podbuild build` left here, and what other machines built, with --from.
    """
    with open_session(common) as session:
        give_report(session.ui, build.assemble(session.services(), session.request(typed)))
