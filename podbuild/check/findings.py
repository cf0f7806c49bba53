"""What a check says: how bad, where, what, and what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from podbuild.errors import PodbuildError

_PLACE = re.compile(r"(?P<file>[^\s:][^:]*):(?P<line>\d+): (?P<rest>.*)", re.DOTALL)


class Level(StrEnum):
    """How much a finding matters: an error ends a release, a warning needs a decision."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a check found; `line` counts from 1, None: the file as a whole."""

    level: Level
    file: str
    line: int | None = None
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.message}"


def finding_of(error: PodbuildError, file: str) -> Finding:
    """Give an error as a finding, at the place that its message begins with, else in `file`."""
    found = _PLACE.fullmatch(error.message)
    return Finding(
        level=Level.ERROR,
        file=found["file"] if found else file,
        line=int(found["line"]) if found else None,
        message=found["rest"] if found else error.message.removeprefix(f"{file}: "),
        hint=error.hint,
    )
