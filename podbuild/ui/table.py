"""Aligned tables of plain text."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from enum import Enum


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
