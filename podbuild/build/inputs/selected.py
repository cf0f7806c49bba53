"""Wildcards, `--exclude` and symbolic modes of COPY and ADD as BuildKit reads them.

Engines follow links beyond a wildcard and fail where none matches; they count --exclude from the
root of where they copy from and have a matcher of their own. The copy of the Containerfile that
they are given names what is meant file by file. What comes from a stage or an image is copied to
a stage of its own first, where no link is on the way to it, with the folder before each pattern.
Engines know octal modes only: where the files of a context get several, they are copied from a view
in which they have these.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from podbuild.build.inputs.copying import SET_IDS, SymbolicMode, git_source, is_cloned
from podbuild.build.inputs.instructions import Instruction
from podbuild.build.inputs.reach import Taken, Wanted, outermost
from podbuild.build.inputs.unfit import are_known
from podbuild.errors import ConfigError

# What every matcher reads alike, once a folder stands before it.
_ALIKE = re.compile(r"(?:\*\*/)?(?!.*\*\*)[\w.*?/-]+", re.ASCII)
_PLAIN_SOURCE = re.compile(r"[\w./-]+", re.ASCII)
_NAMED = re.compile(r"[\w./@:,=~%+ -]+")
_IN_FLAG = re.compile(r"[\w./@:,=~%-]+", re.ASCII)
_STARS = re.compile(r"(?<!\\)\*{2,}")
_HINT = "copy what is wanted by its names, or leave the rest out with an ignore file"


@dataclass(frozen=True)
class Selecting:
    """An instruction with wildcards, --exclude or a symbolic mode: what it takes of which context.

    `place` is None where it copies from a stage or an image, `wanted` where that can't be told.
    A `trigger` is an ONBUILD of what the stage starts from, which the engine reads by itself.
    `fetched` are URLs, each with the number of its word; heredocs do not count.
    """

    instruction: Instruction
    place: str | None
    wanted: Wanted | None
    trigger: bool = False
    mode: SymbolicMode | None = None
    fetched: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Copy:
    """One copy for the engine: its sources by number, with the names for each, and --exclude.

    None stands for a source as it is written.
    """

    sources: Mapping[int, tuple[str, ...] | None]
    patterns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Changed:
    """A context of which a copy takes files with other modes than they have."""

    place: str
    wanted: Wanted
    mode: SymbolicMode

    @staticmethod
    def name(line: int) -> str:
        """Give what the view of it is called, by the line of the instruction."""
        return f"podbuild.mode.{line}"


@dataclass(frozen=True)
class SelectedCopies:
    """The copies that stand for one instruction; None: it is copied as it is written.

    `places` are sources in a stage, and where each is copied to first, in a stage of its own.
    `mode` is the one that all gets, `changed` where it is copied from if there are several.
    `fetched` are the numbers of the words that are URLs.
    """

    copies: tuple[Copy, ...] | None
    places: tuple[tuple[str, str], ...] = ()
    mode: int | None = None
    changed: Changed | None = None
    fetched: tuple[int, ...] = ()


def unfit_for_engines(selecting: Selecting) -> ConfigError | None:
    """Give why a copy from a stage, an image or git can't be handed over; its place left out."""
    place = selecting.instruction.place
    try:
        if selecting.place is None:
            _selection_of_stage(selecting)
        elif selecting.wanted and _is_from_git(selecting):
            _of_git(selecting.wanted, place)
    except ConfigError as error:
        return ConfigError(error.message.removeprefix(f"{place}: "), hint=error.hint)
    return None


def _is_from_git(selecting: Selecting) -> bool:
    """Tell whether --exclude leaves out something of what is cloned."""
    cloned = any(map(is_cloned, selecting.fetched.values()))
    return cloned and bool(selecting.wanted and selecting.wanted.excludes)


def selections(
    selecting: tuple[Selecting, ...], taken: Callable[[str, Wanted], tuple[Taken, ...]]
) -> Mapping[int, SelectedCopies]:
    """Give what the engine is given instead, by the line of the instruction.

    `taken` gives what a copy takes of each source in a context. Raises ConfigError with file and
    line for what can't be handed over.
    """
    found = {}
    for each in selecting:
        if each.place is None:
            selection: SelectedCopies | None = _selection_of_stage(each)
        else:
            selection = _selection(each, each.place, taken)
        recursive = each.wanted and any("**" in source for source in each.wanted.sources)
        if each.trigger and (selection is not None or recursive):
            raise ConfigError(
                f"{each.instruction.place}: an ONBUILD of the base copies by patterns that mean "
                f"another thing to the engine: {each.instruction}",
                hint="write its COPY here, on an image without it",
            )
        if selection is not None:
            found[each.instruction.line] = selection
    return found


def for_engines(instruction: Instruction, known: Mapping[str, str]) -> Instruction:
    """Give a copy as engines read its sources and where it goes."""
    return _with_single_stars(_with_git_sources(instruction, known))


def _with_single_stars(instruction: Instruction) -> Instruction:
    """Let `**` mean one star, as BuildKit has it but for --parents, whose copies go to a folder."""
    words = instruction.array or instruction.words
    if instruction.flag("parents") == "true" or "--parents" in instruction.flags:
        folder = words[-1].endswith(("/", '"', "'", "."))
        return instruction if folder else _with_words(instruction, words[:-1], f"{words[-1]}/")
    sources = [_STARS.sub("*", each) for each in words[:-1]]
    return instruction if sources == [*words[:-1]] else _with_words(instruction, sources)


def as_selected(instruction: Instruction, found: SelectedCopies) -> list[Instruction]:
    """Give the copies that stand for an instruction, its --exclude left out before."""
    if found.copies is None:
        return [instruction]
    copies = [
        _one_copy(instruction, each, found.fetched, first=at == 0)
        for at, each in enumerate(found.copies or (Copy({}),))
    ]
    return [each for each in copies if len(each.array or each.words) > 1]


def _one_copy(
    instruction: Instruction, copy: Copy, fetched: tuple[int, ...], *, first: bool
) -> Instruction:
    """Give one of the copies; the first has what is fetched, too."""
    words: list[str] = []
    at = 0
    for number, word in enumerate((instruction.array or instruction.words)[:-1]):
        if number in fetched:
            words += [word] if first else []
            continue
        names = copy.sources.get(at, ())
        words += [word] if names is None else names
        at += 1
    flags = (f"--exclude={pattern}" for pattern in copy.patterns)
    return _with_words(replace(instruction, flags=(*instruction.flags, *flags)), words)


def _with_git_sources(instruction: Instruction, known: Mapping[str, str]) -> Instruction:
    """Let the engine clone what is asked for, by a URL's query or by --checksum, without `.git`."""
    if instruction.word != "ADD":
        return instruction
    flags = [each for each in instruction.flags if each.partition("=")[0] != "--keep-git-dir"]
    words = (instruction.array or instruction.words)[:-1]
    sources = [instruction.expand(each, known) for each in words]
    if not any(map(is_cloned, sources)):
        return replace(instruction, flags=tuple(flags))
    commit = instruction.expand(instruction.flag("checksum") or "", known)
    flags = [each for each in flags if not each.startswith("--checksum=")]
    told = [git_source(each, commit) for each in sources]
    return _with_words(
        replace(instruction, flags=(*flags, "--exclude=.git")),
        [
            new if new != source and are_known(old, known) else old
            for old, source, new in zip(words, sources, told, strict=True)
        ],
    )


def _with_words(
    instruction: Instruction, sources: Sequence[str], destination: str = ""
) -> Instruction:
    words = [*sources, destination or (instruction.array or instruction.words)[-1]]
    if instruction.array is None and not any(" " in word for word in sources):
        return replace(instruction, text=" ".join(words))
    return replace(instruction, text=json.dumps(words))


def _selection_of_stage(selecting: Selecting) -> SelectedCopies:
    """Give the patterns that an engine must be given for a copy from a stage or an image.

    Raises ConfigError, with file and line, where they can't mean the same to it.
    """
    wanted, place = selecting.wanted, selecting.instruction.place
    mode = selecting.mode.fixed if selecting.mode else None
    if selecting.mode and mode is None:
        raise ConfigError(
            f"{place}: --chmod={selecting.instruction.flag('chmod')} of what another stage or an "
            "image holds: the engine takes octal modes only",
            hint="--chmod=755, or 644 for files that are not run",
        )
    if not selecting.instruction.all_flags("exclude"):
        return SelectedCopies(None, mode=mode)
    if wanted is None or wanted.parents or "$" in (selecting.instruction.flag("from") or ""):
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
    for pattern in _alike(wanted.excludes, place):
        found += [f"{copied[1:]}/{pattern}" for _, copied in places]
    sources = {at: (copied,) for at, (_, copied) in enumerate(places)}
    return SelectedCopies((Copy(sources, tuple(found)),), tuple(places), mode)


def _selection(
    selecting: Selecting, context: str, taken: Callable[[str, Wanted], tuple[Taken, ...]]
) -> SelectedCopies | None:
    """Give the copies of context files; None where the engine can be given it as it is."""
    where, wanted = selecting.instruction.place, selecting.wanted
    if wanted is None:
        raise ConfigError(f"{where}: what is copied can't be told", hint=_HINT)
    found = taken(context, wanted)
    plain = not wanted.excludes and all(each.names is None for each in found)
    copies = None if plain else tuple(_copies(found, where))
    if selecting.mode is None:
        if _is_from_git(selecting):
            copies = (_of_git(wanted, where),)
        return None if plain else SelectedCopies(copies, fetched=tuple(selecting.fetched))
    modes = frozenset[tuple[int, bool]]().union(*(each.modes for each in found))
    mode = selecting.mode.one_result(modes or {(0, False)})
    if mode is not None:
        return SelectedCopies(copies, mode=mode)
    if any(selecting.mode.apply(each, is_folder=folder) & SET_IDS for each, folder in modes):
        raise ConfigError(
            f"{where}: files with several modes and set-id bits can't be told to the engine",
            hint="a COPY with an octal --chmod for each of them",
        )
    return SelectedCopies(copies, changed=Changed(context, wanted, selecting.mode))


def _of_git(wanted: Wanted, where: str) -> Copy:
    """Give --exclude as the engine counts it, from the root of what it clones."""
    if wanted.sources:
        raise ConfigError(
            f"{where}: --exclude of git and of files together means another thing to the engine",
            hint="write an ADD for each source",
        )
    return Copy({}, tuple(_alike(wanted.excludes, where)))


def _alike(excludes: Sequence[str], where: str) -> Iterator[str]:
    """Give the patterns that may match; raises ConfigError where the engine reads one otherwise."""
    for pattern in map(posixpath.normpath, excludes):
        if pattern.startswith(("/", "..")) or pattern == ".":
            continue  # it matches nothing
        if not _ALIKE.fullmatch(pattern):
            raise ConfigError(
                f"{where}: the engine reads --exclude={pattern} in another way", hint=_HINT
            )
        yield pattern


def _copies(found: tuple[Taken, ...], where: str) -> Iterator[Copy]:
    """Give one copy, or one for each source where one takes what another one leaves out."""
    left_out = frozenset[str]().union(*(each.left_out for each in found))
    entries = frozenset[str]().union(*(each.entries for each in found))
    alone = (
        [(at,) for at in range(len(found))] if left_out & entries else [tuple(range(len(found)))]
    )
    for numbers in alone:
        chosen = [found[at] for at in numbers]
        if all(each.names == () for each in chosen):
            continue  # no wildcard matches, which is no error to BuildKit
        yield Copy(
            {at: _names(found[at].names, where) for at in numbers},
            _patterns(chosen, where),
        )


def _names(names: tuple[str, ...] | None, where: str) -> tuple[str, ...] | None:
    for name in names or ():
        if not _NAMED.fullmatch(name):
            raise ConfigError(
                f"{where}: a wildcard stands for {name!r}, which the engine can't be told",
                hint="copy it by its name, or let the wildcard stand last in the source",
            )
    return names


def _patterns(chosen: list[Taken], where: str) -> tuple[str, ...]:
    left_out = frozenset[str]().union(*(each.left_out for each in chosen))
    entries = frozenset[str]().union(*(each.entries for each in chosen))
    names = outermost(left_out, entries)
    if left_out & entries:  # by links that lead to the same
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
