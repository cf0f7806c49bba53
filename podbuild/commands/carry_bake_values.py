"""The values of a bake file: texts, lists and tables with its variables put in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from podbuild.commands.carry import literal
from podbuild.commands.carry_hcl import (
    Function,
    Scope,
    UnknownValueError,
    Value,
    as_text,
    fill,
    read_value,
)


@dataclass
class BakeValues:
    """Reads values as the file's format has them."""

    document: Mapping[str, object]
    is_json: bool
    variables: dict[str, Value] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)

    def row(self, table: Mapping[str, object], scope: Mapping[str, Value]) -> str:
        """Give a table as it is written on a command line."""
        rows = (f"{key.strip(chr(34))}={self.text(v, scope)}" for key, v in table.items())
        return ",".join(rows)

    def texts(self, value: object, scope: Mapping[str, Value] | None = None) -> Iterator[str]:
        """Give the texts that are known."""
        for each in value if isinstance(value, list) else [value] if value else []:
            try:
                yield from self.strictly([each], scope or {})
            except UnknownValueError:
                continue

    def strictly(self, value: object, scope: Mapping[str, Value]) -> Iterator[str]:
        """Give the texts of a list, and of lists in it."""
        found = self.read(value, scope)
        for each in found if isinstance(found, list) else [found]:
            for text in each if isinstance(each, list) else [each]:
                yield as_text(text)

    def text(self, value: object, scope: Mapping[str, Value]) -> str:
        """Give a value with variables put in; raises UnknownValueError."""
        return as_text(self.read(value, scope))

    def read(self, value: object, scope: Mapping[str, Value]) -> Value:
        """Give a value with variables put in; raises UnknownValueError."""
        known = Scope(names={**self.variables, **scope}, functions=self.functions)
        if not self.is_json:
            return read_value(value, known)
        if isinstance(value, list):
            return [self.read(each, scope) for each in value]
        if not isinstance(value, str):
            return read_value(value, known)
        # Of what bake printed itself, nothing is left to fill in (older ones did not say `$$`).
        printed = not {"variable", "function"} & self.document.keys()
        return (
            literal(value.replace("$${", "${").replace("%%{", "%{"))
            if printed
            else fill(value, known)
        )
