"""`podbuild sbom IMAGE[:TAG]`."""

from __future__ import annotations

import json

import click

from podbuild.cli.options import Common, common_options, completes, option
from podbuild.cli.session import open_session, read_image
from podbuild.commands import complete
from podbuild.errors import ConfigError
from podbuild.oci import names


@click.command(
    epilog="\b\nExamples:\n  podbuild sbom web:1.2.3 --platform linux/arm64\n"
    "  podbuild sbom web > web.spdx.json"
)
@click.argument("image", metavar="IMAGE[:TAG]", shell_complete=completes("image"))
@option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="OS/ARCH",
    help="Which platform's image, where it has several.",
)
@common_options
def command(common: Common, image: str, platforms: tuple[str, ...]) -> None:
    """Print the SBOM of an image, SPDX 2.3.

    With a TAG that of the published image, else of what is staged here. It names the packages
    of dpkg, apk, rpm, Python and Node that the image's own databases name.
    """
    with open_session(common) as session:
        name, tag = read_image(image)
        if len(platforms) > 1:
            raise ConfigError("one SBOM is of one platform", hint="pass --platform once")
        wanted = names.Platform.parse(platforms[0]) if platforms else None
        found = complete.print_sbom(session.services(), name, tag, wanted)
        session.ui.give(json.dumps(found, indent=2, ensure_ascii=False), found)
