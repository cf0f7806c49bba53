"""`podbuild manifest [IMAGE...]`."""

from __future__ import annotations

import click

from podbuild.cli.answers import give_report
from podbuild.cli.asking import make_request
from podbuild.cli.options import Common, common_options, completes, hand_over
from podbuild.cli.session import open_session
from podbuild.commands import build


@click.command(
    epilog="\b\nExamples:\n  podbuild build && podbuild manifest\n"
    "  podbuild manifest --from dist-amd64 --from dist-arm64"
)
@click.argument("images", nargs=-1, metavar="[IMAGE]...", shell_complete=completes("image"))
@hand_over
@common_options
def command(common: Common, images: tuple[str, ...], handed_over: tuple[str, ...]) -> None:
    """Assemble the manifest lists from what is staged; publish nothing.

    Takes what `podbuild build` left here, and what other machines built, with --from.
    """
    with open_session(common) as session:
        request = make_request(images=images, directory=session.directory, handed_over=handed_over)
        report = build.assemble(session.services(), request)
        give_report(session.ui, report)
