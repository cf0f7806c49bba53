"""Text for people: what comes from outside made harmless, sizes, times and aligned tables."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import Enum
from itertools import zip_longest

# ECMA-48: CSI, OSC and other strings (with 7 and 8 bits), then any other escape.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\r\n]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]?"
)
_LINE_ENDS = re.compile(r"\r\n|\n|\x0b|\x0c|\x85|\u2028|\u2029")
# Signs without a width show a line as another one than it is (bidirectional controls) or hide in
# it what it says; but these two join letters and pictures.
_JOINERS = frozenset("\u200c\u200d")
# Where runners look for commands: GitHub's, Forgejo's and Gitea's `::` at the start of a line,
# elsewhere `##[` (GitHub, Azure), `##vso[` (Azure), `##teamcity[`; GitLab's and Travis' folds.
_AT_START = re.compile(r"(\s*)::")
_HASHES = re.compile(r"##(?=[A-Za-z0-9_.-]*\[)")
_FOLDS = re.compile(r"(section_(?:start|end)|travis_(?:fold|time)):(?=\S)")


def lines(text: str) -> tuple[str, ...]:
    r"""Give the lines of a text as any terminal may see them; tabs stay.

    Nothing in them moves the cursor, colours, hides or turns. Of a line that was overwritten with
    carriage returns, the last state stays. They may be commands for a runner: see `no_command`.

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


def harmless(text: str) -> str:
    """Give an answer as terminals and runners may see it, with its lines."""
    return "\n".join(map(no_command, lines(text)))


def json_shown(text: str) -> str:
    r"""Give JSON that says the same and that is no command for a runner, and hides nothing.

    >>> json_shown('"##[add-path]/x \u202e"')
    '"\\u0023#[add-path]/x \\u202e"'
    """
    harmless = _FOLDS.sub(r"\1\\u003a", _HASHES.sub(r"\\u0023#", text))
    if all(map(str.isprintable, harmless.split("\n"))):
        return harmless
    return "".join(_json_sign(sign) for sign in harmless)


def _json_sign(sign: str) -> str:
    if sign == "\n" or not moves(sign):
        return sign
    data = sign.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{data[at : at + 4]}" for at in range(0, len(data), 4))


def _line(raw: str) -> str:
    states = [state for state in raw.split("\r") if state]
    last = states[-1] if states else ""
    if not last.isprintable():
        last = "".join(sign for sign in last if sign == "\t" or not moves(sign))
    return last.rstrip()


def moves(sign: str) -> bool:
    """Tell whether a character has no place of its own: controls, halves, marks without width."""
    if sign in _JOINERS:
        return False
    return unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def command_data(text: str) -> str:
    """Escape the text of a GitHub workflow command (field.md 3.5: %, CR and LF)."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def command_property(text: str) -> str:
    """Escape a property of a GitHub workflow command, where ':' and ',' end it too."""
    return command_data(text).replace(":", "%3A").replace(",", "%2C")


def no_command(line: str) -> str:
    """Give a line that no runner takes for a command.

    >>> no_command("  ::set-output::x"), no_command("a ##[error]b"), no_command("a::b")
    ('  : :set-output::x', 'a # #[error]b', 'a::b')
    >>> no_command("##vso[task.setvariable]x"), no_command("section_start:1:x")
    ('# #vso[task.setvariable]x', 'section_start: 1:x')
    """
    if "::" in line:
        line = _AT_START.sub(r"\1: :", line, count=1) if _AT_START.match(line) else line
    if "##" in line:
        line = _HASHES.sub("# #", line)
    return _FOLDS.sub(r"\1: ", line) if "_" in line else line


_GAP = 2  # columns between those of a table
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
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    width: int | None = None,
) -> tuple[str, ...]:
    """Give the lines of a table; the columns named in `right` are aligned right.

    Columns that are empty in every row are left out; no row, no lines. In `width` columns of a
    terminal, cells go on in the next line, at spaces only; where words alone are too many for one
    line, the first column stands above the others.

    >>> table(("image", "size"), [("web", "9 B"), ("worker", "12 kB")], right=("size",))
    ('image    size', 'web       9 B', 'worker  12 kB')
    """
    shown = [place for place in range(len(header)) if any(row[place] for row in rows)]
    alignment = [Align.RIGHT if header[place] in right else Align.LEFT for place in shown]
    cells = [[one_line(row[place]) for place in shown] for row in (header, *rows)] if rows else []
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    if width is None or _total(widths) <= width:
        return tuple("  ".join(_aligned(row, widths, alignment)).rstrip() for row in cells)
    fitting = _fitting(cells, widths, width)
    if fitting is None:
        return tuple(_stacked(cells, [header[place] in right for place in shown], width))
    return tuple(
        "  ".join(_aligned(part, fitting, alignment)).rstrip()
        for row in cells
        for part in zip_longest(
            *(_folded(cell, room) for cell, room in zip(row, fitting, strict=True)), fillvalue=""
        )
    )


def fold(text: str, width: int | None, indent: str = "  ") -> tuple[str, ...]:
    """Give a line as lines of a terminal, broken at spaces; those after the first are indented.

    >>> fold("web: sha256:ab is not there", 16)
    ('web: sha256:ab', '  is not there')
    """
    if width is None or _width(text) <= width:
        return (text,)
    start = text[: len(text) - len(text.lstrip(" "))]
    room = width - len(start)
    first, *_ = _folded(text.strip(), room)
    rest = text.strip()[len(first) :].strip()
    more = _folded(rest, room - len(indent)) if rest else []
    return (start + first, *(f"{start}{indent}{line}" for line in more))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _fitting(cells: Sequence[Sequence[str]], widths: Sequence[int], width: int) -> list[int] | None:
    """Take from the widest columns until all fit, down to their longest words; None: they can't."""
    least = [
        max((_width(word) for cell in column for word in cell.split()), default=0)
        for column in zip(*cells, strict=True)
    ]
    if _total(least) > width:
        return None
    found = list(widths)
    while _total(found) > width:
        able = [place for place in range(len(found)) if found[place] > least[place]]
        found[max(able, key=lambda place: found[place])] -= 1
    return found


def _stacked(cells: Sequence[Sequence[str]], right: Sequence[bool], width: int) -> Iterator[str]:
    """Give the first cell of each row above the others, once where rows share it."""
    header, *rows = cells
    groups: dict[str, list[Sequence[str]]] = {}
    for row in rows:
        groups.setdefault(row[0], []).append(row[1:])
    named = [name for name, is_right in zip(header[1:], right[1:], strict=True) if is_right]
    for first, others in groups.items():
        yield from _folded(first, width)
        if header[1:]:
            inner = table(header[1:], others, right=named, width=width - _GAP)
            yield from (f"{' ' * _GAP}{line}" for line in inner[1:])


def _folded(text: str, room: int) -> list[str]:
    """Give the words of a cell in lines of so many columns; a longer word has its own line."""
    found: list[str] = []
    for word in text.split(" "):
        if found and _width(f"{found[-1]} {word}") <= room:
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found or [""]


def shortened(text: str, most: int = 80) -> str:
    """Give the beginning of a text that is too long.

    >>> shortened("abcdef", 5)
    'ab...'
    """
    return text if len(text) <= most else f"{text[: most - 3]}..."


def one_line(text: str) -> str:
    r"""Give the text without line ends and other characters that move the cursor.

    >>> one_line("a\r\n b\x1b[2J")
    'a b [2J'
    """
    return " ".join("".join(" " if moves(sign) else sign for sign in text).split())


def _aligned(
    row: Sequence[str], widths: Sequence[int], alignment: Sequence[Align]
) -> Iterator[str]:
    for cell, width, align in zip(row, widths, alignment, strict=True):
        space = " " * (width - _width(cell))
        yield space + cell if align is Align.RIGHT else cell + space


def _width(text: str) -> int:
    """Count terminal columns: wide East Asian characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
