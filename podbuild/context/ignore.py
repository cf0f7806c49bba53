"""Ignore files: which files of a context an engine leaves out.

Reading follows moby's ignorefile.ReadAll, matching follows containers/storage's
fileutils.PatternMatcher, which buildah and podman use.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from podbuild.errors import ConfigError


def parse_ignore(text: str) -> tuple[str, ...]:
    r"""Give the patterns, cleaned: no comments, no blank lines, no leading slash.

    >>> parse_ignore("# no\n /a/../b/ \n! c")
    ('b', '!c')
    """
    lines = text.removeprefix("\ufeff").splitlines()
    cleaned = (_clean(line.strip()) for line in lines if not line.startswith("#"))
    return tuple(pattern for pattern in cleaned if pattern.strip("!"))


def _clean(line: str) -> str:
    mark = "!" if line.startswith("!") else ""
    pattern = line[len(mark) :].strip()
    if not pattern:
        return ""
    cleaned = posixpath.normpath(pattern)
    return mark + (cleaned.lstrip("/") if len(cleaned) > 1 else cleaned)


def applicable_ignore_file(context: Path, containerfile: Path, given: Path | None) -> Path | None:
    """Give the ignore file that holds for a build, in buildah's own order.

    Raises ConfigError when the given one does not exist.
    """
    if given is not None:
        if not given.is_file():
            raise ConfigError(f"no such ignore file: {given}", hint="take the key ignorefile out")
        return given
    candidates = (
        containerfile.with_name(f"{containerfile.name}.dockerignore"),
        containerfile.with_name(f"{containerfile.name}.containerignore"),
        context / ".containerignore",
        context / ".dockerignore",
    )
    return next((path for path in candidates if path.exists()), None)


@dataclass(frozen=True)
class Matcher:
    """Tells what patterns leave out; of those that match, the last one decides."""

    patterns: tuple[str, ...]

    def excludes(self, path: str) -> bool:
        """Tell whether a path (relative to the context, with slashes) is left out."""
        parents = path.split("/")[:-1]
        left_out = False
        for pattern in self._compiled:
            if pattern.included != left_out:
                continue  # it could change nothing
            if pattern.matches(path, parents):
                left_out = not pattern.included
        return left_out

    def may_include_below(self, folder: str) -> bool:
        """Tell whether anything under an excluded folder could be sent all the same."""
        return any(
            pattern.included and _overlaps(pattern.literal, folder) for pattern in self._compiled
        )

    @cached_property
    def _compiled(self) -> tuple[_Pattern, ...]:
        return tuple(map(_compile, self.patterns))


@dataclass(frozen=True)
class _Pattern:
    readings: tuple[
        re.Pattern[str], ...
    ]  # `+()|{}^` mean themselves, or what a regex makes of them
    depth: int  # how many names the pattern has
    included: bool  # it began with "!"
    literal: str  # what comes before its first wildcard

    def matches(self, path: str, parents: list[str]) -> bool:
        """Tell whether it matches the path, or a folder that the path is in."""
        return self._fits(path) or (
            len(parents) >= self.depth and self._fits("/".join(parents[: self.depth]))
        )

    def _fits(self, path: str) -> bool:
        """In doubt, the file is sent: hashing too much is never wrong."""
        found = [bool(regex.fullmatch(path)) for regex in self.readings]
        return any(found) if self.included else all(found)


def _overlaps(literal: str, folder: str) -> bool:
    below = f"{folder}/"
    return literal.startswith(below) or below.startswith(literal)


def _compile(pattern: str) -> _Pattern:
    included = pattern.startswith("!")
    text = pattern.removeprefix("!")
    try:
        readings = tuple(
            re.compile(expression, re.DOTALL)
            for expression in dict.fromkeys(
                (_expression(text, _literally), _expression(text, _as_regex))
            )
        )
    except re.error as error:
        raise ConfigError(
            f"bad pattern {pattern!r} in an ignore file: {error}", hint="correct or remove it"
        ) from None
    literal = re.split(r"[*?\[\\]", text, maxsplit=1)[0]
    return _Pattern(readings, text.count("/") + 1, included, literal)


def _literally(character: str) -> str:
    return re.escape(character)


def _as_regex(character: str) -> str:
    """Older versions escape nothing but these."""
    return re.escape(character) if character in ".$" else character


def _expression(pattern: str, plain: Callable[[str], str]) -> str:
    """Translate as fileutils does: `**` crosses folders, `*` and `?` do not, [...] is a set."""
    found = []
    tokens = re.findall(r"\*\*/?$|\*\*/?|\*|\?|\\.|\[(?:\\.|[^\]\\])*\]|.", pattern, re.DOTALL)
    for token in tokens:
        match token:
            case "**" | "**/":
                found.append("(?:.*/)?")
            case "*":
                found.append("[^/]*")
            case "?":
                found.append("[^/]")
            case _ if token.startswith("\\") and len(token) > 1:
                found.append(re.escape(token[1]))
            case _ if token.startswith("[") and len(token) > 1:
                found.append(token)
            case _:
                found.append(plain(token))
    if pattern.endswith(("**", "**/")):
        found[-1] = ".*"
    return "".join(found)


def write_ignore(patterns: Iterable[str]) -> str:
    """Give the text of an ignore file with these patterns; none of them becomes a comment."""
    return "".join(f"{_escaped(pattern)}\n" for pattern in patterns)


def _escaped(pattern: str) -> str:
    return f"\\{pattern}" if pattern.startswith("#") else pattern
