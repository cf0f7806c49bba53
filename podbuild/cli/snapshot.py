"""`podbuild snapshot`."""

from __future__ import annotations

import click

from podbuild.cli.asking import read_duration
from podbuild.cli.carry_out import carry_out, flow_request
from podbuild.cli.options import Common, Flow, common_options, flow_options, option
from podbuild.cli.session import open_session
from podbuild.commands import planning


@click.command(
    epilog="\b\nExamples:\n  podbuild snapshot\n  podbuild snapshot --cancel-superseded\n"
    "  podbuild snapshot --branch main --dry-run"
)
@option(
    "--cancel-superseded",
    is_flag=True,
    help="Stop an older snapshot of the same branch that is still at work here.",
)
@option(
    "--branch",
    metavar="NAME",
    help="The branch that is published, where a detached HEAD and the CI system don't tell.",
)
@option(
    "--pull-request",
    type=click.IntRange(1),
    metavar="N",
    help="The pull request that is published, where the CI system does not tell.",
)
@option("--schedule", is_flag=True, help="Take the tags of a scheduled run too.")
@flow_options
@common_options
def command(  # options
    common: Common,
    flow: Flow,
    cancel_superseded: bool,
    branch: str | None,
    pull_request: int | None,
    schedule: bool,
) -> None:
    """Release a branch push, tagged by [tags] branches.

    Branch, commit and repository come from GitHub, GitLab, Forgejo, Gitea, Woodpecker or Jenkins,
    else from git. A branch's tag moves only to a commit that comes after the one it names; where
    a newer one is out already, it is skipped, which is no failure. A branch that no rule of
    [tags] branches names is refused. A pull request gets the tags of [tags] pull-requests, a
    scheduled run those of [tags] schedule besides the branch's.
    """
    with open_session(common, timeout=read_duration(flow.timeout)) as session:
        request = flow_request(flow, session.directory)
        asked = planning.Asked(
            snapshot=True,
            branch=branch or "",
            pr=str(pull_request or ""),
            scheduled=schedule,
            request=request,
        )
        carry_out(session, asked, flow, cancel_superseded=cancel_superseded)
