"""The declaration of keys, as people and editors read it: reference, JSON schema, TOML text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, replace
from decimal import Decimal

from podbuild.config.image import ImageTags
from podbuild.config.keys import UNITS, Declared, Schema
from podbuild.config.sections import SECTIONS, Table
from podbuild.config.toml import toml_key, toml_string
from podbuild.config.trials import SIZE, SizeBudget
from podbuild.system.records import JSONValue

WIDTH = 96  # of lines that are written
COLUMN = 40  # where comments begin, if there is room


def as_toml(value: object) -> str:
    r"""Give a configuration value as TOML text; a float is a duration in seconds.

    >>> as_toml(("a", 86400.0, True))
    '["a", "1d", true]'
    """
    match value:
        case tuple():
            return f"[{', '.join(map(as_toml, value))}]"
        case Mapping():
            items = (f"{toml_key(str(name))} = {as_toml(item)}" for name, item in value.items())
            return f"{{ {', '.join(items)} }}" if value else "{}"
        case bool() | int():
            return json.dumps(value)
        case Decimal():
            return str(value)
        case _:
            return toml_string(_plain(value))


def _plain(value: object) -> str:
    match value:
        case float():
            return duration_text(value)
        case re.Pattern():
            return str(value.pattern)
        case _:
            return str(value)


def duration_text(seconds: float) -> str:
    """Give seconds as the configuration writes them.

    >>> duration_text(5400.0)
    '90m'
    """
    for unit, size in UNITS.items():
        if seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{seconds}s"


def size_text(count: int) -> str:
    """Give bytes as the configuration writes them.

    >>> size_text(20_000_000_000), size_text(1_500)
    ('20GB', '1500B')
    """
    fits = (power for power in (9, 6, 3) if count and count % 10**power == 0)
    power = next(fits, 0)
    return f"{count // 10**power}{ {9: 'GB', 6: 'MB', 3: 'kB'}.get(power, 'B') }"


def example(each: Declared) -> str:
    """Give a value to show for a key: its example, else its default."""
    return each.key.example or as_toml(each.default)


def default_text(each: Declared) -> str:
    """Give what a key is where it is not written; empty for nothing."""
    if each.required:
        return "required"
    if each.default is MISSING or each.default in (None, "", (), ImageTags(), SizeBudget()):
        return ""
    if each.name in _COMPUTED:
        return ""
    if each.key.kind == SIZE:
        return toml_string(size_text(int(str(each.default))))
    return as_toml(each.default)


_COMPUTED = ("containerfile", "context")  # their help says what they are without the key


def reference() -> str:
    """Give the reference of podbuild.toml as Markdown."""
    return "\n".join(line for section in SECTIONS for line in _section_lines(section))


def _section_lines(section: Table) -> Iterator[str]:
    name = f"{section.name}.NAME" if section.named else section.name
    title = f"[[{name}]]" if section.listed else f"[{name}]"
    yield from (f"### `{title}`", "", f"{section.help[:1].upper()}{section.help[1:]}.", "")
    if section.keys:
        yield from ("| key | value | default | meaning |", "|---|---|---|---|")
        above = (replace(each, name=f"{section.name}.{each.name}") for each in section.own)
        for each in (*above, *section.keys):
            cells = (f"`{each.name}`", each.key.kind.says, _code(default_text(each)), each.key.help)
            yield f"| {' | '.join(map(_cell, cells))} |"
        yield ""


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _code(text: str) -> str:
    return f"`{text}`" if text and text != "required" else text


def json_schema() -> Schema:
    """Give the JSON schema of podbuild.toml, for editors."""
    required: list[JSONValue] = [section.name for section in SECTIONS if section.required]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "podbuild.toml",
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": {section.name: section.schema for section in SECTIONS},
    }


def commented(
    section: Table,
    given: Mapping[str, str],
    *,
    name: str = "",
    keys: Iterable[Declared] | None = None,
) -> Iterator[str]:
    """Give a table as TOML lines: the given keys as they are, the others commented out.

    `given` is by key and holds TOML text; `keys` are those to show, all of them by default.
    """
    header = f"[{section.name}.{toml_key(name)}]" if name else f"[{section.name}]"
    header = f"[{header}]" if section.listed else header
    yield header if given else f"# {header}"
    for each in section.keys if keys is None else keys:
        text = f"{each.name} = {given.get(each.name, example(each))}"
        line = text if each.name in given else f"# {text}"
        if max(len(line), COLUMN) + len(each.key.help) < WIDTH:
            yield f"{line:{COLUMN}}  # {each.key.help}"
        else:
            yield from (f"# {each.key.help}:", line)
