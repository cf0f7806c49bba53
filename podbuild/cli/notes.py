"""`podbuild notes [VERSION]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from podbuild.cli.options import (
    Common,
    Typed,
    common_options,
    option,
    scope,
    version_argument,
)
from podbuild.cli.session import open_session
from podbuild.commands import notes, released
from podbuild.report import notes as notes_report

if TYPE_CHECKING:
    from podbuild.system.records import JSONValue


@click.command(
    epilog="\b\nExamples:\n  podbuild notes v1.2.3 > images.md\n  podbuild notes v1.2.3 --update"
)
@version_argument
@option("--update", is_flag=True, help="Put the section into the release on the forge.")
@option("--create", is_flag=True, help="Make a draft where the forge has no such release.")
@scope
@common_options
def command(common: Common, typed: Typed, update: bool, create: bool) -> None:
    """Print the images of a release as a section of its notes, or put them there.

    The section stands between two comments, <!-- podbuild:images begin --> and end: with
    --update it replaces the one that the release on GitHub, GitLab, Gitea or Forgejo has
    (drafts too), else it goes to the end; the rest of the text stays as it is. GITHUB_TOKEN goes
    to github.com alone, any other forge gets PODBUILD_NOTES_TOKEN.
    """
    with open_session(common) as session:
        services, request = session.services(), session.request(typed)
        asked = released.asked_version(services, request.wanted)
        access = notes.open_forge(services, asked) if update or create else None
        found = notes.noted(services, asked.version, request)
        outcome = ""
        if access is not None:
            create = create or services.config.notes.create
            outcome = notes.update_notes(access, found, create=create)
            notes.say_outcome(services, access, outcome)
        services.ui.give(notes_report.section(found), _json(str(asked.version), found, outcome))


def _json(version: str, found: notes_report.Noted, outcome: str) -> JSONValue:
    return {
        "schema": 1,
        "version": version,
        "forge": outcome,
        "section": notes_report.section(found),
        "images": [
            {
                "image": each.name,
                "digest": str(each.digest),
                "references": dict(each.places),
                "before": each.before,
                "platforms": {
                    part.name: {"size": part.size, "grown": part.grown, "update": part.update}
                    for part in each.platforms
                },
            }
            for each in found.images
        ],
    }
