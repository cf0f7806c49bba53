"""Ignore files by Docker's rules: the one matcher that decides what a build may see.

Reading follows moby/patternmatcher's ignorefile.ReadAll, matching its PatternMatcher as BuildKit
walks a context with it (MatchesUsingParentResults). Engines have matchers of their own, which read
many patterns in another way: they are only given names (`write_ignore`).

What podbuild keeps out of contexts: git's own folder, and the names that podbuild writes.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from podbuild.build.inputs.patterns import BadPatternError, check_syntax, matcher_of
from podbuild.config.output import OUTPUT_MARK, OUTPUT_NAMES, foreign_names, own_logs, torn_names
from podbuild.errors import ConfigError

# What Go's strings.TrimSpace takes away; Python's strip takes the separators of ASCII, too.
_BLANKS = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
_BLANKS += "\u200a\u2028\u2029\u202f\u205f\u3000"
_ENTRIES = ("run-????????T??????Z-*-????.json", "runs-??????.json")  # of a history's folder
_LONGEST = 64 * 1024  # bytes of a line that bufio.Scanner reads


def parse_ignore(text: str, *, where: str = "the ignore file") -> tuple[str, ...]:
    r"""Give the patterns, cleaned: no comments, no blank lines, no leading slash.

    Raises ConfigError, naming `where` and the line, for a pattern that Docker refuses.

    >>> parse_ignore("# no\n /a/../b/ \n! c")
    ('b', '!c')
    """
    found = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        pattern = _clean(line.removesuffix("\r"))
        if not pattern:
            continue
        try:
            if len(line.encode("utf-8", "surrogateescape")) >= _LONGEST:
                raise BadPatternError("it is longer than 64 KiB")  # noqa: TRY301
            _compile(pattern)
        except BadPatternError as error:
            raise ConfigError(
                f"{where}:{number}: bad pattern {pattern[:60]!r}: {error}",
                hint="correct it or take it out; a backslash before [ or * makes it a plain sign",
            ) from None
        found.append(pattern)
    return tuple(found)


def _clean(line: str) -> str:
    if line.startswith("#"):
        return ""
    text = line.strip(_BLANKS)
    mark = "!" if text.startswith("!") else ""
    pattern = text[len(mark) :].strip(_BLANKS)
    if pattern:
        pattern = _normal(pattern)
        pattern = pattern[1:] if len(pattern) > 1 and pattern.startswith("/") else pattern
    return mark + pattern


def _normal(pattern: str) -> str:
    """Clean as Go's filepath.Clean does; two slashes at the start mean nothing there."""
    return posixpath.normpath(pattern[1:] if pattern.startswith("//") else pattern)


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
        *ignore_files(context),
    )
    return next((path for path in candidates if path.exists()), None)


def ignore_files(folder: Path) -> tuple[Path, Path]:
    """Give the ignore files that a folder may hold for itself; the first one that exists holds."""
    return folder / ".containerignore", folder / ".dockerignore"


Marks = tuple[bool, ...]  # which patterns match a path, or a folder that it is in


@dataclass(frozen=True)
class Matcher:
    """Tells what patterns leave out; of those that match, the last one decides."""

    patterns: tuple[str, ...]

    def excludes(self, path: str) -> bool:
        """Tell whether a path (relative to the context, with slashes) is left out."""
        return self.judge(path)[0]

    def judge(self, path: str) -> tuple[bool, Marks]:
        """Tell whether a path is left out, and give what `judge_below` needs for what is in it."""
        marks: Marks = ()
        left_out = False
        for end in (*(at for at, sign in enumerate(path) if sign == "/"), len(path)):
            left_out, marks = self.judge_below(marks, path[:end])
        return left_out, marks

    def judge_below(self, above: Marks, path: str) -> tuple[bool, Marks]:
        """Do the same where the marks of the folder above are known, none at the root.

        A pattern that could change nothing is not tried, so it does not count for what is below:
        that is Docker's rule, not only its haste.
        """
        left_out = False
        marks = []
        for at, pattern in enumerate(self._compiled):
            matches = bool(above) and above[at]
            if not matches and pattern.included == left_out:
                matches = pattern.fits(path)
            marks.append(matches)
            if matches:
                left_out = not pattern.included
        return left_out, tuple(marks)

    def may_include_below(self, folder: str) -> bool:
        """Tell whether anything under an excluded folder could be sent all the same."""
        return any(
            pattern.included and _overlaps(pattern.literal, folder) for pattern in self._compiled
        )

    @cached_property
    def outputs(self) -> frozenset[str]:
        """Give where podbuild writes in the context: the folder, empty for the context itself."""
        own = [pattern for pattern in self.patterns if posixpath.basename(pattern) == OUTPUT_MARK]
        return frozenset(re.sub(r"\\(.)", r"\1", posixpath.dirname(pattern)) for pattern in own)

    @cached_property
    def _compiled(self) -> tuple[_Pattern, ...]:
        try:
            found = tuple(map(_compile, self.patterns))
        except BadPatternError as error:
            raise ConfigError(f"bad pattern: {error}", hint="correct or remove it") from None
        return tuple(pattern for pattern in found if pattern is not None)


@dataclass(frozen=True)
class _Pattern:
    fits: Callable[[str], bool]
    included: bool  # it began with "!"
    literal: str  # what comes before its first wildcard


def _overlaps(literal: str, folder: str) -> bool:
    below = f"{folder}/"
    return literal.startswith(below) or below.startswith(literal)


def _compile(written: str) -> _Pattern | None:
    """Read one pattern as patternmatcher.New does; None for one of blanks alone."""
    pattern = written.strip(_BLANKS)
    if not pattern:
        return None
    pattern = _normal(pattern)
    included = pattern.startswith("!")
    text = pattern.removeprefix("!")
    if not text:
        raise BadPatternError("nothing follows the exclamation mark")
    check_syntax(text)
    literal = re.split(r"[*?\[\\{|^]", text, maxsplit=1)[0]
    return _Pattern(matcher_of(text), included, literal)


def write_ignore(names: Iterable[str], outputs: Iterable[str] = ()) -> str:
    """Give the text of an ignore file that leaves out just these names, for any engine's matcher.

    Only for names that `can_write` allows. Where podbuild writes (`outputs`) the journal is left
    out while it is written, too: that takes moments, and its name is made up anew each time.
    """
    torn = (_literal(f"{folder}/.state.json.".removeprefix("/")) for folder in outputs)
    lines = (*map(_literal, names), *(f"{name}{'?' * 16}.part" for name in torn))
    return "".join(f"{line}\n" for line in lines)


def can_write(names: Iterable[str]) -> bool:
    """Tell whether lines of an ignore file can stand for these names."""
    return not any(_UNWRITABLE.search(name) for name in names)


_SPECIAL = re.compile(r"[*?\\\[\](){}|+^$]|^[#!]")
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\x85\ufeff\ufffd\ud800-\udfff]|^\s|\s$")


def _literal(name: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", name)


def own_patterns(
    context: Path,
    output: Path,
    layouts: tuple[Path, ...] = (),
    secrets: tuple[Path, ...] = (),
    history: Path | None = None,
) -> tuple[str, ...]:
    """Give the patterns that come before those of the ignore file, so that `!.git` wins.

    `layouts` are the folders of layout registries; only those inside the output folder count.
    `secrets` are files with build secrets, which no COPY of the folder around them may take along.
    Of `history`, a folder, the entries are left out: each run leaves one.

    >>> own_patterns(Path("/p"), Path("/p/dist"))[:2]
    ('.git', 'dist/.podbuild')
    """
    found, foreign = [".git"], {*foreign_names(output)} - {"state.json", "podbuild.env"}
    names = tuple(name for name in OUTPUT_NAMES if name not in foreign)
    names += tuple(map(_literal, torn_names(output)))
    if "logs" in foreign:
        names += tuple(map(_literal, own_logs(output)))
    if output.is_relative_to(context) and output != context:
        prefix = _literal(output.relative_to(context).as_posix())
        found.extend(f"{prefix}/{name}" for name in names)
        found.extend(
            _literal(path.relative_to(context).as_posix())
            for path in layouts
            if path.is_relative_to(output)
        )
    elif output == context:
        found.extend(names)
    found.extend(
        _literal(path.relative_to(context).as_posix())
        for path in secrets
        if path.is_relative_to(context)
    )
    if history and history.is_relative_to(context):
        prefix = _literal(history.relative_to(context).as_posix())
        found.extend(f"{prefix}/{name}".removeprefix("./") for name in _ENTRIES)
    return tuple(found)


def kept_out(own: tuple[str, ...], ignored: tuple[str, ...]) -> tuple[str, ...]:
    """Give the own patterns that hold whatever an ignore file says of the folders around them.

    Only a line that names one itself brings it back: `!dist` is meant for a project's own files.

    >>> kept_out((".git", "dist/logs", "dist/plan.json"), ("*", "!dist", "!dist/logs/mine"))
    ('.git', 'dist/plan.json')
    """
    named = tuple(f"{pattern[1:]}/" for pattern in ignored if pattern.startswith("!"))
    return tuple(each for each in own if not any(name.startswith(f"{each}/") for name in named))
