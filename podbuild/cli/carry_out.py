"""Carry out a release or snapshot and print its end, for both commands."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from podbuild.cli.session import Session
from podbuild.cli.show_plan import show_plan
from podbuild.errors import ConfigError
from podbuild.kitchen import Making
from podbuild.planning import Asked, plan_offline, plan_online
from podbuild.release import Options, Part, release
from podbuild.report.json_files import summary_json
from podbuild.report.text import report_text


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The options of `release` and `snapshot` as the user gave them."""

    asked: Asked
    jobs: int | None
    cache: bool
    reuse: bool
    fail_fast: bool
    skip: str
    publish: bool
    restart: bool
    dry_run: bool
    handed_over: tuple[Path, ...] = ()
    cancel_superseded: bool = False


def carry_out(session: Session, chosen: Chosen) -> None:
    """Plan only, or release; the report is the answer."""
    services = session.services()
    skipped = read_parts(chosen.skip)
    if chosen.dry_run:
        show_plan(services.ui, plan_online(services, plan_offline(services, chosen.asked)))
        return
    options = Options(
        asked=chosen.asked,
        command=shlex.join(["podbuild", *sys.argv[1:]]),
        making=Making(
            jobs=chosen.jobs,
            cache=chosen.cache,
            reuse=chosen.reuse,
            fail_fast=chosen.fail_fast,
            handed_over=chosen.handed_over,
        ),
        skip=skipped,
        publish=chosen.publish,
        restart=chosen.restart,
        cancel_superseded=chosen.cancel_superseded,
    )
    ended = release(services, options)
    services.ui.give(report_text(ended.report), summary_json(ended.report))
    if ended.incomplete is not None:
        raise ended.incomplete


def read_parts(text: str) -> frozenset[Part]:
    """Read the comma list of --skip.

    >>> sorted(read_parts("verify,cleanup"))
    [<Part.CLEANUP: 'cleanup'>, <Part.VERIFY: 'verify'>]
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = ", ".join(Part)
    for name in names:
        if name not in set(Part):
            raise ConfigError(f"--skip {name}: no such step", hint=f"known: {known}")
    return frozenset(map(Part, names))
