"""Carry out a release or snapshot and print its end, for both commands."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from podbuild.cli.answers import give_report, show_plan
from podbuild.cli.asking import make_request
from podbuild.cli.options import (
    Flow,
)
from podbuild.cli.session import Session
from podbuild.commands import planning, release
from podbuild.errors import ConfigError

if TYPE_CHECKING:
    from podbuild.commands.planning import Asked
    from podbuild.plan.model import Request


def flow_request(flow: Flow, directory: Path) -> Request:
    """Give the request that the options make; raises ConfigError for what can't be read."""
    return make_request(
        images=flow.images,
        registries=flow.registries,
        platforms=flow.platforms,
        backwards=flow.allow_backwards,
        growth=flow.allow_growth,
        jobs=flow.jobs,
        cache=not flow.no_cache,
        reuse=not flow.no_reuse,
        fail_fast=flow.fail_fast,
        directory=directory,
        handed_over=flow.handed_over,
        builders=flow.builders,
        remote=not flow.no_builders,
    )


def carry_out(
    session: Session, asked: Asked, flow: Flow, *, cancel_superseded: bool = False
) -> None:
    """Plan only, or release; the report is the answer."""
    services = session.services()
    skipped = read_parts(flow.skip or "")
    if flow.dry_run:
        show_plan(services, planning.plan_online(services, planning.plan_offline(services, asked)))
        return
    options = release.ReleaseOptions(
        asked=asked,
        command=shlex.join(["podbuild", *sys.argv[1:]]),
        skip=skipped,
        publish=not flow.skip_push,
        restart=flow.restart,
        cancel_superseded=cancel_superseded,
    )
    ended = release.release(services, options)
    give_report(services.ui, ended.report)
    if ended.incomplete is not None:
        raise ended.incomplete
    if ended.regressed is not None:
        raise ended.regressed


def read_parts(text: str) -> frozenset[release.Skip]:
    """Read the comma list of --skip.

    >>> sorted(read_parts("verify,cleanup"))
    [<Skip.CLEANUP: 'cleanup'>, <Skip.VERIFY: 'verify'>]
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = ", ".join(release.Skip)
    for name in names:
        if name not in set(release.Skip):
            raise ConfigError(f"--skip {name}: no such step", hint=f"known: {known}")
    return frozenset(map(release.Skip, names))
