"""Show what is about to happen and ask, once, the same way for every command; carry out and answer.

A plan is printed for `plan` and `release --dry-run` alike. `release` and `snapshot` share how they
are carried out, `promote` and `rollback` how moves are shown, asked for, made and told.
"""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import click

from podbuild.cli.session import Session
from podbuild.commands import foresee, planning, release, relocate
from podbuild.errors import ConfigError
from podbuild.publish import move
from podbuild.report import json as json_report
from podbuild.report import plan as plan_report
from podbuild.report import text as text_report

if TYPE_CHECKING:
    from podbuild.plan.destination import Planned
    from podbuild.plan.model import Request
    from podbuild.publish.move import Moved
    from podbuild.report.model import Report
    from podbuild.system.console import Ui
    from podbuild.system.records import JSONValue
    from podbuild.workspace import Services


def confirm(ui: Ui, question: str, *, yes: bool) -> None:
    """Return if the user agrees; raises ConfigError without a terminal, click.Abort for a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("nothing was changed: there is no terminal to ask", hint="pass --yes")
    ui.info(question)
    click.confirm("Go on?", abort=True, err=True)


def show_plan(services: Services, planned: Planned, *, looks: bool = True) -> None:
    """Give the plan as the answer; raises ImmutableTagError when the release would be refused.

    Unless `looks` is false, it says what would be built and what re-used.
    """
    ui = services.ui
    for warning in planned.warnings:
        ui.warn(warning)
    foreseen = plan_report.NOTHING_FORESEEN
    if looks:
        foreseen = foresee.foresee(services, planned)
    answer = {**plan_report.plan_json(planned.plan), **foreseen.to_json()}
    ui.give(plan_report.plan_text(planned.plan, foreseen, ui.width), answer)
    planning.refuse_conflicts(planned.plan)


def give_report(ui: Ui, report: Report) -> None:
    """Give what became of a run as the answer."""
    ui.give(text_report.report_text(report, ui.width), json_report.summary_json(report))


def carry_out_moves(
    services: Services, found: relocate.Relocations, *, yes: bool, idle: str
) -> Moved | None:
    """Carry out the relocations that change something; None, and `idle` said, where none does."""
    for destination, error in found.silent.items():
        services.ui.warn(f"{destination} could not be asked and is left out: {error.message}")
    wanted = found.changes.moves
    if not wanted:
        services.ui.give(f"nothing to do: {idle}", {"schema": 1, "moved": []})
        return None
    for each in wanted:
        services.ui.info(str(each))
    count = f"{len(wanted)} tag{'s' if len(wanted) > 1 else ''}"
    confirm(services.ui, f"this moves {count}", yes=yes)
    moved = relocate.carry_out(services, wanted, shlex.join(["podbuild", *sys.argv[1:]]))
    done = tuple(each for each in wanted if _is_done(each, moved))
    services.ui.give("\n".join(map(_line, done)) or "no tag was moved", _json(done))
    for destination, error in moved.failed.items():
        services.ui.warn(f"{destination}: {error.message}")
    for tagged in moved.tags:
        if not _is_in_place(tagged):
            services.ui.warn(f"{tagged.order} is left as it is: it {tagged.reason}")
    return moved


def _is_in_place(tagged: move.Tagged) -> bool:
    return tagged.outcome in (move.Outcome.MOVED, move.Outcome.ALREADY)


def _is_done(each: relocate.Relocation, moved: Moved) -> bool:
    key = (each.destination, each.named.tag)
    return any(
        (tagged.order.destination, tagged.order.tag) == key and _is_in_place(tagged)
        for tagged in moved.tags
    )


def _line(each: relocate.Relocation) -> str:
    return f"{each.destination.store.reference(each.named.tag)} -> {each.manifest.digest}"


def _json(moves: tuple[relocate.Relocation, ...]) -> JSONValue:
    return {
        "schema": 1,
        "moved": [
            {
                "image": each.destination.image,
                "registry": each.destination.registry,
                "reference": each.destination.store.reference(each.named.tag),
                "before": str(each.before) if each.before else None,
                "digest": str(each.manifest.digest),
                "reason": each.reason,
            }
            for each in moves
        ],
    }


def carry_out(session: Session, request: Request, *, dry_run: bool) -> None:
    """Plan only, or release; the report is the answer."""
    services = session.services()
    if dry_run:
        offline = planning.plan_offline(services, request)
        show_plan(services, planning.plan_online(services, offline))
        return
    ended = release.release(services, request)
    give_report(services.ui, ended.report)
    if ended.incomplete is not None:
        raise ended.incomplete
    if ended.regressed is not None:
        raise ended.regressed
