"""Ignore files: which files of a context an engine leaves out.

Reading follows moby's ignorefile.ReadAll, matching follows containers/storage's
fileutils.PatternMatcher, which buildah and podman use.

What podbuild keeps out of contexts: git's own folder, and the names that podbuild writes.
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


# Everything that a release writes into the output folder (design, "Files a release leaves").
OUTPUT_NAMES = (
    ".podbuild",
    "artifacts.json",
    "digests.txt",
    "logs",
    "metadata.json",
    "metrics.json",
    "plan.json",
    "podbuild.env",
    "registry",
    "relocation.json",
    "staging",
    "state.json",
    "state-*.json",
    "summary.md",
)


_SPECIAL = re.compile(r"([*?\[\]\\])")


def own_patterns(
    context: Path, output: Path, layouts: tuple[Path, ...] = (), secrets: tuple[Path, ...] = ()
) -> tuple[str, ...]:
    """Give the patterns that come before those of the ignore file, so that `!.git` wins.

    `layouts` are the folders of layout registries; only those inside the output folder count.
    `secrets` are files with build secrets, which no COPY of the folder around them may take along.

    >>> own_patterns(Path("/p"), Path("/p/dist"))[:2]
    ('.git', 'dist/.podbuild')
    """
    found = [".git"]
    if output.is_relative_to(context) and output != context:
        prefix = _literal(output.relative_to(context))
        found.extend(f"{prefix}/{name}" for name in OUTPUT_NAMES)
        found.extend(
            _literal(path.relative_to(context)) for path in layouts if path.is_relative_to(output)
        )
    elif output == context:
        found.extend(OUTPUT_NAMES)
    found.extend(
        _literal(path.relative_to(context)) for path in secrets if path.is_relative_to(context)
    )
    return tuple(found)


def kept_out(own: tuple[str, ...], ignored: tuple[str, ...]) -> tuple[str, ...]:
    """Give the own patterns that hold whatever an ignore file says of the folders around them.

    Only a line that names one itself brings it back: `!dist` is meant for a project's own files.

    >>> kept_out((".git", "dist/logs", "dist/plan.json"), ("*", "!dist", "!dist/logs/mine"))
    ('.git', 'dist/plan.json')
    """
    named = tuple(f"{pattern[1:]}/" for pattern in ignored if pattern.startswith("!"))
    return tuple(each for each in own if not any(name.startswith(f"{each}/") for name in named))


def _literal(path: Path) -> str:
    return _SPECIAL.sub(r"\\\1", path.as_posix())
