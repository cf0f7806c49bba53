"""Find the line of a key in a TOML file, which tomllib does not tell.

A prefix of whole statements is TOML itself, so the first prefix that parses and holds the key
ends with the statement that wrote it. No grammar is written a second time.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence

Path = Sequence[str | int]


def line_of(text: str, path: Path) -> int:
    """Give the line (from 1) of the statement that wrote a key, or the nearest table above it.

    `text` must be valid TOML. Where nothing of the path is in it, the line is 1.
    """
    lines = [f"{line}\n" for line in text.split("\n")]
    known = path[: _depth(tomllib.loads(text), path)]
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


def _depth(document: object, path: Path) -> int:
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
