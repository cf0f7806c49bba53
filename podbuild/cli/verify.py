"""`podbuild verify TAG`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from podbuild.cli.options import Common, common_options, only_image, only_registry
from podbuild.cli.session import open_session

if TYPE_CHECKING:
    from podbuild.publish.verify import Checked
    from podbuild.system.records import JSONValue


@click.command(
    epilog="\b\nExamples:\n  podbuild verify 1.2.3\n  podbuild verify latest --registry ghcr --json"
)
@click.argument("tag")
@only_image
@only_registry
@common_options
def command(common: Common, tag: str, images: tuple[str, ...], registries: tuple[str, ...]) -> None:
    """Read a release back from every registry and compare.

    Fetches what TAG names with all its children and compares digests between registries (and
    with dist/state.json, where it is of this release) and platforms with the configuration.
    Any difference is exit code 9.
    """
    with open_session(common) as session:
        from podbuild.commands.relocate import Selection  # noqa: PLC0415
        from podbuild.commands.verify import check_tag  # noqa: PLC0415
        from podbuild.errors import VerificationError  # noqa: PLC0415  # --help is asked often

        services = session.services()
        scope = Selection(images=images, registries=registries)
        checked, problems = check_tag(services, scope, tag)
        lines = [_line(each) for each in checked]
        services.ui.give("\n".join(lines), _json(checked, problems))
        if problems:
            raise VerificationError(
                f"{tag} is not the same everywhere",
                details=problems,
                hint="`podbuild release` of that version puts right what differs",
            )


def _line(checked: Checked) -> str:
    platforms = ", ".join(sorted(map(str, checked.platforms)))
    state = "; ".join(checked.problems) or f"{checked.digest} ({platforms})"
    return f"{checked.expectation}: {state}"


def _json(checked: tuple[Checked, ...], problems: tuple[str, ...]) -> JSONValue:
    return {
        "schema": 1,
        "ok": not problems,
        "problems": [*problems],
        "tags": [
            {
                "reference": str(each.expectation),
                "image": each.expectation.destination.image,
                "registry": each.expectation.destination.registry,
                "digest": str(each.digest) if each.digest else None,
                "platforms": [*sorted(map(str, each.platforms))],
                "problems": [*each.problems],
            }
            for each in checked
        ],
    }
