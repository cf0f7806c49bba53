"""Findings as machines read them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from podbuild.build.inputs.lint import Finding, Level
from podbuild.oci.names import Platform
from podbuild.report.findings import Spot, code_quality, fingerprints, github_annotations, sarif
from tests.schemas import problems

FOUND = Finding(
    level=Level.WARNING,
    file="web/Container file",
    line=9,
    message="3.0 MB of package lists: /var/lib/apt/lists\n100%",
    hint="delete them",
    rule="package-lists",
    image="web",
    platforms=(Platform("linux", "amd64"), Platform("linux", "arm64")),
    bytes=3_000_000,
    text="RUN apt-get update",
    related=(("base/Containerfile", 4),),
)
PLAIN = Finding(level=Level.ERROR, file="../podbuild.toml", message="an error of the file")
NOTE = replace(FOUND, level=Level.NOTE, related=())
SPOT = Spot(tool="audit", prefix="services/shop")


def test_sarif_is_valid_and_says_what_a_reader_needs() -> None:
    log = json.loads(json.dumps(sarif((PLAIN, FOUND, NOTE), SPOT)))
    assert problems(log, "sarif-2.1.0") == []
    (run,) = log["runs"]
    first, second, _ = run["results"]
    assert first["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "services/podbuild.toml", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 1},
    }
    place = second["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "services/shop/web/Container%20file"
    assert place["region"] == {"startLine": 9}
    assert second["ruleId"] == "package-lists"
    assert run["automationDetails"]["id"] == "podbuild/audit/"


def test_the_validator_finds_what_is_no_sarif() -> None:
    log = json.loads(json.dumps(sarif((FOUND,), SPOT)))
    log["runs"][0]["results"][0]["level"] = "bad"
    log["runs"][0]["tool"]["driver"]["names"] = ""
    assert len(problems(log, "sarif-2.1.0")) == 2


def test_code_quality_is_what_gitlab_reads() -> None:
    entries = code_quality((PLAIN, FOUND, NOTE), SPOT)
    assert problems(entries, "gitlab-code-quality") == []
    severities = [each["severity"] for each in json.loads(json.dumps(entries))]
    assert severities == ["critical", "minor", "info"]


def test_a_finding_is_the_same_one_wherever_its_line_moves_to() -> None:
    moved = replace(FOUND, line=400, bytes=1, message="1 B")
    assert fingerprints((FOUND,), SPOT) == fingerprints((moved,), SPOT)
    other = replace(FOUND, text="RUN apt-get install")
    assert len({*fingerprints((FOUND, FOUND, other, PLAIN), SPOT)}) == 4


@pytest.mark.parametrize(("count", "shown"), [(1, 1), (10, 10), (11, 10), (300, 10)])
def test_annotations_stay_within_what_github_shows(count: int, shown: int) -> None:
    findings = [replace(FOUND, line=at + 1) for at in range(count)]
    lines = list(github_annotations([*findings, NOTE], SPOT))
    warnings = [line for line in lines if line.startswith("::warning ")]
    assert len(warnings) == shown
    assert len(lines) == shown + 1
    assert warnings[0] == (
        "::warning file=services/shop/web/Container file,line=1,title=package-lists::"
        "web linux/amd64, linux/arm64: 3.0 MB of package lists: /var/lib/apt/lists 100%25 "
        "(instead: delete them)"
    )
    if count > shown:
        assert warnings[-1].endswith(f"::and {count - shown + 1} more")
