"""How a text's words, quotes, escapes and variables are read.

It follows moby/buildkit's frontend/dockerfile/shell/lex.go character by character, because what
differs there by one character is another file in the image.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

# Go's unicode.IsSpace.
SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
SPACES += "\u200a\u2028\u2029\u202f\u205f\u3000"
_SPECIAL = "@*#?-$!0"
_IN_HEREDOC = " \t\r\n"
_READ = re.compile(r"[$'\"\\`]")  # what a word holds that stands for something else
_TO_ESCAPE = "[]{}.+()|^$"


class LexError(ValueError):
    """A text that can't be read; the message is for people."""


@dataclass(frozen=True, kw_only=True)
class Lexer:
    """The ways to read: which signs are kept or have no meaning.

    `raw_quotes` and `raw_escapes` keep these signs, `plain_quotes` makes quotes ordinary
    characters, `keep_unset` leaves variables without a value as they are written, `lenient` takes
    `${X:?}` for empty where X is not known.
    """

    escape: str = "\\"
    raw_quotes: bool = False
    raw_escapes: bool = False
    plain_quotes: bool = False
    keep_unset: bool = False
    lenient: bool = False

    def word(self, text: str, values: Mapping[str, str]) -> str:
        """Give a text with its variables' values; raises LexError."""
        if not _READ.search(text):
            return text.removeprefix("\ufeff")  # as nearly all are: read sign by sign for nothing
        return _Reading(self, text, values).until("", raw=self.raw_escapes)[0]

    def words(self, text: str, values: Mapping[str, str]) -> tuple[str, ...]:
        """Give the words of a text, split after values are put in; raises LexError."""
        return tuple(_Reading(self, text, values).until("", raw=self.raw_escapes)[1])


@dataclass
class _Words:
    found: list[str] = field(default_factory=list)
    word: str = ""
    inside: bool = False

    def add(self, text: str) -> None:
        for sign in text:
            if sign not in SPACES:
                self.add_raw(sign)
            elif self.inside and self.word:
                self.found.append(self.word)
                self.word, self.inside = "", False

    def add_raw(self, text: str) -> None:
        self.word += text
        self.inside = True

    def all(self) -> list[str]:
        return [*self.found, self.word] if self.word else self.found


class _Reading:
    """One text that is being read."""

    def __init__(self, lexer: Lexer, text: str, values: Mapping[str, str]) -> None:
        self._lexer = lexer
        self._text = text.removeprefix("\ufeff")
        self._values = values
        self._at = 0

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        sign = self._peek()
        self._at += 1
        return sign

    def until(self, stop: str, *, raw: bool) -> tuple[str, list[str]]:
        """Read up to a sign, empty: to the end; give the text and its words."""
        special: dict[str, Callable[[], str]] = {
            "$": self._dollar,
            "<": self._possible_heredoc,
        }
        if not self._lexer.plain_quotes:
            special |= {"'": self._single, '"': lambda: self._double(raw=raw)}
        words = _Words()
        result: list[str] = []
        while sign := self._peek():
            if sign == stop:
                self._at += 1
                return "".join(result), words.all()
            if sign in special:
                found = special[sign]()
                (words.add if sign == "$" else words.add_raw)(found)
            elif sign == self._lexer.escape:
                self._at += 1
                found = (sign if raw else "") + self._next()
                words.add_raw(found)
            else:
                found = self._next()
                words.add(found)
            result.append(found)
        if stop:
            raise LexError(f"{stop} is missing")
        return "".join(result), words.all()

    def _possible_heredoc(self) -> str:
        """Take `<<` with the blanks that may stand before a heredoc's name."""
        start = self._at
        self._at += 1
        if self._peek() == "<":
            self._at += 1
            while self._peek() and self._peek() in _IN_HEREDOC:
                self._at += 1
        return self._text[start : self._at]

    def _single(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise LexError("a ' has no partner")
        whole, self._at = self._text[self._at : end + 1], end + 1
        return whole if self._lexer.raw_quotes else whole[1:-1]

    def _double(self, *, raw: bool) -> str:
        self._at += 1
        result: list[str] = []
        while sign := self._peek():
            if sign == '"':
                self._at += 1
                quote = '"' if self._lexer.raw_quotes else ""
                return f"{quote}{''.join(result)}{quote}"
            if sign == "$":
                result.append(self._dollar())
                continue
            self._at += 1
            if sign == self._lexer.escape:
                if raw:
                    result.append(sign)
                following = self._peek()
                if not following:
                    continue
                if following in ('"', "$", self._lexer.escape):
                    sign = self._next()
            result.append(sign)
        raise LexError('a " has no partner')

    def _dollar(self) -> str:
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            return self._value(name, f"${name}") if name else "$"
        self._at += 1
        if self._peek() in ("", "{", "}", ":"):
            raise LexError("bad substitution after ${")
        start = self._at
        name, operator = self._name(), self._next()
        if operator == "}":
            return self._value(name, f"${{{name}}}")
        if operator == "/":
            found = self._replaced(name)
        else:
            colon = operator == ":"
            found = self._operated(name, self._next() if colon else operator, colon=colon)
        if self._lexer.keep_unset and name not in self._values:
            return f"${{{self._text[start : self._at]}"
        return found

    def _value(self, name: str, written: str) -> str:
        return self._values.get(name, written if self._lexer.keep_unset else "")

    def _operated(self, name: str, operator: str, *, colon: bool) -> str:
        """Give `${NAME:-word}` and its like."""
        if operator not in ("+", "-", "?", "#", "%") or not operator:
            raise LexError(f"no operator {':' if colon else ''}{operator} in ${{{name}...}}")
        word, _ = self.until("}", raw=operator in "#%")
        value = self._values.get(name)
        present = bool(value) if colon else value is not None
        if operator == "-":
            return value or "" if present else word
        if operator == "+":
            return word if present else ""
        if operator == "?":
            unsure = self._lexer.keep_unset or self._lexer.lenient
            if not present and (value is not None or not unsure):
                raise LexError(f"{name}: {word or 'is not allowed to be unset or empty'}")
            return value or ""
        greedy = word.startswith(operator)
        return _cut(value or "", operator, word[greedy:], greedy=greedy)

    def _replaced(self, name: str) -> str:
        """Give `${NAME/pattern/text}`; a doubled `/` replaces every match."""
        every = self._peek() == "/"
        self._at += every
        pattern, _ = self.until("/", raw=True)
        text, _ = self.until("}", raw=True)
        expression = _expression(pattern, greedy=True)
        return re.sub(
            expression, lambda _: text, self._values.get(name, ""), count=0 if every else 1
        )

    def _name(self) -> str:
        sign = self._peek()
        if sign.isdigit():
            end = self._at
            while self._text[end : end + 1].isdigit():
                end += 1
        elif sign and sign in _SPECIAL:
            end = self._at + 1
        else:
            end = self._at
            while (sign := self._text[end : end + 1]) and (sign.isalnum() or sign == "_"):
                end += 1
        name, self._at = self._text[self._at : end], end
        return name


def quoted_word(value: str, escape: str = "\\") -> str:
    r"""Give a value as one word that means it, whatever is in it.

    To engines only a backslash escapes within a word, whatever the file says of it; how words are
    told apart is another matter.

    >>> quoted_word("1.2"), quoted_word("$5 off"), quoted_word("it's", "`")
    ('1.2', '"\\$5 off"', '\'it\'"\'"\'s\'')
    """
    if re.fullmatch(r"[\w./:@,+=-]*", value):
        return value
    if escape != "\\":
        return shlex.quote(value)
    inner = "".join(f"\\{sign}" if sign in '"$\\' else sign for sign in value)
    return f'"{inner}"'


def _cut(value: str, operator: str, pattern: str, *, greedy: bool) -> str:
    """Cut what a pattern matches: `#` at the start, `%` at the end; as much as it can if greedy.

    >>> _cut("1.2.3", "%", ".*", greedy=False), _cut("1.2.3", "#", "*.", greedy=True)
    ('1.2', '3')
    """
    if operator == "#":
        found = re.match(_expression(pattern, greedy=greedy), value)
        return value[found.end() :] if found else value
    starts = range(len(value) + 1) if greedy else range(len(value), -1, -1)
    expression = re.compile(_expression(pattern, greedy=True))
    return next((value[:at] for at in starts if expression.fullmatch(value, at)), value)


def _expression(pattern: str, *, greedy: bool) -> str:
    r"""Give a shell pattern as a regular expression; `.` matches no line's end, as in Go.

    >>> _expression("*.t?", greedy=True)
    '.*\\.t.'
    """
    found = []
    signs = iter(pattern)
    for sign in signs:
        match sign:
            case "*":
                found.append(".*" if greedy else ".*?")
            case "?":
                found.append(".")
            case "\\":
                following = next(signs, "")
                if following not in ("*", "?", "\\", "}", "/"):
                    raise LexError(f"no escape \\{following} in a pattern")
                found.append(re.escape(following))
            case _:
                found.append(f"\\{sign}" if sign in _TO_ESCAPE else sign)
    return "".join(found)
