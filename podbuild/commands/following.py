"""What follows a release that stands: its notes and the files that deploy it, best effort.

Nothing here changes how the release ended.
"""

from __future__ import annotations

from collections.abc import Callable

from podbuild.commands.borders import Borders
from podbuild.config.toml import shown
from podbuild.plan.git.history import Resolved
from podbuild.plan.model import Request
from podbuild.report.model import ReleaseResult, Report
from podbuild.semver import Version
from podbuild.system.effort import best_effort
from podbuild.workspace import Services


def follow(services: Services, report: Report, version: Version) -> None:
    """Do what the configuration asks for after a release; what fails is a warning."""
    if report.result not in (ReleaseResult.PUBLISHED, ReleaseResult.SKIPPED):
        return
    if services.config.notes.update:
        asked = Resolved(version=version, tag=report.tag)
        _attempt(services, "the notes are not updated", lambda: _notes(services, asked))
    if any(each.update for each in services.config.deploy):
        _attempt(services, "deployment files are not pinned", lambda: _pins(services, version))


def _attempt(services: Services, lacking: str, step: Callable[[], None]) -> None:
    best_effort(step, services.ui.warn, lacking, None)


def _notes(services: Services, asked: Resolved) -> None:
    from podbuild.commands.notes import (  # noqa: PLC0415  # where asked for
        noted,
        open_forge,
        say_outcome,
        update_notes,
    )

    access = open_forge(services, asked)
    found = noted(services, asked.version, Request())
    outcome = update_notes(access, found, create=services.config.notes.create)
    say_outcome(services, access, outcome)


def _pins(services: Services, version: Version) -> None:
    from podbuild.commands.pin import pin_files, pin_tasks, write_pins  # noqa: PLC0415

    chosen = [each for each in services.config.deploy if each.update]
    borders = Borders.around(services.config.root)
    found = pin_files(services, pin_tasks(services, version, (), chosen, borders), Request())
    write_pins(found)
    for each in found:
        if each.is_stale:
            services.ui.info(f"{shown(each.path)} names {each.wanted} now; commit it")
