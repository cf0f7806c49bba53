"""Text from outside, made harmless for terminals and for the logs of CI systems.

Sizes and times as people read them.

Aligned tables of plain text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import Enum

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


_UNITS = ("kB", "MB", "GB", "TB")


_MINUTE = 60


_HOUR = 3600


def size(count: int) -> str:
    """Say a number of bytes, in decimal units as registries do.

    >>> size(999), size(1_000), size(35_249_000), size(-1_500)
    ('999 B', '1.0 kB', '35.2 MB', '-1.5 kB')
    """
    amount = float(abs(count))
    if amount < 1000:  # noqa: PLR2004  # below the first unit
        return f"{count} B"
    unit = ""
    for unit in _UNITS:  # noqa: B007  # the last one stays
        amount /= 1000
        if round(amount, 1) < 1000:  # noqa: PLR2004  # the unit fits
            break
    return f"{'-' if count < 0 else ''}{amount:.1f} {unit}"


def duration(seconds: float) -> str:
    """Say a time.

    >>> duration(0.04), duration(12.34), duration(75), duration(3725)
    ('0.0 s', '12.3 s', '1 min 15 s', '1 h 02 min')
    """
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"


def speed(count: int, seconds: float) -> str:
    """Say bytes per second; empty when the time is too short to tell.

    >>> speed(35_000_000, 3.5)
    '10.0 MB/s'
    """
    return f"{size(round(count / seconds))}/s" if seconds > 0 else ""


def instant(moment: datetime) -> str:
    """Say a moment by RFC 3339, in UTC and to the second.

    >>> instant(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '2026-01-02T03:04:05Z'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Align(Enum):
    """Where the text of a column stands."""

    LEFT = "left"
    RIGHT = "right"


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()
) -> tuple[str, ...]:
    """Give the lines of a table; the columns named in `right` are aligned right.

    Columns that are empty in every row are left out; no row, no lines.

    >>> table(("image", "size"), [("web", "9 B"), ("worker", "12 kB")], right=("size",))
    ('image    size', 'web       9 B', 'worker  12 kB')
    """
    shown = [place for place in range(len(header)) if any(row[place] for row in rows)]
    alignment = [Align.RIGHT if header[place] in right else Align.LEFT for place in shown]
    cells = [[one_line(row[place]) for place in shown] for row in (header, *rows)] if rows else []
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    return tuple("  ".join(_aligned(row, widths, alignment)).rstrip() for row in cells)


def one_line(text: str) -> str:
    r"""Give the text without line ends and other characters that move the cursor.

    >>> one_line("a\r\n b\x1b[2J")
    'a b [2J'
    """
    return " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in text).split())


def _aligned(
    row: Sequence[str], widths: Sequence[int], alignment: Sequence[Align]
) -> Iterator[str]:
    for cell, width, align in zip(row, widths, alignment, strict=True):
        space = " " * (width - _width(cell))
        yield space + cell if align is Align.RIGHT else cell + space


def _width(text: str) -> int:
    """Count terminal columns: wide East Asian characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
