"""`podbuild run IMAGE[:TAG] [COMMAND...]`."""

from __future__ import annotations

from typing import Any

import click

from podbuild.cli.options import Common, common_options, completes, gathered, option
from podbuild.cli.session import open_session, read_image
from podbuild.commands import run
from podbuild.errors import ConfigError
from podbuild.oci import names

_how = gathered(
    "how",
    option(
        "-e",
        "--env",
        "variables",
        multiple=True,
        metavar="NAME[=VALUE]",
        help="Set a variable there.",
    ),
    option("--entrypoint", metavar="PROGRAM", help="Start this instead of ENTRYPOINT and CMD."),
    option(
        "-u", "--user", default="", metavar="USER[:GROUP]", help="Who runs it, instead of USER."
    ),
    option(
        "--network",
        type=click.Choice(["host", "none"]),
        default="host",
        show_default=True,
        help="This machine's network, or one of its own with nothing else in it.",
    ),
    click.argument("image", metavar="IMAGE[:TAG]", shell_complete=completes("image")),
    click.argument("arguments", nargs=-1, metavar="[COMMAND]...", type=click.UNPROCESSED),
)


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
@_how
@common_options
def command(common: Common, platforms: tuple[str, ...], how: dict[str, Any]) -> int:
    """Run an image of this project, rootless, for any platform.

    With a TAG that of the published image, else what is staged here. COMMAND stands for CMD.
    Nothing of this machine is in it but its network; nothing stays of what it writes. It ends with
    the program's exit code.
    """
    with open_session(common) as session:
        if len(platforms) > 1:
            raise ConfigError("one image is run", hint="pass --platform once")
        name, tag = read_image(how["image"])
        platform = names.Platform.parse(platforms[0]) if platforms else None
        wish = run.Wish(**{**how, "image": name, "tag": tag, "platform": platform})
        return run.run_image(session.services(), wish)
