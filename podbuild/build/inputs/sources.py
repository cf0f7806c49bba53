"""Sources of COPY, ADD and bind mounts: whether the context has them, and shows them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from podbuild.build.inputs.copying import is_unpacked, symbolic_mode
from podbuild.build.inputs.ignore import Matcher
from podbuild.build.inputs.instructions import REMOTE, Instruction, parse_heredoc
from podbuild.build.inputs.tree import find_inside
from podbuild.build.inputs.unfit import are_known

_SOURCE_AND_PLACE = 2
_GLOB = re.compile(r"[*?\[\\]")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The context of a build, and what its ignore file leaves out."""

    folder: Path
    matcher: Matcher


def unfit_sources(
    instruction: Instruction, known: Mapping[str, str], shown: Shown
) -> Iterator[tuple[str, str]]:
    """Find sources that are not in the context, or that its ignore file leaves out."""
    if instruction.word not in ("COPY", "ADD") or instruction.flag("from") is not None:
        return
    yield from _renamed(instruction, known, shown)
    for word in (instruction.array or instruction.words)[:-1]:
        if parse_heredoc(word) or not are_known(word, known):
            continue
        source = instruction.expand(word, known)
        fetched = _is_fetched(instruction, source)
        if fetched and symbolic_mode(instruction, known):
            yield _octal_only(instruction, source)
        if fetched:
            continue
        missing = [*_missing(instruction, source, _plain_path(source), shown)]
        yield from missing
        found = None if missing else find_inside(shown.folder, f"{source}/.")
        if instruction.word == "ADD" and found and is_unpacked(instruction, found):
            yield from _of_archive(instruction, known, source)


def unfit_mount_sources(instruction: Instruction, shown: Shown) -> Iterator[tuple[str, str]]:
    """Find what a RUN is to see of the context and can't."""
    for options in instruction.mounts:
        source = options.get("source", "")
        if options.get("type", "bind") == "bind" and not options.get("from") and "$" not in source:
            yield from _missing(instruction, source, source, shown)


def _plain_path(source: str) -> str:
    """Give a path up to a wildcard: no match is nothing to BuildKit, no folder is a mistake."""
    parts = os.path.normpath(f"/{source}").strip("/").split("/")
    return "/".join(takewhile(lambda part: not _GLOB.search(part), parts))


def _missing(
    instruction: Instruction, source: str, path: str, shown: Shown
) -> Iterator[tuple[str, str]]:
    """Tell whether a path is not there, through links too, or not shown."""
    path = os.path.normpath(f"/{path}").strip("/")
    if not path:
        return
    found = find_inside(shown.folder, f"{path}/.")
    if found is None:
        what = f"folder {path[:80]}" if _GLOB.search(source) else "such file"
        yield (
            f"{instruction.word} {source[:80]}: there is no {what} in the context",
            "sources are paths below the context",
        )
        return
    for name in dict.fromkeys((path, str(found.relative_to(shown.folder)))):
        if shown.matcher.excludes(name) and not (
            found.is_dir() and shown.matcher.may_include_below(name)
        ):
            yield (
                f"{instruction.word} {source[:80]}: the ignore file leaves it out",
                f"a line !{name} there brings it back",
            )
            return


def _renamed(
    instruction: Instruction, known: Mapping[str, str], shown: Shown
) -> Iterator[tuple[str, str]]:
    """Find a file that gets a name beyond ASCII: the engine's archives hold none."""
    words = instruction.array or instruction.words
    if len(words) != _SOURCE_AND_PLACE or not are_known(words[1], known):
        return
    place = instruction.expand(words[1], known)
    if place.rpartition("/")[2].isascii() or _GLOB.search(words[0]):
        return
    if not parse_heredoc(words[0]):
        found = find_inside(shown.folder, instruction.expand(words[0], known))
        if found is None or found.is_dir() or is_unpacked(instruction, found):
            return
    yield (
        f"the engine can't give a file the name {place.rpartition('/')[2][:40]}",
        "let the file have that name, and copy it to a folder: COPY NAME /x/",
    )


def _is_fetched(instruction: Instruction, source: str) -> bool:
    return instruction.word == "ADD" and bool(REMOTE.match(source))


def _of_archive(
    instruction: Instruction, known: Mapping[str, str], source: str
) -> Iterator[tuple[str, str]]:
    if symbolic_mode(instruction, known):
        yield _octal_only(instruction, source)
    if instruction.flag("chown"):
        yield (
            f"ADD --chown {source[:80]}: the engine keeps the owners of an archive",
            "ADD it without --chown, and RUN chown -R",
        )


def _octal_only(instruction: Instruction, source: str) -> tuple[str, str]:
    return (
        f"--chmod={instruction.flag('chmod')} of {source[:80]}: octal modes only",
        "--chmod=755, or 644 for files that are not run",
    )
