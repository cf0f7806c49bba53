"""How commands answer with findings: `--format`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from podbuild.report import findings as findings_report

if TYPE_CHECKING:
    from pathlib import Path

    from podbuild.build.inputs.lint import Finding
    from podbuild.cli.session import Session
    from podbuild.system.records import JSONValue


@dataclass(frozen=True, kw_only=True)
class Renderings:
    """The answer in the forms that know more than findings."""

    text: Callable[[], str]
    markdown: Callable[[], str]
    value: JSONValue


def give_findings(
    session: Session, tool: str, form: str, findings: Sequence[Finding], written: Renderings
) -> None:
    """Answer in the form that was asked for; paths start from the repository's root for CI."""
    spot = findings_report.Spot(tool=tool, prefix=_prefix(session.config().root))
    match form:
        case "json":
            session.ui.answer_json(written.value)
        case "markdown":
            session.ui.answer(written.markdown().removesuffix("\n"))
        case "sarif":
            session.ui.answer_json(findings_report.sarif(findings, spot))
        case "gitlab":
            session.ui.answer_json(findings_report.code_quality(findings, spot))
        case "github":
            session.ui.answer_commands(findings_report.github_annotations(findings, spot))
        case _:
            session.ui.give(written.text(), written.value)


def _prefix(root: Path) -> str:
    """Give the way from the repository's root to the project's folder."""
    for folder in (root, *root.parents):
        if (folder / ".git").exists():
            return root.relative_to(folder).as_posix()
    return ""
