"""YAML of other tools with the line of each value."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

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
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: {str(error).partition(chr(10))[0]}", hint="mend it") from None
    return _node(root) if root else Said(1, "")


def _node(raw: object) -> Said:
    """Give a node of the parser with its line; merge keys are resolved."""
    line = raw.start_mark.line + 1  # type: ignore[attr-defined]
    value = raw.value  # type: ignore[attr-defined]
    if isinstance(value, str):
        return Said(
            line,
            value,
            is_null=str(raw.tag).endswith(":null"),  # type: ignore[attr-defined]
            is_block=raw.style in ("|", ">"),  # type: ignore[attr-defined]
        )
    if not value or not isinstance(value[0], tuple):
        return Said(line, [_node(each) for each in value])
    own = {key.value: _node(each) for key, each in value if key.value != "<<"}
    merged: dict[str, Said] = {}
    for key, each in value:
        if key.value == "<<":
            found = _node(each)
            for table in (found, *reversed(found.items)):
                merged |= table.table
    return Said(line, merged | own)
