"""Patterns of ignore files as Go reads them.

The syntax is that of path/filepath's Match, the meaning moby/patternmatcher's translation to a
regular expression of RE2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

# patternmatcher.shouldEscape, whose map of bits is too short for the `|{}` that it means to hold
_ESCAPED = frozenset(".+()$")
_REPEAT = re.compile(r"\{(\d+)(?:,(\d*))?\}")  # what RE2 reads as such; Python reads {,n} too
_MOST_REPEATS = 1000
_BLANK_CLASS = r"\t\n\f\r "  # RE2's \s, which lacks the vertical tab
_CLASSES = {"d": "0-9", "s": _BLANK_CLASS, "w": "0-9A-Za-z_"}
_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_SIGNS = frozenset("afnrtv")


class BadPatternError(ValueError):
    """A pattern that Docker refuses, or that only its regular expressions could read."""


def check_syntax(pattern: str) -> None:
    """Raise BadPatternError where filepath.Match would give ErrBadPattern."""
    at = 0
    while at < len(pattern):
        if pattern[at] == "\\":
            at += 1
            if at == len(pattern):
                raise BadPatternError("nothing follows the backslash")
        elif pattern[at] == "[":
            at = _end_of_class(pattern, at + 1)
        at += 1


def _end_of_class(pattern: str, at: int) -> int:
    at += pattern[at : at + 1] == "^"
    start = at
    while not (at > start and pattern[at : at + 1] == "]"):
        at = _one(pattern, at)
        if pattern[at : at + 1] == "-":
            at = _one(pattern, at + 1)
    return at


def _one(pattern: str, at: int) -> int:
    """Pass over a character of a class, escaped or not."""
    if pattern[at : at + 1] in ("", "-", "]"):
        raise BadPatternError("a class of characters [...] that is not complete")
    at += pattern[at] == "\\"
    if at + 1 >= len(pattern):
        raise BadPatternError("a class of characters [...] without its end")
    return at + 1


def matcher_of(pattern: str) -> Callable[[str], bool]:
    """Give what tells whether a path is what a pattern means, folders above it apart.

    Follows Pattern.compile and Pattern.match of patternmatcher.go. Raises BadPatternError.
    """
    kind, expression = _translate(pattern)
    match kind:
        case "exact":
            return pattern.__eq__
        case "prefix":
            start = pattern[:-2]
            return lambda path: path.startswith(start)
        case "suffix":
            end = pattern[2:]
            return lambda path: path.endswith(end) or (end[:1] == "/" and path == end[1:])
        case _:
            search = _compiled(rf"^{expression}\z").search
            return lambda path: search(path) is not None


def _translate(pattern: str) -> tuple[str, str]:
    kind, found = "exact", []
    at = 0
    while at < len(pattern):
        sign, first = pattern[at], at == 0
        at += 1
        if sign == "*" and pattern[at : at + 1] == "*":
            at += 1
            at += pattern[at : at + 1] == "/"
            if at == len(pattern):
                if kind == "exact":
                    kind = "prefix"
                else:
                    kind = "regexp"
                    found.append(".*")
            else:
                kind = "regexp"
                found.append("(.*/)?")
            kind = "suffix" if first else kind
        elif sign in "*?":
            found.append("[^/]*" if sign == "*" else "[^/]")
            kind = "regexp"
        elif sign in _ESCAPED:
            found.append(f"\\{sign}")
        elif sign == "\\":
            found.append(f"\\{pattern[at : at + 1]}")
            at += 1
            kind = "regexp"
        else:
            found.append(sign)
            kind = "regexp" if sign in "[]" else kind
    return kind, "".join(found)


def _compiled(expression: str) -> re.Pattern[str]:
    """Compile an expression of RE2 as Python's; raises BadPatternError."""
    try:
        return re.compile("".join(_tokens(expression)), re.ASCII)
    except re.error as error:
        raise BadPatternError(str(error)) from None


def _tokens(expression: str) -> Iterator[str]:
    at = 0
    while at < len(expression):
        sign = expression[at]
        if sign == "\\":
            yield _escape(expression[at + 1])
            at += 2
        elif sign == "[":
            text, at = _class(expression, at + 1)
            yield text
        elif sign == "{" and (repeat := _REPEAT.match(expression, at)):
            if max(int(number) for number in repeat.groups() if number) > _MOST_REPEATS:
                raise BadPatternError(f"{repeat[0]} repeats too often")
            yield repeat[0]
            at = repeat.end()
        elif sign in "]{}":
            yield f"\\{sign}"
            at += 1
        else:
            yield sign
            at += 1


def _escape(sign: str) -> str:
    if sign in _CLASSES:
        return f"[{_CLASSES[sign]}]"
    if sign.lower() in _CLASSES:
        return f"[^{_CLASSES[sign.lower()]}]"
    if sign == "z":
        return r"\Z"
    return rf"\{sign}" if sign in "bBA" else _plain(sign)


def _plain(sign: str) -> str:
    """Take what is escaped as itself where Go does, else as the few letters that mean a sign."""
    if sign.isascii() and not sign.isalnum():
        return re.escape(sign)
    if sign in _SIGNS:
        return rf"\{sign}"
    raise BadPatternError(f"a backslash before {sign!r} means nothing")


def _class(expression: str, at: int) -> tuple[str, int]:
    """Read a class of characters from behind its bracket; give it with what comes after."""
    negated = expression[at : at + 1] == "^"
    at += negated
    found: list[str] = []
    first = True
    while first or expression[at : at + 1] != "]":
        first = False
        name = re.compile(r"\[:(\^?)(\w+):\]").match(expression, at)
        if name and name[2] in _POSIX and not name[1]:
            found.append(_POSIX[name[2]])
            at = name.end()
        elif name:
            raise BadPatternError(f"there is no class {name[0]}")
        elif expression[at : at + 1] == "\\" and expression[at + 1 : at + 2] in _CLASSES:
            found.append(_CLASSES[expression[at + 1]])
            at += 2
        else:
            low, at = _member(expression, at)
            if expression[at : at + 1] == "-" and expression[at + 1 : at + 2] != "]":
                high, at = _member(expression, at + 1)
                found.append(f"{low}-{high}")
            else:
                found.append(low)
    return f"[{'^' if negated else ''}{''.join(found)}]", at + 1


def _member(expression: str, at: int) -> tuple[str, int]:
    sign = expression[at : at + 1]
    if not sign:
        raise BadPatternError("a class of characters [...] without its end")
    if sign == "\\":
        return _plain(expression[at + 1 : at + 2] or "]"), at + 2
    return re.escape(sign) if sign.isascii() else sign, at + 1
