"""`COPY --exclude` as BuildKit reads it: patterns count from the folder that is copied.

Engines count them from the root of where they copy from, and read them with a matcher of their
own. The copy of the Containerfile that they are given names what is left out of a context file by
file. What comes from a stage or an image is copied to a stage of its own first, where no link is
on the way to it, with the folder before each pattern.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from podbuild.build.inputs.instructions import Instruction
from podbuild.build.inputs.reach import Wanted
from podbuild.errors import ConfigError

# What every matcher reads alike, once a folder stands before it.
_ALIKE = re.compile(r"(?:\*\*/)?(?!.*\*\*)[\w.*?/-]+", re.ASCII)
_PLAIN_SOURCE = re.compile(r"[\w./-]+", re.ASCII)
_IN_FLAG = re.compile(r"[\w./@:,=~%-]+", re.ASCII)
_HINT = "copy what is wanted by its names, or leave the rest out with an ignore file"


@dataclass(frozen=True)
class Excluding:
    """An instruction with --exclude: what it takes, and of which context.

    `place` is None where it copies from a stage or an image, `wanted` where that can't be told.
    """

    instruction: Instruction
    place: str | None
    wanted: Wanted | None


@dataclass(frozen=True)
class Patterns:
    """The patterns that the engine is given.

    `places` are sources, and where each is copied to first, in a stage of its own.
    """

    patterns: tuple[str, ...]
    places: tuple[tuple[str, str], ...] = ()


def patterns_for_stage(excluding: Excluding) -> Patterns:
    """Give the patterns that an engine must be given for a copy from a stage or an image.

    Raises ConfigError, with file and line, where they can't mean the same to it.
    """
    wanted, place = excluding.wanted, excluding.instruction.place
    if wanted is None or wanted.parents or "$" in (excluding.instruction.flag("from") or ""):
        raise ConfigError(f"{place}: --exclude can't be told from what is copied", hint=_HINT)
    found, places = [], []
    for at, written in enumerate(wanted.sources):
        if not _PLAIN_SOURCE.fullmatch(written):
            raise ConfigError(
                f"{place}: --exclude with the source {written} means another thing to the engine",
                hint="name a folder of the stage, without wildcards",
            )
        source = posixpath.normpath(f"/{written}").lstrip("/")
        places.append((source, f"/{at}/{posixpath.basename(source)}".rstrip("/")))
    for pattern in map(posixpath.normpath, wanted.excludes):
        if pattern.startswith(("/", "..")) or pattern == ".":
            continue  # it matches nothing
        if not _ALIKE.fullmatch(pattern):
            raise ConfigError(
                f"{place}: the engine reads --exclude={pattern} in another way", hint=_HINT
            )
        found += [f"{copied[1:]}/{pattern}" for _, copied in places]
    return Patterns(tuple(found), tuple(places))


def unfit_for_stage(excluding: Excluding) -> ConfigError | None:
    """Give why a copy from a stage or an image can't be handed over; its place left out."""
    try:
        patterns_for_stage(excluding)
    except ConfigError as error:
        message = error.message.removeprefix(f"{excluding.instruction.place}: ")
        return ConfigError(message, hint=error.hint)
    return None


def engine_patterns(
    excluding: tuple[Excluding, ...],
    names_of: Callable[[str, Wanted], frozenset[str] | None],
) -> Mapping[int, Patterns]:
    """Give the patterns that the engine is given, by the line of the instruction.

    `names_of` gives what one copy leaves out of a context, None where sources contradict each
    other. Raises ConfigError with file and line for what can't be handed over.
    """
    return {
        each.instruction.line: patterns_for_stage(each)
        if each.place is None
        else Patterns(_names(each, names_of))
        for each in excluding
    }


def _names(
    excluding: Excluding, names_of: Callable[[str, Wanted], frozenset[str] | None]
) -> tuple[str, ...]:
    where = excluding.instruction.place
    if excluding.wanted is None or excluding.place is None:
        raise ConfigError(f"{where}: what --exclude leaves out can't be told", hint=_HINT)
    names = names_of(excluding.place, excluding.wanted)
    if names is None:
        raise ConfigError(
            f"{where}: --exclude leaves out of one source what another one takes",
            hint="write a COPY for each source",
        )
    for name in names:
        if not _IN_FLAG.fullmatch(name):
            raise ConfigError(
                f"{where}: --exclude leaves out {name!r}, which no flag of the engine can name",
                hint=_HINT,
            )
    return tuple(sorted(names))
