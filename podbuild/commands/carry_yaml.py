"""YAML of other tools with the line of each value."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podbuild.errors import ConfigError, ToolError


@dataclass(frozen=True)
class Said:
    """A value of the file and its line: a text, a list or a table of nodes."""

    line: int
    value: str | list[Said] | dict[str, Said]
    is_null: bool = False
    is_block: bool = False  # its text begins in the next line

    @property
    def text(self) -> str:
        """Give the text; empty for anything else."""
        return self.value if isinstance(self.value, str) else ""

    @property
    def items(self) -> list[Said]:
        """Give the list; empty for anything else."""
        return self.value if isinstance(self.value, list) else []

    @property
    def table(self) -> Mapping[str, Said]:
        """Give the table; empty for anything else."""
        return self.value if isinstance(self.value, dict) else {}

    def lines(self) -> Iterator[tuple[int, str]]:
        """Give the lines of a text that hold something, with their numbers."""
        for number, text in enumerate(self.text.splitlines(), start=self.line + self.is_block):
            if text.strip():
                yield (number if self.is_block else self.line), text.strip()


def read_yaml(path: Path, file: str) -> Said:
    """Give what a file says, nothing for an empty one.

    Raises ConfigError for what is no YAML, ToolError where it can't be read here.
    """
    try:
        yaml = importlib.import_module("yaml")
    except ImportError:
        raise ToolError(
            "YAML is read with PyYAML, which is not installed",
            hint="pip install 'podbuild[init]'",
        ) from None
    try:
        root = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
        return _node(root, {}) if root else Said(1, "")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}" if mark else file
        hint = "one document for each file" if "single document" in str(error) else "mend it"
        said = [getattr(error, name, None) for name in ("context", "problem")]
        why = ", ".join(filter(None, said)) or str(error).partition("\n")[0]
        raise ConfigError(f"{place}: {why}", hint=hint) from None
    except _OddKeyError as error:
        raise ConfigError(f"{file}:{error.line}: a key that is no text") from None
    except RecursionError:  # also what is a part of itself
        raise ConfigError(f"{file}: its values stand too deep in each other") from None


class _OddKeyError(Exception):
    """A list or table is the key of a value."""

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line


def _node(raw: Any, known: dict[int, Said]) -> Said:
    """Give a node of the parser with its line, each once; merge keys are resolved."""
    if id(raw) not in known:  # few lines name a node a billion times
        known[id(raw)] = _read_node(raw, known)
    return known[id(raw)]


def _read_node(raw: Any, known: dict[int, Said]) -> Said:
    line, value = raw.start_mark.line + 1, raw.value
    if isinstance(value, str):
        is_null, is_block = str(raw.tag).endswith(":null"), raw.style in ("|", ">")
        return Said(line, value, is_null=is_null, is_block=is_block)
    if not value or not isinstance(value[0], tuple):
        return Said(line, [_node(each, known) for each in value])
    for key, _ in value:
        if not isinstance(key.value, str):
            raise _OddKeyError(key.start_mark.line + 1)
    own = {
        key.value: _node(each, known)
        for key, each in value
        if key.value != "<<" and each.tag != "!reset"  # compose's: as if it were not there
    }
    merged: dict[str, Said] = {}
    for key, each in value:
        if key.value == "<<":
            found = _node(each, known)
            for table in (found, *reversed(found.items)):
                merged |= table.table
    return Said(line, merged | own)
