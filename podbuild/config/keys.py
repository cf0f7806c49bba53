"""How keys of podbuild.toml are declared, once: kind of value, help text, default.

Parsing, unknown-key errors, the comments of `podbuild init`, the documentation and the JSON
schema all come from this declaration, which stands on the fields of the dataclasses.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Generic, TypeVar

from podbuild.config.template import Template
from podbuild.errors import PodbuildError
from podbuild.system.later import dataclass
from podbuild.system.records import JSONValue

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
Schema = dict[str, JSONValue]

_KEY = "podbuild.key"
_TOML_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "a boolean"),  # before int, which it is too
    (int, "an integer"),
    (float, "a float"),
    (str, "a string"),
    (list, "an array"),
    (dict, "a table"),
)
_DURATION = re.compile(r"(?P<count>\d+(?:\.\d+)?)(?P<unit>[smhdw])")
UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}  # seconds of each, longest first


class Invalid(Exception):  # noqa: N818  # becomes a ConfigError once file and line are known
    """A value is not what its key needs. `path` leads from where it was raised to the value."""

    def __init__(self, message: str, *, hint: str = "", path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.path = path

    def under(self, step: str | int) -> Invalid:
        """Give the same failure, seen from one table or list further out."""
        return Invalid(self.message, hint=self.hint, path=(step, *self.path))

    def hinted(self, hint: str) -> Invalid:
        """Give the same failure with this hint, if it has none of its own."""
        return Invalid(self.message, hint=self.hint or hint, path=self.path)


@dataclass(frozen=True)
class ValueKind(Generic[T]):
    """A kind of value: how it is read from TOML, what people call it, its JSON schema.

    `parse` takes the TOML value and the folder that relative paths start from; it raises Invalid
    or any PodbuildError.
    """

    parse: Callable[[object, Path], T]
    says: str
    schema: Schema = dataclasses.field(hash=False)

    def read(self, value: object, base: Path, step: str | int) -> T:
        """Parse the value found under `step`; raises Invalid that knows the way to it."""
        try:
            return self.parse(value, base)
        except Invalid as wrong:
            raise wrong.under(step) from None
        except PodbuildError as wrong:
            raise Invalid(wrong.message, hint=wrong.hint, path=(step,)) from None


@dataclass(frozen=True)
class Key:
    """One key of a table: its kind, what it means, and an example where that helps."""

    kind: ValueKind[object]
    help: str
    name: str = ""
    example: str = ""
    cascades: bool = False  # may stand in [defaults] too

    def hint(self, name: str) -> str:
        """Say how it is written, or else what it means."""
        return f"such as {name} = {self.example}" if self.example else f"{name}: {self.help}"


@dataclass(frozen=True)
class Declared:
    """A key together with the dataclass field it fills."""

    field: str
    name: str
    key: Key
    default: object = dataclasses.MISSING
    required: bool = False


def key(
    kind: ValueKind[T], help_text: str, *, name: str = "", example: str = "", cascades: bool = False
) -> Mapping[str, Key]:
    """Give a dataclass field's metadata that declares it as a key of podbuild.toml."""
    return {
        _KEY: Key(ValueKind(kind.parse, kind.says, kind.schema), help_text, name, example, cascades)
    }


def declared(table: type) -> tuple[Declared, ...]:
    """Give the keys of a table, in the order of its fields."""
    return tuple(
        Declared(
            field=each.name,
            name=each.metadata[_KEY].name or each.name.replace("_", "-"),
            key=each.metadata[_KEY],
            default=each.default,
            required=each.default is each.default_factory is dataclasses.MISSING,
        )
        for each in dataclasses.fields(table)
        if _KEY in each.metadata
    )


def read_keys(keys: Iterable[Declared], value: object, base: Path) -> dict[str, object]:
    """Give the parsed values of a TOML table by field name; raises Invalid for what is wrong."""
    known = {each.name: each for each in keys}
    found: dict[str, object] = {}
    for name, item in as_table(value).items():
        if name not in known:
            raise unknown(name, known, "key")
        key_here = known[name].key
        try:
            found[known[name].field] = key_here.kind.read(item, base, name)
        except Invalid as wrong:
            raise wrong.hinted(key_here.hint(name)) from None
    return found


def read_table(table: Callable[..., T], keys: tuple[Declared, ...], value: object, base: Path) -> T:
    """Make the dataclass of a TOML table; raises Invalid, also for a missing key."""
    found = read_keys(keys, value, base)
    for each in keys:
        if each.required and each.field not in found:
            raise Invalid(f"{each.name} is missing", hint=f"{each.name}: {each.key.help}")
    return table(**found)


def unknown(name: str, known: Iterable[str], what: str) -> Invalid:
    """Give the failure for a name that is not in a closed list, with the nearest known one."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
    return Invalid(f"unknown {what}", hint=hint, path=(name,))


def as_table(value: object) -> dict[str, object]:
    """Narrow a TOML value to a table; raises Invalid."""
    if not isinstance(value, dict):
        raise Invalid(f"expected a table, not {toml_type(value)}")
    return {str(name): item for name, item in value.items()}


def toml_type(value: object) -> str:
    """Name a TOML value's type for people."""
    for kind, says in _TOML_TYPES:
        if isinstance(value, kind):
            return says
    return "a date or time"


def _text(value: object, _base: Path) -> str:
    if not isinstance(value, str):
        raise Invalid(f"expected a string, not {toml_type(value)}")
    if not value.strip():
        raise Invalid("must not be empty", hint="leave the key out instead")
    if any(ord(char) < ord(" ") or char == "\x7f" for char in value):
        raise Invalid("must be one line without control characters")
    return value


def _value(value: object, _base: Path) -> Template:
    """Read what is handed on as it stands: nothing, or several lines, are values too."""
    if not isinstance(value, str):
        raise Invalid(f"expected a string, not {toml_type(value)}")
    if any((ord(char) < ord(" ") and char not in "\n\t") or char == "\x7f" for char in value):
        raise Invalid("must not hold control characters")
    return Template(value)


def _flag(value: object, _base: Path) -> bool:
    if not isinstance(value, bool):
        found = f"expected true or false, not {toml_type(value)}"
        raise Invalid(found, hint="write true or false, without quotes")
    return value


def _count(value: object, _base: Path) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Invalid(f"expected an integer, not {toml_type(value)}")
    if value < 0:
        raise Invalid("must not be negative")
    return value


def _price(value: object, _base: Path) -> Decimal:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Invalid(f"expected a number, not {toml_type(value)}")
    if not 0 <= value < float("inf"):
        raise Invalid("must be a number that is not negative")
    return Decimal(str(value))


def _duration(value: object, base: Path) -> float:
    hint = 'write it as "90s", "30m", "24h", "30d" or "2w"'
    try:
        found = _DURATION.fullmatch(_text(value, base))
    except Invalid as wrong:
        raise wrong.hinted(hint) from None
    if not found:
        raise Invalid(f"{value!r} is not a duration", hint=hint)
    return float(found["count"]) * UNITS[found["unit"]]


def _path(value: object, base: Path) -> Path:
    return base / _text(value, base)


def _regex(value: object, base: Path) -> re.Pattern[str]:
    text = _text(value, base)
    try:
        return re.compile(text)
    except re.error as error:
        raise Invalid(f"not a regular expression: {error}") from None


TEXT = ValueKind(_text, "string", {"type": "string", "minLength": 1})
FLAG = ValueKind(_flag, "true or false", {"type": "boolean"})
COUNT = ValueKind(_count, "integer", {"type": "integer", "minimum": 0})
PRICE = ValueKind(_price, "number", {"type": "number", "minimum": 0})
DURATION = ValueKind(_duration, "duration", {"type": "string", "pattern": r"^\d+(\.\d+)?[smhdw]$"})
PATH = ValueKind(_path, "path", {"type": "string", "minLength": 1})
REGEX = ValueKind(_regex, "regular expression", {"type": "string", "format": "regex"})
TEMPLATE = ValueKind(
    lambda value, base: Template(_text(value, base)),
    "string with placeholders",
    {"type": "string", "minLength": 1},
)
VALUE = ValueKind(_value, "string with placeholders", {"type": "string"})


def matching(pattern: str, says: str, hint: str) -> ValueKind[str]:
    """Give the kind of a string that a regular expression describes in full."""
    expression = re.compile(pattern)

    def parse(value: object, base: Path) -> str:
        text = _text(value, base)
        if not expression.fullmatch(text):
            raise Invalid(f"{text!r} is not {says}", hint=hint)
        return text

    return ValueKind(parse, says, {"type": "string", "pattern": f"^(?:{pattern})$"})


def parsed(read: Callable[[str], T], says: str) -> ValueKind[T]:
    """Give the kind of a string that a type of the model reads (and may refuse)."""
    return ValueKind(
        lambda value, base: read(_text(value, base)), says, {"type": "string", "minLength": 1}
    )


def choice(options: type[E]) -> ValueKind[E]:
    """Give the kind of a string that is one of an enumeration's values."""
    values = [option.value for option in options]

    def parse(value: object, base: Path) -> E:
        text = _text(value, base)
        if text not in values:
            near = difflib.get_close_matches(text, values, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise Invalid(f"{text!r} is not possible", hint=f"{hint}one of: {', '.join(values)}")
        return options(text)

    return ValueKind(parse, " or ".join(f'"{each}"' for each in values), {"enum": [*values]})


def list_of(kind: ValueKind[T], *, least: int = 0) -> ValueKind[tuple[T, ...]]:
    """Give the kind of an array, with at least so many items and none of them twice."""

    def parse(value: object, base: Path) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise Invalid(f"expected an array, not {toml_type(value)}")
        if len(value) < least:
            raise Invalid("must not be empty")
        items: list[T] = []
        for place, item in enumerate(value):
            found = kind.read(item, base, place)
            if found in items:
                raise Invalid("is there twice", path=(place,))
            items.append(found)
        return tuple(items)

    schema: Schema = {"type": "array", "items": kind.schema, "minItems": least, "uniqueItems": True}
    return ValueKind(parse, f"array of: {kind.says}", schema)


def map_of(kind: ValueKind[T], *, names: ValueKind[str] = TEXT) -> ValueKind[Mapping[str, T]]:
    """Give the kind of a table whose keys are free."""

    def parse(value: object, base: Path) -> Mapping[str, T]:
        return {
            names.read(name, base, name): kind.read(item, base, name)
            for name, item in as_table(value).items()
        }

    schema: Schema = {"type": "object", "additionalProperties": kind.schema}
    return ValueKind(parse, f"table of: {kind.says}", schema)


def table_of(table: Callable[..., T], keys: tuple[Declared, ...], says: str) -> ValueKind[T]:
    """Give the kind of a table whose keys are those of a dataclass."""
    return ValueKind(
        lambda value, base: read_table(table, keys, value, base), says, table_schema(keys)
    )


def table_schema(keys: Iterable[Declared]) -> Schema:
    """Give the JSON schema of a table with exactly these keys."""
    keys = tuple(keys)
    schema: Schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            each.name: {**each.key.kind.schema, "description": each.key.help} for each in keys
        },
    }
    required: list[JSONValue] = [each.name for each in keys if each.required]
    return {**schema, "required": required} if required else schema
