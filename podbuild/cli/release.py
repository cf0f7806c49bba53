"""`podbuild release [VERSION]`.

Carry out a release or snapshot and print its end, for both commands.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path

import click

from podbuild.cli.answers import show_plan
from podbuild.cli.options import (
    Common,
    Flow,
    allow_dirty,
    allow_overwrite,
    common_options,
    flow_options,
    make_request,
    require_tag,
)
from podbuild.cli.session import Session, open_session
from podbuild.commands.planning import Asked, plan_offline, plan_online
from podbuild.commands.release import ReleaseOptions, Skip, release
from podbuild.errors import ConfigError
from podbuild.plan.model import Request
from podbuild.report.json import summary_json
from podbuild.report.text import report_text


@click.command(
    epilog="\b\nExamples:\n  podbuild release v1.2.3\n  podbuild release v1.2.3 --dry-run\n"
    "  podbuild release --from dist-amd64 --from dist-arm64"
)
@click.argument("version", required=False)
@flow_options
@allow_overwrite
@allow_dirty
@require_tag
@common_options
def command(
    common: Common,
    flow: Flow,
    version: str | None,
    allow_overwrite: bool,
    allow_dirty: bool,
    require_tag: bool,
) -> None:
    """Take a version to every registry, all or nothing.

    Builds every image for every platform, publishes them by digest to all registries, reads
    them back, and only then moves the tags: version tags first, then moving tags. VERSION may
    be left out: the SemVer tag that is checked out counts. The same command continues a release
    that was interrupted.
    """
    from podbuild.cli.options import read_duration  # noqa: PLC0415  # lazily

    with open_session(common, timeout=read_duration(flow.timeout)) as session:
        from podbuild.commands.planning import Asked  # noqa: PLC0415

        request = replace(
            flow_request(flow, session.directory), overwrite=allow_overwrite, dirty=allow_dirty
        )
        carry_out(session, Asked(version=version, require_tag=require_tag, request=request), flow)


def flow_request(flow: Flow, directory: Path) -> Request:
    """Give the request that the options make; raises ConfigError for what can't be read."""
    return make_request(
        images=flow.images,
        registries=flow.registries,
        platforms=flow.platforms,
        backwards=flow.allow_backwards,
        jobs=flow.jobs,
        cache=not flow.no_cache,
        reuse=not flow.no_reuse,
        fail_fast=flow.fail_fast,
        handed_over=tuple(directory / each for each in flow.handed_over),
    )


def carry_out(
    session: Session, asked: Asked, flow: Flow, *, cancel_superseded: bool = False
) -> None:
    """Plan only, or release; the report is the answer."""
    services = session.services()
    skipped = read_parts(flow.skip or "")
    if flow.dry_run:
        show_plan(services.ui, plan_online(services, plan_offline(services, asked)))
        return
    options = ReleaseOptions(
        asked=asked,
        command=shlex.join(["podbuild", *sys.argv[1:]]),
        skip=skipped,
        publish=not flow.skip_push,
        restart=flow.restart,
        cancel_superseded=cancel_superseded,
    )
    ended = release(services, options)
    services.ui.give(report_text(ended.report), summary_json(ended.report))
    if ended.incomplete is not None:
        raise ended.incomplete


def read_parts(text: str) -> frozenset[Skip]:
    """Read the comma list of --skip.

    >>> sorted(read_parts("verify,cleanup"))
    [<Skip.CLEANUP: 'cleanup'>, <Skip.VERIFY: 'verify'>]
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = ", ".join(Skip)
    for name in names:
        if name not in set(Skip):
            raise ConfigError(f"--skip {name}: no such step", hint=f"known: {known}")
    return frozenset(map(Skip, names))
