"""The text of a TOML file: read it, say where and why it is none, find a key's line, write keys.

tomllib tells no lines. A prefix of whole statements is TOML itself, so the first prefix that parses
and holds the key ends with the statement that wrote it. No grammar is written a second time.

An image table with a `matrix` stands for one image of each combination of its values. Tables are
put in place of it before anything else is read, so that every key may name a value:
`{matrix.NAME}`, in names, paths, arguments and tags alike.
"""

from __future__ import annotations

import ast
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NoReturn

from podbuild.config.keys import Invalid, toml_type
from podbuild.errors import ConfigError
from podbuild.system.files import read_plain

_NAMED = re.compile(r"\{matrix\.(?P<axis>[^{}]*)\}")
_MOST = 1000  # images of one table


def expanded(document: Mapping[str, object]) -> dict[str, object]:
    """Give a document whose image tables are one for each image; raises Invalid."""
    images = document.get("images")
    if not isinstance(images, dict) or not any(map(_has_matrix, images.values())):
        return dict(document)
    found: dict[str, object] = {}
    for written, table in images.items():
        for name, each in _images(written, table):
            if name in found:
                hint = "its name has to hold a value of every axis, such as web-{matrix.php}"
                path = ("images", written, "matrix")
                raise Invalid(f"several images would be called {name!r}", hint=hint, path=path)
            found[name] = each
    return {**document, "images": found}


def written_name(document: Mapping[str, object], name: str) -> str:
    """Give the name of the table that an image stands in."""
    images = document.get("images")
    if not isinstance(images, dict) or name in images:
        return name
    for written, table in images.items():
        if _has_matrix(table) and any(made == name for made, _ in _images(written, table)):
            return str(written)
    return name


def _has_matrix(table: object) -> bool:
    return isinstance(table, dict) and "matrix" in table


def _images(written: str, table: object) -> Iterator[tuple[str, object]]:
    if not isinstance(table, dict) or "matrix" not in table:
        yield written, table
        return
    axes = _axes(written, table["matrix"])
    rest = {name: value for name, value in table.items() if name != "matrix"}
    for values in product(*axes.values()):
        chosen = dict(zip(axes, values, strict=True))
        yield str(_put(written, chosen, written)), _put(rest, chosen, written)


def _axes(written: str, value: object) -> dict[str, list[str]]:
    path = ("images", written, "matrix")
    hint = 'such as matrix = { php = ["8.3", "8.4"], os = ["debian", "alpine"] }'
    if not isinstance(value, dict):
        raise Invalid("expected a table of arrays", hint=hint, path=path)
    count = 1
    for axis, values in value.items():
        if not isinstance(values, list) or not values:
            raise Invalid("expected an array with values", hint=hint, path=(*path, axis))
        for place, each in enumerate(values):
            if not isinstance(each, str):
                wrong = f"expected a string, not {toml_type(each)}"
                raise Invalid(wrong, hint="write it in quotes", path=(*path, axis, place))
        if len({*values}) < len(values):
            raise Invalid("a value is there twice", path=(*path, axis))
        count *= len(values)
    if count > _MOST:
        raise Invalid(f"that would be {count} images, more than {_MOST}", path=path)
    return value


def _put(value: object, chosen: Mapping[str, str], written: str) -> object:
    match value:
        case str():
            return _NAMED.sub(lambda found: _value(found["axis"], chosen, written), value)
        case list():
            return [_put(each, chosen, written) for each in value]
        case dict():
            return {
                _put(name, chosen, written): _put(each, chosen, written)
                for name, each in value.items()
            }
        case _:
            return value


def _value(axis: str, chosen: Mapping[str, str], written: str) -> str:
    if axis not in chosen:
        raise Invalid(
            f"{{matrix.{axis}}}: there is no such axis",
            hint=f"the matrix has: {', '.join(chosen)}",
            path=("images", written, "matrix"),
        )
    return chosen[axis]


_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_key(name: str) -> str:
    """Give a key as TOML writes it, quoted where it must be."""
    return name if _BARE.fullmatch(name) else toml_string(name)


def toml_string(text: str) -> str:
    """Escape as JSON does: TOML's basic strings take the same escapes, DEL besides."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


_HINTS = (  # by what tomllib's message begins with
    ("Invalid statement", "a line is [table], key = value or # a comment"),
    ("Invalid initial character", "a key has letters, digits, '_' and '-', or stands in quotes"),
    ("Expected '='", 'write it as key = "value"'),
    ("Expected newline", "one key = value on a line; are quotes missing?"),
    ("Cannot overwrite", "this key is there twice: take one out"),
    ("Cannot declare", "this table is there twice: put its keys together"),
    ("Duplicate", "this key is there twice: take one out"),
    ("Unescaped", r"write \\, or the string in single quotes"),
    (
        "Illegal character",
        r"is the closing quote missing? a control character is written as \u0007",
    ),
    ("Invalid value", 'a string stands in quotes: key = "value"'),
)

_OPEN = "is a bracket or a quote not closed?"
_TWICE = re.compile(r"\((?:'|\").*\)(?= twice$|$)")  # the table in tomllib's words: a Python tuple
_LARGEST = 16 << 20  # bytes of a configuration or a Containerfile
_SHOWN = 3  # names in a message
_DEEP = re.compile(r"""(?<![\w-])(?:[\w-]+["']?[ \t]*\.[ \t]*["']?){100}""")
_LONG = re.compile(r"[0-9_]{4301,}")  # int() takes 4300 digits


def shown(path: Path) -> str:
    """Give a path as people in the present folder would write it."""
    try:
        near = os.path.relpath(path)
    except FileNotFoundError:  # the present folder is gone
        return str(path)
    return str(path) if near.startswith("..") else near


def some(names: Iterable[str]) -> str:
    """Give the first few names, and how many more there are."""
    every = tuple(names)
    more = len(every) - _SHOWN
    shown = ", ".join(every[:_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown


def read_config(path: Path) -> str:
    """Give the text of a configuration, without the mark that some editors begin with.

    Raises ConfigError that names the file.
    """
    if path.is_fifo():
        raise ConfigError(
            f"can't read {shown(path)}: it is a pipe", hint="write it to a file: it is read twice"
        )
    there = os.path.lexists(path)
    hint = "check what it is, its owner and its mode" if there else "`podbuild init` writes one"
    return _read(path, "utf-8-sig", hint)


def read_source(path: Path) -> str:
    """Give the text of a Containerfile or an ignore file as it stands, with its own line ends.

    Raises ConfigError.
    """
    return _read(path, "utf-8", "`ls -l` shows who may read it", own_ends=True)


def _read(path: Path, encoding: str, hint: str, *, own_ends: bool = False) -> str:
    try:
        text = read_plain(path, _LARGEST).decode(encoding)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{shown(path)}:{line}: not UTF-8 text", hint="save it as UTF-8"
        ) from None
    except OSError as error:
        raise ConfigError(f"can't read {shown(path)}: {error.strerror}", hint=hint) from None
    return text if own_ends else text.replace("\r\n", "\n").replace("\r", "\n")


def parse_toml(text: str, path: Path) -> dict[str, object]:
    """Give what a TOML text says; raises ConfigError that names file and line."""
    if deep := _DEEP.search(text):  # tomllib takes the square of its parts
        line = text.count("\n", 0, deep.start()) + 1
        raise _refusal(path, line, "a key with more than 100 parts", "write a shorter one")
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _syntax_error(path, text, str(error)) from None
    except ValueError:
        line = text.count("\n", 0, found.start() if (found := _LONG.search(text)) else 0) + 1
        raise _refusal(
            path, line, "an integer has too many digits", "write a smaller one"
        ) from None


def dotted(path: Iterable[str | int]) -> str:
    """Give the way to a key as TOML writes it.

    >>> dotted(("images", "a.b", "secrets", 0))
    'images."a.b".secrets[0]'
    """
    parts = (f"[{step}]" if isinstance(step, int) else f".{toml_key(step)}" for step in path)
    return "".join(parts).removeprefix(".")


def _syntax_error(path: Path, text: str, message: str) -> ConfigError:
    """Tomllib says `Expected ... (at line 3, column 7)`, or `(at end of document)`."""
    what, _, where = message.rpartition(" (at ")
    what = what or message
    line = where.removeprefix("line ").partition(",")[0]
    hint = next((hint for start, hint in _HINTS if what.startswith(start)), _OPEN)
    if not line.isdigit():
        return _refusal(path, text.count("\n") + (not text.endswith("\n")), what, _OPEN)
    return _refusal(path, int(line), _TWICE.sub(_table, what), hint)


def _table(found: re.Match[str]) -> str:
    return f"[{dotted(ast.literal_eval(found[0]))}]"


def _refusal(path: Path, line: int, what: str, hint: str) -> ConfigError:
    return ConfigError(
        f"{shown(path)}:{line}: not valid TOML: {what[:1].lower()}{what[1:]}", hint=hint
    )


KeyPath = Sequence[str | int]


def line_of(text: str, path: KeyPath) -> int:
    """Give the line (from 1) of the statement that wrote a key, or the nearest table above it.

    `text` must be valid TOML. Where nothing of the path is in it, the line is 1.
    """
    lines = [f"{line}\n" for line in text.split("\n")]
    whole = tomllib.loads(text)
    if path[:1] and path[0] == "images" and "{matrix." in text:
        path = ("images", *(written_name(whole, str(name)) for name in path[1:2]), *path[2:])
    known = path[: _depth(whole, path)]
    if not known:
        return 1
    before, end = 0, len(lines)  # lines[:before] does not hold the key, lines[:end] does
    while before + 1 < end:
        middle = (before + end) // 2
        size, document = _whole_statements(lines, middle)
        if _depth(document, known) < len(known):
            before = max(size, middle)
        else:
            end = size if size < end else middle
    return _start(lines, end)


def _whole_statements(lines: list[str], size: int) -> tuple[int, object]:
    """Give the shortest prefix of at least `size` lines that parses, and what it says."""
    for longer in range(size, len(lines)):
        try:
            return longer, tomllib.loads("".join(lines[:longer]))
        except tomllib.TOMLDecodeError:
            continue
    return len(lines), tomllib.loads("".join(lines))


def _start(lines: list[str], end: int) -> int:
    """Give the first line of the statement that ends with this line."""
    for size in range(end - 1, -1, -1):
        try:
            tomllib.loads("".join(lines[:size]))
        except tomllib.TOMLDecodeError:
            continue
        return size + 1
    return 1  # pragma: no cover  # an empty file parses


def _depth(document: object, path: KeyPath) -> int:
    """Give how many steps of the path exist."""
    here = document
    for depth, step in enumerate(path):
        match here, step:
            case dict(), str() if step in here:
                here = here[step]
            case list(), int() if step < len(here):
                here = here[step]
            case _:
                return depth
    return len(path)


def refuse_unknown(name: str, what: str, known: Iterable[str]) -> NoReturn:
    """Raise the ConfigError for an image or registry that the configuration does not have."""
    hint = f"the configuration has: {', '.join(known)}"
    raise ConfigError(f"unknown {what} {name!r}", hint=hint)
