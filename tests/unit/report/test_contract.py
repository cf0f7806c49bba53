"""What is promised of answers and files: well formed, and kept by what is written."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from podbuild.cli import COMMANDS
from podbuild.oci.names import Digest
from podbuild.plan.model import Plan
from podbuild.report.contract import GITHUB_OUTPUTS, VARIABLES, JsonOutput, promised
from podbuild.report.github import outputs as github_outputs
from podbuild.report.gitlab import PREFIX, variables
from podbuild.report.json import summary_json
from podbuild.report.model import Failure, ReleaseResult, Report, StatementReport
from podbuild.report.plan import NOTHING_FORESEEN, Foreseen, plan_json
from podbuild.report.write import write_plan, write_reports
from podbuild.system.redact import Redactor
from tests.contract import FILES, validator, wrong, wrong_files
from tests.unit.report.test_formats import EMPTY, REPORT
from tests.unit.report.test_plan_text import foreseen, plan

__all__ = ["plan"]  # a fixture

BROKEN = replace(
    REPORT,
    result=ReleaseResult.FAILED,
    date=None,
    failure=Failure(exit_code=5, message="it broke", run_code=7),
    statements=(StatementReport(subject="web", referrer=Digest.of(b"x"), kinds=("sbom",)),),
)


@pytest.mark.parametrize("each", promised(), ids=lambda each: each.name)
def test_each_schema_is_one_and_every_key_says_what_it_means(each: JsonOutput) -> None:
    validator(each.name)
    silent = [key.path for key in each.keys if not key.meaning and not key.path.endswith("[]")]
    assert not [path for path in silent if path != "superseded[].digest"]
    assert each.keys[0].path in ("schema", "digest")
    paths = [key.path for key in each.keys]
    assert len(paths) == len(set(paths))


def test_the_commands_that_are_named_exist() -> None:
    named = {
        word
        for each in promised()
        if each.where.startswith("podbuild ")
        for word in re.findall(r"[a-z]+", each.where.partition(";")[0].removeprefix("podbuild "))
    }
    given = {"run", "sbom", "completion"}  # a program's, SPDX's and a shell's forms
    assert COMMANDS.keys() - given <= named
    assert named - {"dry", "run", "show", "install", "format", "print", "matrix"} <= COMMANDS.keys()


@pytest.mark.parametrize("report", [REPORT, EMPTY, BROKEN], ids=["published", "empty", "broken"])
def test_reports_keep_what_is_promised(report: Report, tmp_path: Path, plan: Plan) -> None:
    write_reports(report, tmp_path, {}, Redactor())
    write_plan(plan_json(plan), tmp_path, Redactor())
    if not (tmp_path / "images.lock.json").exists():
        (tmp_path / "images.lock.json").write_text(
            '{"schema": 1, "project": "", "version": "", "images": {}}'
        )
    assert wrong_files(tmp_path) == {}
    assert wrong("summary", summary_json(report)) == []
    assert {path.name for path in tmp_path.glob("*.json")} == FILES.keys()


def test_plans_keep_what_is_promised(plan: Plan) -> None:
    for found in (NOTHING_FORESEEN, foreseen(plan), Foreseen(unknown="x")):
        assert wrong("plan", {**plan_json(plan), **found.to_json()}) == []


def test_outputs_of_ci_systems_are_those_that_are_named() -> None:
    names = {re.sub(r"^digest-\w+$", "digest-REGISTRY", name) for name in github_outputs(REPORT)}
    assert names == GITHUB_OUTPUTS.keys()
    assert [f"{PREFIX}{name}" for name in variables(REPORT)] == [*VARIABLES]


def test_what_is_not_promised_is_noticed() -> None:
    value = json.loads(json.dumps(summary_json(REPORT)))
    assert wrong("summary", {**value, "more": 1})
    del value["images"]["web"]["digest"]
    assert wrong("summary", value) == ["$.images.web: 'digest' is a required property"]
