"""What a secret looks like: itself, its lines, and pieces of its encoded forms.

Encoded forms (base64, hex) get wrapped, cut and put into something longer, so any `WINDOW`
characters of them stand for the secret. Pieces of a window's size are found by short samples of
the forms: each window holds one sample whole.
"""

from __future__ import annotations

import base64
import re
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import field

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


SHORTEST = 5  # characters; anything shorter would blank out ordinary text
SHORTEST_PART = 8  # characters of a line or an encoded form that stands for its secret
SHORTEST_RAW = 12  # the same of the secret itself, where it looks like nothing else
WINDOW = 20  # characters of an encoded form that stand for its secret wherever they are
_SAMPLE = 10  # characters
_STEP = WINDOW - _SAMPLE + 1  # between samples
_PLACES = 8  # of a sample that occurs several times
_LONG = 32_768  # characters; of longer forms, such as whole files, only windows are looked for
TAIL = 4  # characters of a line's end that are looked at
_DISTINCT = 6  # characters; fewer are padding or a ruler, not somebody's secret

_Places = tuple[tuple[int, int], ...]  # of a sample: the form, and where in it

# What can be a piece of base64, hex or a token; all else ends it.
_RUN = re.compile(rf"[A-Za-z0-9+/=_.-]{{{SHORTEST_PART},}}")


def literals(secret: str) -> Iterator[str]:
    """Give what is cut wherever it stands: the secret, its lines, short encoded forms."""
    yield secret
    if " " in secret:
        yield secret.replace(" ", "+")
    if "'" in secret:
        yield secret.replace("'", "'\\''")  # as a shell shows it
    lines = [line.strip() for line in secret.splitlines()]
    if len(lines) > 1:
        yield "".join(lines)
        for line in lines:
            if len(line) >= SHORTEST_PART and not (line.startswith("-----") or _is_found(line)):
                yield line
    for form in encoded(secret):
        if SHORTEST_PART <= len(form) < WINDOW:
            yield form


def _is_found(line: str) -> bool:
    """Tell whether its pieces are found anyhow, as those of a key's lines are."""
    return len(line) >= WINDOW and bool(_RUN.fullmatch(line)) and _looks_random(line)


def encoded(secret: str) -> Iterator[str]:
    """Give the secret in base64, alone and inside something longer, and in hex."""
    data = secret.encode("utf-8", "surrogateescape")
    for offset in range(3):  # inside something longer, such as `user:token` of Basic
        first = -(-offset * 8 // 6)
        last = (offset + len(data)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(b"\0" * offset + data).decode()
            yield text if offset == 0 else text[first:last]
            yield text[first:last]
    yield data.hex()
    yield data.hex().upper()


@dataclass
class Pieces:
    """The forms of all secrets, and where their samples stand in them.

    Of usual forms all samples are known, so that a text need only be looked at in steps; of long
    ones (whole files) those in steps, so that each place of a text is looked at.
    """

    _texts: list[str] = field(default_factory=list)
    _raw: list[bool] = field(default_factory=list)  # it is the secret, which may hold words
    _samples: dict[str, _Places] = field(default_factory=dict)
    _step: int = _STEP
    _starts: set[str] = field(default_factory=set)  # what whole words of forms begin with
    _tails: set[str] = field(default_factory=set)
    _heads: tuple[str, ...] = ()

    def copy(self) -> Pieces:
        """Give the same, to add to while others look into this one."""
        return Pieces(
            [*self._texts],
            [*self._raw],
            dict(self._samples),
            self._step,
            {*self._starts},
            {*self._tails},
            self._heads,
        )

    def add(self, secret: str) -> None:
        """Take the forms of a secret."""
        plain = "".join(secret.split())
        # A single sign at a line's end is looked at only where the rest would not be found alone.
        self._heads += tuple(plain[:length] for length in range(1 + (len(plain) > WINDOW), TAIL))
        for form in dict.fromkeys((plain, *encoded(secret))):
            if len(form) >= SHORTEST:
                self._add(form, raw=form == plain)

    def _add(self, form: str, *, raw: bool) -> None:
        at = len(self._texts)
        self._texts.append(form)
        self._raw.append(raw)
        usual = len(form) <= _LONG
        self._step = self._step if usual else 1
        for place in range(0, len(form) - _SAMPLE + 1, 1 if usual else _STEP):
            sample = form[place : place + _SAMPLE]
            places = self._samples.get(sample, ())
            if len(places) < _PLACES:
                self._samples[sample] = (*places, (at, place))
        if usual:
            self._starts.update(_grams(form, SHORTEST_PART))
            self._tails.update(_grams(form, TAIL))

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Give where pieces of the forms stand in a text."""
        for run in _RUN.finditer(text):
            begin, word = run.start(), run[0]
            if len(word) < WINDOW:
                if word[:SHORTEST_PART] in self._starts and self._is_piece(word):
                    yield run.span()
                continue
            for first, last in self._windows(word):
                yield begin + first, begin + last

    def may_go_on(self, line: str) -> bool:
        """Tell whether what ends like this line may be a form that goes on in the next one."""
        words = line.rsplit(maxsplit=1)
        if not words:
            return False
        if len(words[-1]) < TAIL and len(words) == 1:
            return True
        return words[-1][-TAIL:] in self._tails or words[-1].endswith(self._heads)

    def _windows(self, word: str) -> Iterator[tuple[int, int]]:
        done = 0
        for at in range(0, len(word) - _SAMPLE + 1, self._step):
            places = self._samples.get(word[at : at + _SAMPLE])
            if places is None or at < done:
                continue
            first, last = max(
                (self._around(word, at, place) for place in places),
                key=lambda span: span[1] - span[0],
            )
            if last - first >= WINDOW:
                yield first, last
                done = last - _SAMPLE

    def _is_piece(self, word: str) -> bool:
        """Tell whether a whole word comes from a form, so that it is one line of a wrapped one."""
        return len(set(word)) >= _DISTINCT and any(
            word in text and (not raw or (len(word) >= SHORTEST_RAW and _looks_random(word)))
            for text, raw in zip(self._texts, self._raw, strict=True)
        )

    def _around(self, word: str, at: int, place: tuple[int, int]) -> tuple[int, int]:
        """Give how far a word and a form agree around a sample; nothing for ordinary words."""
        form, there = self._texts[place[0]], place[1]
        first, last = at, at + _SAMPLE
        while first > 0 and there > 0 and word[first - 1] == form[there - 1]:
            first, there = first - 1, there - 1
        end = there + last - first
        while last < len(word) and end < len(form) and word[last] == form[end]:
            last, end = last + 1, end + 1
        found = word[first:last]
        ordinary = len(set(found)) < _DISTINCT or (self._raw[place[0]] and not _looks_random(found))
        return (at, at) if ordinary else (first, last)


def _looks_random(word: str) -> bool:
    """Tell a token from words: letters and digits, or a mix of large and small ones."""
    letters = any(sign.isalpha() for sign in word)
    large = sum(sign.isupper() for sign in word)
    small = sum(sign.islower() for sign in word)
    return letters and (any(sign.isdigit() for sign in word) or (large > 1 and small > 1))


def _grams(text: str, length: int) -> Iterator[str]:
    return (text[at : at + length] for at in range(len(text) - length + 1))
