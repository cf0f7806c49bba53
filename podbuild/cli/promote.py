"""`podbuild promote FROM TO`."""

from __future__ import annotations

import click

from podbuild.cli.answers import carry_out_moves
from podbuild.cli.options import Common, Typed, common_options, completes, scope, yes
from podbuild.cli.session import open_session
from podbuild.commands import promote
from podbuild.oci import names


@click.command(
    epilog="\b\nExamples:\n  podbuild promote edge staging\n"
    "  podbuild promote 1.2.3 stable --image web --yes"
)
@click.argument("origin", metavar="FROM", shell_complete=completes("tag"))
@click.argument("target", metavar="TO", shell_complete=completes("tag"))
@scope
@yes
@common_options
def command(common: Common, typed: Typed, origin: str, target: str, yes: bool) -> None:
    """Point a tag at the image of another one, everywhere.

    On every registry TO then names what FROM names; bytes are copied where they are missing,
    nothing is built. TO may be a version tag only if it does not exist yet.
    """
    with open_session(common) as session:
        services = session.services()
        request = session.request(typed)
        found = promote.promotions(services, request, names.Tag(origin), names.Tag(target))
        carry_out_moves(
            services, found, yes=yes, idle=f"{target} names what {origin} names everywhere"
        )
