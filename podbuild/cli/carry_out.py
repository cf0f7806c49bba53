"""Carry out a release or snapshot and print its end, for both commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podbuild.cli.answers import give_report, show_plan
from podbuild.cli.session import Session
from podbuild.commands import planning, release

if TYPE_CHECKING:
    from podbuild.plan.model import Request


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
