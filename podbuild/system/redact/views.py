r"""A text as others read it: percent signs, entities, escapes and line ends taken back.

Renderers write a secret in their own way (Markdown `ghp\_x`, XML `&amp;`, JSON `\u0026`), one
inside the other. Each view knows where in the text its characters come from.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator

from podbuild.system.later import dataclass

_DEPTH = 3  # encodings inside each other
_MOST = 24  # views of one text

_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}"
    r"|\\u[0-9A-Fa-f]{4}|\\U[0-9A-Fa-f]{8}|\\x[0-9A-Fa-f]{2}|\\[0-7]{3}|\\[^\r\n]"
)
# Colours and signs without a width, which a terminal swallows.
_INVISIBLE = re.compile(
    r"(?:\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\r\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~]?)"
    r"|[\x00-\x08\x0e-\x1f\x7f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff])+"
)
_WRAPPED = re.compile(r"(?<=\S)[ \t]*(?:\r?\n[ \t]*)+(?=\S)")
# `xxd`, `od -tx1`, `openssl`: pairs or fours of hex digits with something between them.
_DUMPED = re.compile(
    r"\b[0-9A-Fa-f]{2}(?:[0-9A-Fa-f]{2})?(?:[ :-][0-9A-Fa-f]{2}(?:[0-9A-Fa-f]{2})?){4,}"
)
_CODED = re.compile(rf"[%&\\\\]|{_DUMPED.pattern}")
_NAMED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0"}

_Parts = list[tuple[str, int]]  # what stands for a match: texts, and the characters they come from


@dataclass(frozen=True)
class View:
    """A text, and for runs of its characters where they come from in the text it is a view of."""

    text: str
    starts: tuple[int, ...] = (0,)  # of each run here
    origins: tuple[int, ...] = (0,)  # of each run there; they follow on each other
    source: View | None = None

    def original(self, first: int, last: int) -> tuple[int, int]:
        """Give where a span comes from in the text that all is a view of."""
        view, begin, end = self, first, last
        while view.source is not None:
            begin, end = view._back(begin, after=False), view._back(end, after=True)
            view = view.source
        return begin, end

    def _back(self, at: int, *, after: bool) -> int:
        """Give where a character is from, or (`after`) where the one before it ends."""
        run = bisect_right(self.starts, at - after) - 1
        into = at - self.starts[run]
        length = self._end(run, self.starts) - self.starts[run]
        there = self._end(run, self.origins) - self.origins[run]
        if length == there:
            return self.origins[run] + into
        return self.origins[run] + (there if after else 0)

    def _end(self, run: int, places: tuple[int, ...]) -> int:
        if run + 1 < len(places):
            return places[run + 1]
        whole = self.text if places is self.starts else (self.source or self).text
        return len(whole)


def visible(line: str) -> str:
    """Give a line without what a terminal swallows."""
    return line if line.isprintable() else _INVISIBLE.sub("", line)


def views(text: str) -> Iterator[View]:
    """Give the text, and each way to read it that differs, a few encodings deep."""
    seen = {text}
    waiting = [(View(text), 0)]
    while waiting:
        view, depth = waiting.pop(0)
        yield view
        if view.text.isprintable() and not _CODED.search(view.text):
            continue
        if depth == _DEPTH or len(seen) >= _MOST:
            continue
        for sign, pattern, decode in _WAYS:
            if sign and sign not in view.text:
                continue
            found = _decoded(view, pattern, decode)
            if found is not None and found.text not in seen:
                seen.add(found.text)
                waiting.append((found, depth + 1))


def _decoded(view: View, pattern: re.Pattern[str], decode: Callable[[str], _Parts]) -> View | None:
    texts: list[str] = []
    starts: list[int] = []
    origins: list[int] = []
    position = length = 0

    def take(piece: str, begin: int) -> None:
        nonlocal length
        texts.append(piece)
        starts.append(length)
        origins.append(begin)
        length += len(piece)

    for match in pattern.finditer(view.text):
        if match.start() > position:
            take(view.text[position : match.start()], position)
        position = match.start()
        for piece, width in decode(match[0]):
            take(piece, position)
            position += width
    if not position and not starts:
        return None
    take(view.text[position:], position)
    return View("".join(texts), tuple(starts), tuple(origins), view)


def _percent(run: str) -> _Parts:
    data = bytes.fromhex(run.replace("%", ""))
    text = data.decode("utf-8", "surrogateescape")
    return [(sign, 3 * len(sign.encode("utf-8", "surrogateescape"))) for sign in text]


def _entity(name: str) -> _Parts:
    from html import unescape  # noqa: PLC0415  # its table takes its time

    return [(unescape(name), len(name))]


def _escape(escape: str) -> _Parts:
    kind, rest, length = escape[1], escape[2:], len(escape)
    if length == len(r"\ud83d\ude00"):
        pair = bytes.fromhex(rest[:4] + rest[-4:])
        return [(pair.decode("utf-16-be", "replace"), length)]
    if rest and kind in "uUx":
        code = int(rest, 16)
        return [(chr(code) if code <= sys.maxunicode else "?", length)]
    if rest:
        return [(chr(int(escape[1:], 8)), length)]
    return [(_NAMED.get(kind, kind), length)]


def _nothing(run: str) -> _Parts:
    return [("", len(run))]


def _digits(dump: str) -> _Parts:
    return [("" if sign in " :-" else sign, 1) for sign in dump]


# With a sign that every match has.
_WAYS: tuple[tuple[str, re.Pattern[str], Callable[[str], _Parts]], ...] = (
    ("%", _PERCENT, _percent),
    ("&", _ENTITY, _entity),
    ("\\", _ESCAPE, _escape),
    ("", _INVISIBLE, _nothing),
    ("\n", _WRAPPED, _nothing),
    ("", _DUMPED, _digits),
)
