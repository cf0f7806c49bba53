"""`podbuild attest VERSION`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from podbuild.cli.options import Common, Typed, common_options, completes, scope
from podbuild.cli.session import open_session
from podbuild.commands import complete
from podbuild.oci import statements

if TYPE_CHECKING:
    from podbuild.system.records import JSONValue


@click.command(
    epilog="\b\nExamples:\n  podbuild attest v1.2.3\n  podbuild attest 1.2.3 --image web --json"
)
@click.argument("version", shell_complete=completes("version"))
@scope
@common_options
def command(common: Common, typed: Typed, version: str) -> None:
    """Complete and sign what is published.

    Attaches an SBOM and a signature to the images and indexes that VERSION names, on every
    registry, as [attest] says; what an accepted key has said already stays as it is. How an
    image was made is only known to the release that made it, so no provenance is added.
    """
    with open_session(common) as session:
        services = session.services()
        done = complete.attest_version(services, session.request(typed), version)
        for note in done.attached.notes:
            services.ui.warn(note)
        for destination, error in done.attached.failed.items():
            services.ui.warn(f"{destination} lacks statements: {error.message}")
        services.ui.give(_text(done), _json(done))


def _text(done: complete.Completed) -> str:
    return "\n".join(
        f"{name}: {', '.join(sorted({_said(kind) for kinds in held.values() for kind in kinds}))}"
        for name, held in done.attached.referrers.items()
    )


def _said(kind: str) -> str:
    return statements.SAYS.get(kind, kind)


def _json(done: complete.Completed) -> JSONValue:
    return {
        "schema": 1,
        "images": {name: str(manifest.digest) for name, manifest in done.images.items()},
        "statements": {
            name: {str(referrer): [*kinds] for referrer, kinds in held.items()}
            for name, held in done.attached.referrers.items()
        },
    }
