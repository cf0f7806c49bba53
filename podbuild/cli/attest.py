"""`podbuild attest VERSION`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from podbuild.cli.options import Common, common_options, completes, only_image, only_registry
from podbuild.cli.session import open_session

if TYPE_CHECKING:
    from podbuild.commands.complete import Completed
    from podbuild.system.records import JSONValue


@click.command(
    epilog="\b\nExamples:\n  podbuild attest v1.2.3\n  podbuild attest 1.2.3 --image web --json"
)
@click.argument("version", shell_complete=completes("version"))
@only_image
@only_registry
@common_options
def command(
    common: Common, version: str, images: tuple[str, ...], registries: tuple[str, ...]
) -> None:
    """Complete and sign what is published.

    Attaches an SBOM and a signature to the images and indexes that VERSION names, on every
    registry, as [attest] says; what an accepted key has said already stays as it is. How an
    image was made is only known to the release that made it, so no provenance is added.
    """
    with open_session(common) as session:
        from podbuild.commands.complete import attest_version  # noqa: PLC0415  # --help is fast
        from podbuild.commands.relocate import Selection  # noqa: PLC0415

        services = session.services()
        scope = Selection(images=images, registries=registries)
        done = attest_version(services, scope, version)
        for note in done.attached.notes:
            services.ui.warn(note)
        for destination, error in done.attached.failed.items():
            services.ui.warn(f"{destination} lacks statements: {error.message}")
        services.ui.give(_text(done), _json(done))


def _text(done: Completed) -> str:
    from podbuild.oci.statements import SAYS  # noqa: PLC0415

    return "\n".join(
        f"{name}: {', '.join(sorted({SAYS.get(k, k) for kinds in held.values() for k in kinds}))}"
        for name, held in done.attached.referrers.items()
    )


def _json(done: Completed) -> JSONValue:
    return {
        "schema": 1,
        "images": {name: str(manifest.digest) for name, manifest in done.images.items()},
        "statements": {
            name: {str(referrer): [*kinds] for referrer, kinds in held.items()}
            for name, held in done.attached.referrers.items()
        },
    }
