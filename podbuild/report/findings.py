"""Findings for machines: SARIF, GitLab's code quality, GitHub's annotations.

Sources: SARIF 2.1.0 (OASIS) and GitHub's limits for uploads; GitLab, "Code Quality", "Code
Quality report format"; GitHub, "Workflow commands", and the limits of annotations of a step.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from podbuild import __version__
from podbuild.build.inputs.lint import Finding, Level
from podbuild.system.console.text import command_data, command_property, one_line
from podbuild.system.records import JSONValue

_SARIF_LEVELS = {Level.ERROR: "error", Level.WARNING: "warning", Level.NOTE: "note"}
_SEVERITIES = {Level.ERROR: "critical", Level.WARNING: "minor", Level.NOTE: "info"}
_COMMANDS = {Level.ERROR: "error", Level.WARNING: "warning", Level.NOTE: "notice"}
_MOST_RESULTS = 25_000  # of one run; GitHub refuses more
_MOST_ANNOTATIONS = 10  # of each level in a step; GitHub drops the rest without a word
_DOCS = "https://github.com/podbuild/podbuild/blob/main/docs/audit.md"


@dataclass(frozen=True, kw_only=True)
class Spot:
    """Where findings stand: `prefix` leads from the repository's root to the project's folder."""

    tool: str  # the command: audit, check
    prefix: str = ""

    def path(self, file: str) -> str:
        """Give a file's path from the repository's root, with slashes, without dots."""
        parts: list[str] = []
        for part in f"{self.prefix}/{file}".split("/"):
            if part == ".." and parts:
                parts.pop()
            elif part not in ("", ".", ".."):
                parts.append(part)
        return "/".join(parts)


def fingerprints(findings: Sequence[Finding], spot: Spot) -> tuple[str, ...]:
    """Give what each finding is known by: rule, file and the instruction's text, not its line.

    Several of the same are told apart by their order, so that none hides another.
    """
    seen: Counter[str] = Counter()
    found = []
    for each in findings:
        parts = (each.rule, spot.path(each.file), each.image, each.text, each.subject)
        text = "\0".join((*parts, "" if each.text or each.subject else each.message))
        found.append(hashlib.sha256(f"{text}\0{seen[text]}".encode()).hexdigest())
        seen[text] += 1
    return tuple(found)


def sarif(findings: Sequence[Finding], spot: Spot) -> JSONValue:
    """Give a SARIF 2.1.0 log; what is too much for GitHub is left out, the least bad first."""
    kept = findings[:_MOST_RESULTS]
    rules = sorted({each.rule or spot.tool for each in kept})
    known = fingerprints(kept, spot)
    run: dict[str, JSONValue] = {
        "tool": {
            "driver": {
                "name": "podbuild",
                "version": __version__,
                "informationUri": "https://github.com/podbuild/podbuild",
                "rules": [_sarif_rule(rule) for rule in rules],
            }
        },
        "automationDetails": {"id": f"podbuild/{spot.tool}/"},
        "columnKind": "unicodeCodePoints",
        "results": [_sarif_result(each, spot, rules, known[at]) for at, each in enumerate(kept)],
    }
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }


def _sarif_rule(rule: str) -> JSONValue:
    return {
        "id": rule,
        "shortDescription": {"text": rule.replace("-", " ")},
        "helpUri": f"{_DOCS}#{rule}",
    }


def _sarif_result(each: Finding, spot: Spot, rules: list[str], known: str) -> JSONValue:
    rule = each.rule or spot.tool
    result: dict[str, JSONValue] = {
        "ruleId": rule,
        "ruleIndex": rules.index(rule),
        "level": _SARIF_LEVELS[each.level],
        "message": {"text": _whole(each)},
        "locations": [_location(spot.path(each.file), each.line)],
        "partialFingerprints": {"primaryLocationLineHash": known},
    }
    if each.related:
        result["relatedLocations"] = [
            {**_location(spot.path(file), line), "id": at, "message": {"text": "made here"}}
            for at, (file, line) in enumerate(each.related, 1)
        ]
    if each.bytes:
        result["properties"] = {"bytes": each.bytes}
    return result


def _location(path: str, line: int | None) -> dict[str, JSONValue]:
    artifact: JSONValue = {"uri": _uri(path), "uriBaseId": "%SRCROOT%"}
    return {"physicalLocation": {"artifactLocation": artifact, "region": {"startLine": line or 1}}}


def _uri(path: str) -> str:
    return quote(path, safe="/")


def code_quality(findings: Sequence[Finding], spot: Spot) -> JSONValue:
    """Give GitLab's code quality report."""
    return [
        {
            "description": _whole(each),
            "check_name": each.rule or spot.tool,
            "fingerprint": known,
            "severity": _SEVERITIES[each.level],
            "location": {"path": spot.path(each.file), "lines": {"begin": each.line or 1}},
        }
        for each, known in zip(findings, fingerprints(findings, spot), strict=True)
    ]


def github_annotations(findings: Sequence[Finding], spot: Spot) -> Iterator[str]:
    """Give GitHub's workflow commands, the worst first, as many as it shows; then their number."""
    shown: Counter[Level] = Counter()
    for each in findings:
        # The last one of its level says how many more there are.
        if shown[each.level] == _MOST_ANNOTATIONS - 1:
            more = sum(other.level is each.level for other in findings) - shown[each.level]
            if more > 1:
                shown[each.level] += 1
                yield f"::{_COMMANDS[each.level]} title=podbuild {spot.tool}::and {more} more"
                continue
        if shown[each.level] >= _MOST_ANNOTATIONS:
            continue
        shown[each.level] += 1
        place = f"file={command_property(spot.path(each.file))}"
        if each.line:
            place += f",line={each.line}"
        title = command_property(each.rule or f"podbuild {spot.tool}")
        yield f"::{_COMMANDS[each.level]} {place},title={title}::{command_data(_whole(each))}"


def _whole(each: Finding) -> str:
    """Give a finding's words on one line, without its place."""
    where = f"{each.image} {', '.join(map(str, each.platforms))}: " if each.image else ""
    hint = f" (instead: {each.hint})" if each.hint else ""
    return one_line(f"{where}{each.message}{hint}")


def finding_json(each: Finding) -> dict[str, JSONValue]:
    """Give a finding's record."""
    return {
        "level": each.level.value,
        "file": each.file,
        "line": each.line,
        "message": each.message,
        "hint": each.hint,
        "rule": each.rule,
        "image": each.image,
        "platforms": [str(platform) for platform in each.platforms],
        "bytes": each.bytes,
    }
