"""`podbuild check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from podbuild.cli.options import FORMS, Common, common_options, form_option, option
from podbuild.cli.session import open_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from podbuild.build.inputs.lint import Finding
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
        from podbuild.build.inputs.lint import Level  # noqa: PLC0415
        from podbuild.cli.findings import Renderings, give_findings  # noqa: PLC0415
        from podbuild.commands.check import (  # noqa: PLC0415
            check_modes,
            check_output,
            check_project,
        )
        from podbuild.commands.rules import check_rules  # noqa: PLC0415
        from podbuild.errors import ConfigError  # noqa: PLC0415
        from podbuild.plan.git.worktree import (  # noqa: PLC0415  # --help is asked often
            tracked_modes,
        )
        from podbuild.report.audit import findings_markdown  # noqa: PLC0415

        config = session.config()
        modes = check_modes(tracked_modes(session.runner, config.root))
        wrong = (*check_output(config, session.runner), *check_project(config), *modes)
        findings = (*wrong, *check_rules(config))
        if order:
            from podbuild.commands.order import check_order  # noqa: PLC0415  # asks git

            advice = check_order(config, session.runner)
            said = {(each.file, each.line, each.rule) for each in advice}
            rest = (each for each in findings if (each.file, each.line, each.rule) not in said)
            findings = (*rest, *advice)
        for finding in findings if form == "text" else ():
            _say(session.ui, finding)
        errors = sum(finding.level is Level.ERROR for finding in findings)
        written = Renderings(
            text=lambda: _summary(findings),
            markdown=lambda: findings_markdown("Check", findings),
            value=_json(findings),
        )
        give_findings(session, "check", form, findings, written)
        return ConfigError.exit_code if errors else 0


def _say(ui: Ui, finding: Finding) -> None:
    from podbuild.build.inputs.lint import Level  # noqa: PLC0415
    from podbuild.errors import ConfigError  # noqa: PLC0415

    rule = f" [{finding.rule}]" if finding.rule else ""
    hint = f"{rule} (hint: {finding.hint})" if finding.hint else rule
    match finding.level:
        case Level.ERROR:
            ui.fail(ConfigError(str(finding), hint=finding.hint))
        case Level.WARNING:
            ui.warn(f"{finding.message}{hint}", file=finding.file, line=finding.line)
        case Level.NOTE:
            ui.note(f"{finding.message}{hint}", file=finding.file, line=finding.line)


def _summary(findings: Sequence[Finding]) -> str:
    from podbuild.build.inputs.lint import Level  # noqa: PLC0415

    counts = [
        f"{count} {level}{'s' if count > 1 else ''}"
        for level in Level
        if (count := sum(finding.level is level for finding in findings))
    ]
    return ", ".join(counts) or "all good"


def _json(findings: Sequence[Finding]) -> JSONValue:
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
