"""Where keys and values stand in YAML and JSON, by text: enough to change a value in place.

No parser keeps comments, quotes and order, and files of charts hold templates that are no YAML.
What is read: keys with a value on their line, in blocks and in braces, and which of them stand in
one mapping. Block scalars (`|`, `>`) are data of somebody else and are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_KEY = re.compile(
    r"""(?P<quote>["']?)(?P<key>[A-Za-z_$][\w$./-]*)(?P=quote)[ \t]*:(?=[ \t\r\n]|$|["'{\[])"""
)
_PROPERTIES = re.compile(r"(?:[&!][^\s,\[\]{}]*[ \t]+)*")  # anchors and tags before a value
_BLOCK = re.compile(r"[|>][-+0-9]*[ \t]*(?:#.*)?$")
_PLAIN = re.compile(r"[^\s#](?:[^\n#]|(?<![ \t])#)*")
_PLAIN_IN_BRACES = re.compile(r"[^\s#,\[\]{}](?:[^\n#,\[\]{}]|(?<![ \t])#)*")
_WORD_END = re.compile(r"[\s,\[\]{}]")
_NONE = -2  # no column
_QUOTED = re.compile(r"""(?P<quote>["'])(?P<text>(?:(?!(?P=quote)).)*)(?P=quote)""")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A key with its value as written; `start` and `end` are those of the value, quotes inside."""

    key: str
    value: str  # empty, too, for what stands on lines of its own
    start: int
    end: int
    quote: str
    key_quote: str
    line: int  # from 1


@dataclass(kw_only=True)
class Mapping:
    """The keys of one mapping, and under which key it stands (nearest, lists apart)."""

    parent: str
    column: int  # of its keys; -1 in braces
    pairs: list[Pair] = field(default_factory=list)

    def pair(self, key: str) -> Pair | None:
        """Give a key's pair; None where it has none."""
        return next((each for each in self.pairs if each.key == key), None)

    def value(self, key: str) -> str:
        """Give a key's value; empty where it has none."""
        found = self.pair(key)
        return found.value if found else ""


def mappings(text: str) -> tuple[Mapping, ...]:
    """Give all mappings of a text, in the order in which they begin."""
    return tuple(_PairReader(text).read())


class _PairReader:
    """Goes through the lines once, with the open mappings of blocks and braces."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._blocks: list[tuple[Mapping, str]] = []  # and the last key without a value
        self._braces: list[tuple[Mapping, str]] = []
        self._found: list[Mapping] = []
        self._scalar = _NONE  # the column that a block scalar's lines stand right of
        self._quote = ""  # of a text that goes on in the next line

    def read(self) -> Iterator[Mapping]:
        at = int(self._text.startswith("\ufeff"))
        for number, line in enumerate(self._text[at:].split("\n"), 1):
            self._line(line.rstrip("\r"), at, number)
            at += len(line) + 1
        yield from self._found

    def _line(self, line: str, at: int, number: int) -> None:
        plain = line.strip()
        column = len(line) - len(line.lstrip(" "))
        if self._scalar > _NONE and (not plain or column > self._scalar):
            return
        self._scalar = _NONE
        if self._quote:
            ends = line.find(self._quote)
            column = len(line) if ends < 0 else ends + 1
            self._quote = self._quote if ends < 0 else ""
        elif line.startswith(("---", "...")):
            self._blocks, self._braces = [], []
            column = 4 if line.startswith("--- ") else len(line)
        elif plain.startswith("{{") and plain.endswith("}}"):
            return  # a line of a template
        elif not self._braces:
            column = self._dashes(line, column)
        self._values(line, column, at, number)

    def _dashes(self, line: str, column: int) -> int:
        """Pass over the marks of list items: what stands right of one is no mapping from before."""
        while line.startswith(("- ", "-\t"), column):
            self._close(column)
            mark = column
            column += 1
            column += len(line[column:]) - len(line[column:].lstrip(" \t"))
            if _BLOCK.match(line, column):
                self._scalar = mark
                return len(line)
        return column

    def _close(self, column: int) -> None:
        while self._blocks and self._blocks[-1][0].column > column:
            self._blocks.pop()

    def _values(self, line: str, place: int, at: int, number: int) -> None:
        while place < len(line):
            sign = line[place]
            if sign == "#" and (place == 0 or line[place - 1] in " \t"):
                return
            if sign in "{[":
                self._open(sign)
                place += 1
            elif sign in "}]":
                if self._braces:
                    self._braces.pop()
                place += 1
            elif found := _KEY.match(line, place):
                place = self._pair(line, found, at, number)
            elif quoted := _QUOTED.match(line, place):
                place = quoted.end()
            else:
                place = self._word(line, place)

    def _word(self, line: str, place: int) -> int:
        """Pass over what is no key: to the next sign that may begin one."""
        if line[place] in " \t,":
            return place + 1
        if not self._braces:
            return len(line)
        ends = _WORD_END.search(line, place + 1)
        return ends.start() if ends else len(line)

    def _open(self, sign: str) -> None:
        parent = self._parent()
        mapping = Mapping(parent=parent, column=-1)
        self._braces.append((mapping, parent))
        if sign == "{":
            self._found.append(mapping)

    def _parent(self) -> str:
        opened = self._braces or self._blocks
        return opened[-1][1] if opened else ""

    def _pair(self, line: str, found: re.Match[str], at: int, number: int) -> int:
        """Take a key and its value; give where to go on."""
        key = found["key"]
        mapping = self._mapping(found.start())
        place = found.end()
        place += len(line[place:]) - len(line[place:].lstrip(" \t"))
        before = _PROPERTIES.match(line, place)
        place = before.end() if before else place
        rest = line[place:]
        if rest.startswith("{{") and not self._braces:
            return len(line)  # a template gives it
        if not rest or rest[0] in "#{[":
            self._pending(key)
            if not rest or rest[0] == "#":
                mapping.pairs.append(_pair(found, "", (at + found.end(),) * 2, "", number))
            return place
        if not self._braces and _BLOCK.match(rest):
            self._scalar = mapping.column
            return len(line)
        value = self._scalar_at(line, place)
        if value is None:
            return place + 1
        start, end, text, quote = value
        mapping.pairs.append(_pair(found, text, (at + start, at + end), quote, number))
        self._pending("")
        return end

    def _scalar_at(self, line: str, place: int) -> tuple[int, int, str, str] | None:
        if quoted := _QUOTED.match(line, place):
            return quoted.start(), quoted.end(), quoted["text"], quoted["quote"]
        if line[place] in "\"'":
            self._quote = line[place]
            return place, len(line), line[place:], ""
        plain = (_PLAIN_IN_BRACES if self._braces else _PLAIN).match(line, place)
        if plain is None:
            return None
        text = plain[0].rstrip()
        return place, place + len(text), text, ""

    def _pending(self, key: str) -> None:
        """Remember under which key the next mapping stands."""
        opened = self._braces or self._blocks
        if opened:
            opened[-1] = (opened[-1][0], key)

    def _mapping(self, column: int) -> Mapping:
        if self._braces:
            return self._braces[-1][0]
        self._close(column)
        if self._blocks and self._blocks[-1][0].column == column:
            return self._blocks[-1][0]
        mapping = Mapping(parent=self._parent(), column=column)
        self._blocks.append((mapping, ""))
        self._found.append(mapping)
        return mapping


def _pair(found: re.Match[str], value: str, span: tuple[int, int], quote: str, number: int) -> Pair:
    return Pair(
        key=found["key"],
        value=value,
        start=span[0],
        end=span[1],
        quote=quote,
        key_quote=found["quote"],
        line=number,
    )
