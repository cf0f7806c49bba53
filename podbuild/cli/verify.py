"""`podbuild verify TAG`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from podbuild.cli.options import Common, Typed, common_options, completes, scope
from podbuild.cli.session import open_session
from podbuild.commands import verify
from podbuild.errors import VerificationError

if TYPE_CHECKING:
    from podbuild.publish.attested import Statements
    from podbuild.publish.verify import Checked
    from podbuild.system.records import JSONValue


@click.command(
    epilog="\b\nExamples:\n  podbuild verify 1.2.3\n  podbuild verify latest --registry ghcr --json"
)
@click.argument("tag", shell_complete=completes("tag"))
@scope
@common_options
def command(common: Common, typed: Typed, tag: str) -> None:
    """Read a release back from every registry and compare.

    Fetches what TAG names with all its children and compares digests between registries (and
    with dist/state.json, where it is of this release) and platforms with the configuration.
    Any difference is exit code 9, a tag that was never published 3.
    """
    with open_session(common) as session:
        services = session.services()
        found = verify.check_tag(services, session.request(typed), tag)
        lines = [_line(each, found) for each in found.checked]
        services.ui.give("\n".join(lines), _json(found))
        if found.problems:
            raise VerificationError(
                f"{tag} is not as it should be everywhere",
                details=found.problems,
                hint="`podbuild release` of that version puts right what differs",
            )


def _line(each: Checked, found: verify.VerifiedTag) -> str:
    platforms = ", ".join(sorted(map(str, each.platforms)))
    state = "; ".join(each.problems) or f"{each.digest} ({platforms})"
    said = _said(each, found)
    kinds = f"; attached: {', '.join(said.kinds) or 'nothing'}" if said else ""
    others = f" and {said.foreign} of others" if said and said.foreign else ""
    return f"{each.expectation}: {state}{kinds}{others}"


def _said(each: Checked, found: verify.VerifiedTag) -> Statements | None:
    expected = each.expectation
    return next(
        (
            said
            for said in found.statements
            if (said.destination, said.tag) == (expected.destination, expected.tag)
        ),
        None,
    )


def _statements(each: Checked, found: verify.VerifiedTag) -> JSONValue:
    said = _said(each, found)
    if said is None:
        return None
    return {
        "says": [*said.kinds],
        "foreign": said.foreign,
        "referrers": {
            str(subject): [*sorted(map(str, held))] for subject, held in said.valid.items()
        },
    }


def _json(found: verify.VerifiedTag) -> JSONValue:
    return {
        "schema": 1,
        "ok": not found.problems,
        "problems": [*found.problems],
        "tags": [
            {
                "reference": str(each.expectation),
                "image": each.expectation.destination.image,
                "registry": each.expectation.destination.registry,
                "digest": str(each.digest) if each.digest else None,
                "platforms": [*sorted(map(str, each.platforms))],
                "problems": [*each.problems],
                "statements": _statements(each, found),
            }
            for each in found.checked
        ],
    }
