"""Read the text of a TOML file, and say where and why it is none."""

from __future__ import annotations

import ast
import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

from podbuild.config.toml_text import toml_key
from podbuild.errors import ConfigError

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
_LONG = re.compile(r"[0-9_]{4301,}")  # int() takes 4300 digits


def shown(path: Path) -> str:
    """Give a path as people in the present folder would write it."""
    near = os.path.relpath(path)
    return str(path) if near.startswith("..") else near


def read_config(path: Path) -> str:
    """Give the text of a configuration, without the mark that some editors begin with.

    Raises ConfigError that names the file.
    """
    if path.is_fifo():
        raise ConfigError(
            f"can't read {shown(path)}: it is a pipe", hint="write it to a file: it is read twice"
        )
    return _read(path, "utf-8-sig", "`podbuild init` writes one")


def read_source(path: Path) -> str:
    """Give the text of a Containerfile or an ignore file as it stands, with its own line ends.

    Raises ConfigError.
    """
    return _read(path, "utf-8", "`ls -l` shows who may read it", newline="")


def _read(path: Path, encoding: str, hint: str, newline: str | None = None) -> str:
    try:
        with path.open(encoding=encoding, newline=newline) as file:
            return file.read()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{shown(path)}:{line}: not UTF-8 text", hint="save it as UTF-8"
        ) from None
    except OSError as error:
        raise ConfigError(f"can't read {shown(path)}: {error.strerror}", hint=hint) from None


def parse_toml(text: str, path: Path) -> dict[str, object]:
    """Give what a TOML text says; raises ConfigError that names file and line."""
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
