"""What podbuild writes into the output folder, and what there is its own by what it holds.

Many projects build into `dist/` themselves, and other tools write files of the same names there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path

from podbuild.system.files import read_plain, whole_name
from podbuild.system.records import parse_json


class ReportFile(StrEnum):
    """The files that reports are written to, below the output folder."""

    ARTIFACTS = "artifacts.json"
    AUDIT = "audit.json"
    DIGESTS = "digests.txt"
    LOCK = "images.lock.json"
    JUNIT = "logs/junit.xml"
    METADATA = "metadata.json"
    METRICS = "metrics.json"
    NUMBERS = "metrics.txt"
    PAGE = "report.html"
    PLAN = "plan.json"
    SUMMARY = "summary.md"
    TRACE = "trace.json"
    VARIABLES = "podbuild.env"


OUTPUT_MARK = ".podbuild"  # no other tool writes such a name

# Everything that a release writes there (design, "Files a release leaves"); a test compares.
OUTPUT_NAMES = (
    OUTPUT_MARK,
    "artifacts.json",
    "audit.json",
    "digests.txt",
    "images.lock.json",
    "logs",
    "metadata.json",
    "metrics.json",
    "metrics.txt",
    "plan.json",
    "podbuild.env",
    "registry",
    "relocation.json",
    "report.html",
    "staging",
    "state.json",
    "state-*.json",
    "statements",
    "summary.md",
    "trace.json",
)

_LOG = re.compile(r".+-[a-z0-9]+-[a-z0-9]+(-v\d)?(-check-[A-Za-z0-9._-]+)?\.(log|sarif)|junit\.xml")
_STATEMENT = re.compile(r".+\.(sigstore|intoto)\.json")
_TEXTS = ("digests.txt", "metrics.txt", "podbuild.env", "report.html", "summary.md")
_RECORDS = (
    "artifacts.json",
    "audit.json",
    "metadata.json",
    "metrics.json",
    "plan.json",
    "state.json",
)
_LOCK = "images.lock.json"


def foreign_names(output: Path) -> Iterator[str]:
    """Give what stands in the output folder under podbuild's names and was not written by it."""
    for name in sorted({*_TEXTS, *_MARKS}):
        if (output / name).exists() and not is_ours(output, name):
            yield name


def own_logs(output: Path) -> Iterator[str]:
    """Give the names of the logs that podbuild wrote; files of others may lie beside them."""
    logs = output / "logs"
    names = sorted(entry.name for entry in logs.iterdir()) if logs.is_dir() else []
    yield from (f"logs/{name}" for name in names if _LOG.fullmatch(whole_name(name)))


def torn_names(output: Path) -> Iterator[str]:
    """Give the names of what killed runs did not write to the end, by podbuild's own form alone."""
    try:
        names = sorted(entry.name for entry in os.scandir(output))
    except OSError:
        return
    for name in names:
        whole = whole_name(name)
        if whole != name and any(fnmatchcase(whole, each) for each in OUTPUT_NAMES):
            yield name


def remove_torn(output: Path) -> None:
    """Remove what killed runs did not write to the end; for whoever holds the project's lock."""
    logs = (name for name in own_logs(output) if whole_name(Path(name).name) != Path(name).name)
    for name in (*torn_names(output), *logs):
        with suppress(OSError):  # a folder is nobody's part
            (output / name).unlink()


def is_ours(output: Path, name: str) -> bool:
    """Tell whether podbuild wrote what stands under one of its names.

    Its records carry a schema number, its folders are OCI layouts and logs of jobs, and its texts
    stand beside a record.
    """
    if name in _TEXTS:
        beside = any((output / each).exists() and _has_schema(output / each) for each in _RECORDS)
        return beside or not (output / name).stat().st_size
    return _MARKS[name](output / name)


def _has_schema(file: Path) -> bool:
    """Tell whether a file is a record of podbuild's, or holds nothing of anybody's."""
    try:
        data = read_plain(file).strip()
        if data in (b"", b"{}"):
            return True
        value = parse_json(data)
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and isinstance(value.get("schema"), int)


def _is_layout(folder: Path) -> bool:
    """Tell whether a folder is a layout, or holds nothing but layouts."""
    try:
        entries = list(folder.iterdir())
    except OSError:
        return False
    return not entries or any((place / "oci-layout").is_file() for place in _three_deep(folder))


def _three_deep(folder: Path) -> Iterator[Path]:
    yield folder
    for depth in ("*", "*/*", "*/*/*"):
        yield from folder.glob(depth)


def _is_logs(folder: Path) -> bool:
    try:
        return all(_LOG.fullmatch(whole_name(entry.name)) for entry in folder.iterdir())
    except OSError:
        return False


def _is_statements(folder: Path) -> bool:
    try:
        return all(_STATEMENT.fullmatch(whole_name(entry.name)) for entry in folder.iterdir())
    except OSError:
        return False


_MARKS: Mapping[str, Callable[[Path], bool]] = {
    **dict.fromkeys((*_RECORDS, _LOCK, "relocation.json", "trace.json"), _has_schema),
    **dict.fromkeys(("registry", "staging"), _is_layout),
    "logs": _is_logs,
    "statements": _is_statements,
}
