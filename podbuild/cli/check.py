"""`podbuild check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from podbuild.build.inputs import lint
from podbuild.cli.findings import Renderings, give_findings
from podbuild.cli.options import FORMS, Common, common_options, form_option, option
from podbuild.cli.session import open_session
from podbuild.commands import check, rules
from podbuild.commands import order as step_order
from podbuild.errors import ConfigError
from podbuild.plan.git import worktree
from podbuild.report import audit as audit_report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podbuild.system.console import Ui
    from podbuild.system.records import JSONValue


@click.command(
    epilog="\b\nExamples:\n  podbuild check\n  podbuild check -f other/podbuild.toml --json\n"
    "  podbuild check --order               # which steps run again too often\n"
    "  podbuild check --format sarif > check.sarif"
)
@option(
    "--order",
    is_flag=True,
    help="Also say what the order of steps costs a commit, by git's history and the last build.",
)
@form_option(*FORMS)
@common_options
def command(common: Common, form: str, order: bool) -> int:
    """Validate the configuration and the Containerfiles it names.

    Needs no engine and asks no registry. Also warns of file modes that a fresh clone would not
    have. An error is exit code 2; warnings and notes are not. `# podbuild: ignore=RULE` above an
    instruction, or `[audit] ignore`, silences a rule (docs/audit.md).
    """
    with open_session(common) as session:
        config = session.config()
        modes = check.check_modes(worktree.tracked_modes(session.runner, config.root))
        wrong = (*check.check_output(config, session.runner), *check.check_project(config), *modes)
        findings = (*wrong, *rules.check_rules(config))
        if order:
            advice = step_order.check_order(config, session.runner)
            said = {(each.file, each.line, each.rule) for each in advice}
            rest = (each for each in findings if (each.file, each.line, each.rule) not in said)
            findings = (*rest, *advice)
        for finding in findings if form == "text" else ():
            _say(session.ui, finding)
        errors = sum(finding.level is lint.Level.ERROR for finding in findings)
        written = Renderings(
            text=lambda: _summary(findings),
            markdown=lambda: audit_report.findings_markdown("Check", findings),
            value=_json(findings),
        )
        give_findings(session, "check", form, findings, written)
        return ConfigError.exit_code if errors else 0


def _say(ui: Ui, finding: lint.Finding) -> None:
    rule = f" [{finding.rule}]" if finding.rule else ""
    hint = f"{rule} (hint: {finding.hint})" if finding.hint else rule
    match finding.level:
        case lint.Level.ERROR:
            ui.fail(ConfigError(str(finding), hint=finding.hint))
        case lint.Level.WARNING:
            ui.warn(f"{finding.message}{hint}", file=finding.file, line=finding.line)
        case lint.Level.NOTE:
            ui.note(f"{finding.message}{hint}", file=finding.file, line=finding.line)


def _summary(findings: Sequence[lint.Finding]) -> str:
    counts = [
        f"{count} {level}{'s' if count > 1 else ''}"
        for level in lint.Level
        if (count := sum(finding.level is level for finding in findings))
    ]
    return ", ".join(counts) or "all good"


def _json(findings: Sequence[lint.Finding]) -> JSONValue:
    return {
        "schema": 1,
        "findings": [
            {
                "level": finding.level.value,
                "file": finding.file,
                "line": finding.line,
                "message": finding.message,
                "hint": finding.hint,
                "rule": finding.rule,
            }
            for finding in findings
        ],
    }
