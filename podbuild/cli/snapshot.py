"""`podbuild snapshot`."""

from __future__ import annotations

from pathlib import Path

import click

from podbuild.cli.options import (
    Common,
    allow_backwards,
    common_options,
    dry_run,
    fail_fast,
    hand_over,
    jobs,
    no_cache,
    no_reuse,
    only_image,
    only_platform,
    only_registry,
    option,
    restart,
    skip,
    skip_push,
    timeout,
)
from podbuild.cli.session import open_session


@click.command(
    epilog="\b\nExamples:\n  podbuild snapshot\n  podbuild snapshot --cancel-superseded\n"
    "  podbuild snapshot --dry-run"
)
@dry_run
@option(
    "--cancel-superseded",
    is_flag=True,
    help="Stop an older snapshot of the same branch that is still at work here.",
)
@only_image
@only_registry
@only_platform
@jobs
@no_cache
@no_reuse
@fail_fast
@hand_over
@skip
@skip_push
@allow_backwards
@restart
@timeout
@common_options
def command(
    common: Common,
    dry_run: bool,
    cancel_superseded: bool,
    images: tuple[str, ...],
    registries: tuple[str, ...],
    platforms: tuple[str, ...],
    jobs: int | None,
    no_cache: bool,
    no_reuse: bool,
    fail_fast: bool,
    handed_over: tuple[Path, ...],
    skip: str | None,
    skip_push: bool,
    allow_backwards: bool,
    restart: bool,
    timeout: str | None,
) -> None:
    """Release a branch push, tagged by [tags] branches.

    Branch, commit and repository come from GitHub, GitLab, Forgejo, Gitea or Jenkins, else from
    git. A branch's tag moves only to a commit that comes after the one it names; where a newer
    one is out already, it is skipped, which is no failure.
    """
    from podbuild.cli.asking import make_request, read_duration  # noqa: PLC0415  # lazily

    with open_session(common, timeout=read_duration(timeout)) as session:
        from podbuild.cli.carry_out import Chosen, carry_out  # noqa: PLC0415
        from podbuild.planning import Asked  # noqa: PLC0415

        request = make_request(
            images=images,
            registries=registries,
            platforms=platforms,
            backwards=allow_backwards,
        )
        chosen = Chosen(
            asked=Asked(snapshot=True, request=request),
            jobs=jobs,
            cache=not no_cache,
            reuse=not no_reuse,
            fail_fast=fail_fast,
            handed_over=tuple(session.directory / each for each in handed_over),
            skip=skip or "",
            publish=not skip_push,
            restart=restart,
            dry_run=dry_run,
            cancel_superseded=cancel_superseded,
        )
        carry_out(session, chosen)
