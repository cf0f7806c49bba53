"""Write all reports. What can't be written is said, and never fails a release that is out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from podbuild.config.output import ReportFile
from podbuild.errors import PodbuildError
from podbuild.report import github
from podbuild.report.gitlab import dotenv, junit_xml
from podbuild.report.json import (
    artifacts_json,
    digests_txt,
    lock_json,
    lock_of,
    metadata_json,
    metrics_json,
)
from podbuild.report.markdown import LIMIT, cut, summary_markdown
from podbuild.report.model import Report
from podbuild.system.files import write_atomically
from podbuild.system.later import dataclass
from podbuild.system.records import JSONValue, parse_json
from podbuild.system.redact import Redactor


@dataclass(frozen=True)
class Written:
    """The files that were written, and one line for each that was not or not completely."""

    paths: tuple[Path, ...]
    problems: tuple[str, ...]


def write_reports(
    report: Report, folder: Path, environment: Mapping[str, str], redactor: Redactor
) -> Written:
    """Write the files of a release into its output folder, and the CI's outputs and summary.

    Secrets are cut before anything is rendered, and out of what is rendered again.
    """
    whole, report = report, redactor.cut_value(report)
    environs = dotenv(report)
    texts = {
        ReportFile.ARTIFACTS: artifacts_json(report),
        ReportFile.METADATA: metadata_json(report),
        ReportFile.METRICS: metrics_json(report),
        ReportFile.DIGESTS: digests_txt(report),
        ReportFile.SUMMARY: summary_markdown(report),
        ReportFile.VARIABLES: environs.text,
        ReportFile.JUNIT: junit_xml(report),
    }
    if report.references:  # what an earlier release left stays true while nothing is live of this
        texts[ReportFile.LOCK] = lock_json(lock_of(report))
    jobs = [_replacing(folder / name, _clean(name, text, redactor)) for name, text in texts.items()]
    outcomes = [*map(_attempt, jobs), *_for_github(whole, environment, redactor)]
    return Written(
        tuple(outcome for outcome in outcomes if isinstance(outcome, Path)),
        (*environs.problems, *(outcome for outcome in outcomes if isinstance(outcome, str))),
    )


def write_plan(plan: JSONValue, folder: Path, redactor: Redactor) -> Path:
    """Write plan.json and give its path. `plan` carries its own schema number.

    It is the first file of a release, so that a folder that can't be written to ends it while
    nothing has happened: raises ConfigError, or BuildError where no space is left.
    """
    text = json.dumps(redactor.cut_json(plan), indent=2, ensure_ascii=False) + "\n"
    path = folder / ReportFile.PLAN
    write_atomically(path, text.encode())
    return path


def write_audit(audit: JSONValue, folder: Path, redactor: Redactor) -> Path:
    """Write audit.json and give its path; raises ConfigError where it can't be written."""
    text = json.dumps(redactor.cut_json(audit), indent=1, ensure_ascii=False) + "\n"
    path = folder / ReportFile.AUDIT
    write_atomically(path, text.encode())
    return path


def _clean(name: str, text: str, redactor: Redactor) -> str:
    """Cut secrets; inside the values of JSON, so that it stays JSON."""
    if not name.endswith(".json"):
        return redactor.cut(text)
    return json.dumps(redactor.cut_json(parse_json(text)), indent=2, ensure_ascii=False) + "\n"


def _for_github(
    report: Report, environment: Mapping[str, str], redactor: Redactor
) -> Iterator[Path | str]:
    """Append to the files that the runner names; other steps of the job write there too."""
    known = redactor.cut_value(report)
    target = environment.get("GITHUB_OUTPUT")
    if target:
        found = github.github_outputs(known)
        clean = redactor.cut(found.text)
        yield from found.problems
        if clean != found.text or github.outputs(known) != github.outputs(report):
            yield (
                "a secret stood in the CI outputs and was cut; GitHub would drop them "
                "(store a registry's user name as a variable, not as a secret)"
            )
        yield _attempt(_appending(Path(target), clean))
    target = environment.get("GITHUB_STEP_SUMMARY")
    if target:
        room = LIMIT - _size(Path(target)) - 1
        text = cut(redactor.cut(summary_markdown(known)), room)
        yield _attempt(_appending(Path(target), text)) if text else f"{target}: is full"


@dataclass(frozen=True)
class _Job:
    path: Path
    write: Callable[[], None]


def _attempt(job: _Job) -> Path | str:
    try:
        job.write()
    except PodbuildError as error:
        return error.message
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        return f"{job.path}: can't be written: {reason}"
    return job.path


def _replacing(path: Path, text: str) -> _Job:
    return _Job(path, lambda: write_atomically(path, text.encode("utf-8", "replace")))


def _appending(path: Path, text: str) -> _Job:
    def append() -> None:
        with path.open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            start = b"" if file.read() in (b"", b"\n") else b"\n"
            file.write(start + text.encode("utf-8", "replace"))

    return _Job(path, append)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0
