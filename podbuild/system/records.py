"""Small records in podbuild's cache folder: worth having, never needed.

A record that is missing, damaged or can't be written counts as none.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

JSONValue = None | bool | int | float | str | list["JSONValue"] | dict[str, "JSONValue"]


def string_map(value: JSONValue) -> Mapping[str, str]:
    """Give an object's entries whose values are text; empty for anything else."""
    if not isinstance(value, dict):
        return {}
    return {key: text for key, text in value.items() if isinstance(text, str)}


@dataclass(frozen=True)
class Records:
    """The records of one project."""

    folder: Path

    @classmethod
    def of_project(cls, cache: Path, project: Path) -> Records:
        """Give where the records of a project, named by its folder, stand."""
        name = hashlib.sha256(os.fsencode(project)).hexdigest()[:16]
        return cls(cache / "records" / name)

    def read(self, name: str) -> Mapping[str, JSONValue]:
        """Give a record."""
        try:
            value = json.loads((self.folder / name).read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}

    def write(self, name: str, value: Mapping[str, JSONValue]) -> None:
        """Replace a record as a whole."""
        part = self.folder / f".{name}.{os.getpid()}"
        with suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            part.write_text(json.dumps(value, separators=(",", ":")))
            part.replace(self.folder / name)
