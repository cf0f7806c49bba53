"""`podbuild diff`."""

from __future__ import annotations

import click

from podbuild.cli.findings import Renderings, give_findings
from podbuild.cli.options import Common, common_options, completes, form_option, option
from podbuild.cli.session import open_session
from podbuild.commands import diff
from podbuild.oci import names
from podbuild.report import diff as diff_report


@click.command(
    epilog="\b\nExamples:\n"
    "  podbuild diff 1.2.3                  # with what is staged here\n"
    "  podbuild diff 1.2.3 1.2.4 --image web --platform linux/amd64\n"
    "  podbuild diff 1.2.3 --format markdown >> $GITHUB_STEP_SUMMARY"
)
@click.argument("before", metavar="A", shell_complete=completes("tag"))
@click.argument("after", metavar="[B]", required=False, default="", shell_complete=completes("tag"))
@option(
    "--image",
    "images",
    multiple=True,
    metavar="NAME",
    help="Only these images.",
    shell_complete=completes("image"),
)
@option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="OS/ARCH",
    help="Only these platforms.",
    shell_complete=completes("platform"),
)
@form_option("text", "json", "markdown")
@common_options
def command(
    common: Common,
    before: str,
    after: str,
    images: tuple[str, ...],
    platforms: tuple[str, ...],
    form: str,
) -> None:
    """Compare two versions of the images: by package, file and layer.

    A and B are versions, tags, REPOSITORY:TAG or digests; without B it is what is staged here.
    Layers are read once, nothing is unpacked. An update is what a user of A downloads for B.
    """
    with open_session(common) as session:
        wanted = tuple(map(names.Platform.parse, platforms))
        found = diff.compare(session.services(), images, (before, after), wanted)
        pairs = [(each.references, each.difference) for each in found.compared]
        written = Renderings(
            text=lambda: diff_report.diff_text(pairs, found.gone, found.new),
            markdown=lambda: diff_report.diff_markdown(pairs, found.gone, found.new),
            value=diff_report.diff_json(pairs, found.gone, found.new),
        )
        give_findings(session, "diff", form, (), written)
