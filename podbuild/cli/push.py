"""`podbuild push [IMAGE...]`."""

from __future__ import annotations

import click

from podbuild.cli.answers import give_report
from podbuild.cli.asking import make_request, read_duration
from podbuild.cli.options import Common, common_options, completes, only_registry, timeout
from podbuild.cli.session import open_session
from podbuild.commands import build


@click.command(
    epilog="\b\nExamples:\n  podbuild build && podbuild manifest && podbuild push\n"
    "  podbuild push web --registry ghcr"
)
@click.argument("images", nargs=-1, metavar="[IMAGE]...", shell_complete=completes("image"))
@only_registry
@timeout
@common_options
def command(
    common: Common, images: tuple[str, ...], registries: tuple[str, ...], timeout: str | None
) -> None:
    """Publish by digest what is staged, to every registry; no tag moves.

    Where `podbuild manifest` has assembled a list, it goes out with its platforms.
    """
    with open_session(common, timeout=read_duration(timeout)) as session:
        request = make_request(images=images, registries=registries)
        report = build.push(session.services(), request)
        give_report(session.ui, report)
