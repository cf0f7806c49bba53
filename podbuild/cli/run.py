"""`podbuild run IMAGE[:TAG] [COMMAND...]`."""

from __future__ import annotations

import click

from podbuild.cli.asking import read_image
from podbuild.cli.options import Common, common_options, completes, option
from podbuild.cli.session import open_session
from podbuild.commands import run
from podbuild.errors import ConfigError
from podbuild.oci import names


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog="\b\nExamples:\n  podbuild run web\n  podbuild run web:1.2.3 --help\n"
    "  podbuild run --platform linux/arm64 --entrypoint sh web",
)
@option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="OS/ARCH",
    help="Which platform's image; default: this machine's, else the only one.",
)
@option(
    "-e", "--env", "variables", multiple=True, metavar="NAME[=VALUE]", help="Set a variable there."
)
@option("--entrypoint", metavar="PROGRAM", help="Start this instead of ENTRYPOINT and CMD.")
@option("-u", "--user", metavar="USER[:GROUP]", help="Who runs it, instead of USER.")
@option(
    "--network",
    type=click.Choice(["host", "none"]),
    default="host",
    show_default=True,
    help="This machine's network, or one of its own with nothing else in it.",
)
@click.argument("image", metavar="IMAGE[:TAG]", shell_complete=completes("image"))
@click.argument("arguments", nargs=-1, metavar="[COMMAND]...", type=click.UNPROCESSED)
@common_options
def command(
    common: Common,
    image: str,
    arguments: tuple[str, ...],
    platforms: tuple[str, ...],
    variables: tuple[str, ...],
    entrypoint: str | None,
    user: str | None,
    network: str,
) -> int:
    """Run an image of this project, rootless, for any platform.

    With a TAG that of the published image, else what is staged here. COMMAND stands for CMD.
    Nothing of this machine is in it but its network; nothing stays of what it writes. It ends with
    the program's exit code.
    """
    with open_session(common) as session:
        if len(platforms) > 1:
            raise ConfigError("one image is run", hint="pass --platform once")
        name, tag = read_image(image)
        wish = run.Wish(
            image=name,
            tag=tag,
            platform=names.Platform.parse(platforms[0]) if platforms else None,
            arguments=arguments,
            entrypoint=entrypoint,
            variables=variables,
            user=user or "",
            network=network,
        )
        return run.run_image(session.services(), wish)
