"""`podbuild push [IMAGE...]`."""

from __future__ import annotations

import click

from podbuild.cli.options import Common, common_options, completes, only_registry, timeout
from podbuild.cli.session import open_session


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
    from podbuild.cli.asking import make_request, read_duration  # noqa: PLC0415  # lazily

    with open_session(common, timeout=read_duration(timeout)) as session:
        from podbuild.commands.build import push  # noqa: PLC0415
        from podbuild.report.json import summary_json  # noqa: PLC0415
        from podbuild.report.text import report_text  # noqa: PLC0415

        request = make_request(images=images, registries=registries)
        report = push(session.services(), request)
        session.ui.give(report_text(report, session.ui.width), summary_json(report))
