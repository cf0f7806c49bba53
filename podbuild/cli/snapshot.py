"""`podbuild snapshot`."""

from __future__ import annotations

import click

from podbuild.cli.answers import carry_out
from podbuild.cli.options import (
    Common,
    Typed,
    common_options,
    dry_run,
    flow_options,
    gathered,
    option,
    timeout,
)
from podbuild.cli.session import open_session

_asked = gathered(
    "typed",
    option(
        "--cancel-superseded",
        is_flag=True,
        help="Stop an older snapshot of the same branch that is still at work here.",
    ),
    option(
        "--branch",
        metavar="NAME",
        help="The branch that is published, where a detached HEAD and the CI system don't tell.",
    ),
    option(
        "--pull-request",
        "pr",
        type=click.IntRange(1),
        metavar="N",
        help="The pull request that is published, where the CI system does not tell.",
    ),
    option("--schedule", "scheduled", is_flag=True, help="Take the tags of a scheduled run too."),
)


@click.command(
    epilog="\b\nExamples:\n  podbuild snapshot\n  podbuild snapshot --cancel-superseded\n"
    "  podbuild snapshot --branch main --dry-run"
)
@_asked
@dry_run
@flow_options
@timeout
@common_options
def command(common: Common, typed: Typed, dry_run: bool, timeout: str | None) -> None:
    """Release a branch push, tagged by [tags] branches.

    Branch, commit and repository come from GitHub, GitLab, Forgejo, Gitea, Woodpecker or Jenkins,
    else from git. A branch's tag moves only to a commit that comes after the one it names; where
    a newer one is out already, it is skipped, which is no failure. A branch that no rule of
    [tags] branches names is refused. A pull request gets the tags of [tags] pull-requests, a
    scheduled run those of [tags] schedule besides the branch's.
    """
    with open_session(common, timeout) as session:
        carry_out(session, session.request(typed, snapshot=True), dry_run=dry_run)
