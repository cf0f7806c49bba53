"""What follows a release that stands: its notes and the files that deploy it, best effort.

Nothing here changes how the release ended.
"""

from __future__ import annotations

from collections.abc import Callable

from podbuild.commands import notes, pin
from podbuild.commands.borders import Borders
from podbuild.config.toml import shown
from podbuild.errors import best_effort
from podbuild.plan.git.history import Resolved
from podbuild.plan.model import Request
from podbuild.report.model import ReleaseResult, Report
from podbuild.semver import Version
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
    access = notes.open_forge(services, asked)
    found = notes.noted(services, asked.version, Request())
    outcome = notes.update_notes(access, found, create=services.config.notes.create)
    notes.say_outcome(services, access, outcome)


def _pins(services: Services, version: Version) -> None:
    chosen = [each for each in services.config.deploy if each.update]
    borders = Borders.around(services.config.root)
    found = pin.pin_files(
        services, pin.pin_tasks(services, version, (), chosen, borders), Request()
    )
    pin.write_pins(found)
    for each in found:
        if each.is_stale:
            services.ui.info(f"{shown(each.path)} names {each.wanted} now; commit it")
