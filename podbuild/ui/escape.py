"""Text from outside, made harmless for terminals and for the logs of CI systems."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# ECMA-48: CSI and OSC sequences, then any other escape with its intermediate bytes.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~]?)")
_LINE_ENDS = re.compile(r"\r\n|\n|\x0b|\x0c|\x85|\u2028|\u2029")
# Bidirectional controls show a line as another one than it is.
_TRICKS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\ufeff")


def lines(text: str) -> tuple[str, ...]:
    r"""Give the lines of a text without what moves the cursor or colours; tabs stay.

    Of a line that was overwritten with carriage returns, the last state stays.

    >>> lines("10%\r100%\n\x1b[31mred\x1b[0m\n")
    ('100%', 'red')
    """
    found = [_line(raw) for raw in _LINE_ENDS.split(_SEQUENCE.sub("", text))]
    if found and not found[-1]:
        found.pop()
    return tuple(found)


def flat(texts: Iterable[str]) -> tuple[str, ...]:
    """Give the lines of several texts."""
    return tuple(line for text in texts for line in (lines(text) or ("",)))


def _line(raw: str) -> str:
    shown = [state for state in raw.split("\r") if state]
    last = shown[-1] if shown else ""
    return "".join(sign for sign in last if sign == "\t" or not _moves(sign)).rstrip()


def _moves(sign: str) -> bool:
    return sign in _TRICKS or unicodedata.category(sign) in ("Cc", "Cs")


def command_data(text: str) -> str:
    """Escape the text of a GitHub workflow command (field.md 3.5: %, CR and LF)."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def command_property(text: str) -> str:
    """Escape a property of a GitHub workflow command, where ':' and ',' end it too."""
    return command_data(text).replace(":", "%3A").replace(",", "%2C")


def no_command(line: str) -> str:
    """Give a line that no runner takes for a workflow command.

    A runner looks for `::` at the start of the trimmed line and for `##[` anywhere.

    >>> no_command("  ::set-output::x"), no_command("a ##[error]b"), no_command("a::b")
    ('  : :set-output::x', 'a ## [error]b', 'a::b')
    """
    start = len(line) - len(line.lstrip())
    if line.startswith("::", start):
        line = f"{line[:start]}: :{line[start + 2 :]}"
    return line.replace("##[", "## [")
