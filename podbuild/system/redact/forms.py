"""What a secret looks like: itself, its lines, and pieces of its encoded forms.

Encoded forms (base64, hex) get wrapped, cut and put into something longer, so any `WINDOW`
characters of them stand for the secret. Pieces of a window's size are found by short samples of
the forms: each window holds one sample whole.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import field

from podbuild.system.later import dataclass

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
