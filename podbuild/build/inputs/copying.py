"""What COPY and ADD say that engines can't do, or do in another way: modes, archives, git.

Symbolic modes of `--chmod` (`+x`, `go-w`, `u=rwX,go=rX`) mean what they mean to BuildKit (chmod(1)
with a umask of 0; `=` takes set-id bits away, but the sticky bit stays).

ADD unpacks what lies in the context, COPY does not: `--unpack` engines do not know, and `--chown`
of archives they forget.

A URL without --checksum, or git without a commit, may change. Engines clone by https alone, and of
`?branch=` and its like they know nothing: they would fetch what a forge's web page says there. They
keep `.git`, whose index and logs are others each time, and compare no commit with `--checksum`.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl

from podbuild.build.inputs.instructions import REMOTE, Instruction

_CLASSES = {"u": 6, "g": 3, "o": 0}  # how far their bits are to the left
_SET_ID = {"u": 0o4000, "g": 0o2000, "o": 0}
_STICKY = 0o1000
_BITS = {"r": 4, "w": 2, "x": 1}
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)")
_CHANGE = re.compile(r"([-+=])([rwxXst]*|[ugo])(?![rwxXstugo])")
SET_IDS = 0o6000
_ZSTD = b"\x28\xb5\x2f\xfd"
_GIT = re.compile(r"git@|git://|ssh://|https?://.*\.git(?:[#?]|$)")
_URL = re.compile(r"https?://")
_FIRST_VARIABLE = re.compile(r"[\"']*\$\{?(\w+)")
_NOT_CLONED = re.compile(r"git@|git://|ssh://")
_ASKED = re.compile(r"(https?://[^?#]*\.git)\?([^#]*)(#.*)?")
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REFS = ("checksum", "commit", "ref", "tag", "branch")  # what says most comes first
_COMMIT = re.compile(r".*[#&?](?:checksum=|commit=)?[0-9a-f]{40}(?::.*)?")


@dataclass(frozen=True)
class SymbolicMode:
    """What a symbolic mode changes: classes, sign and permissions, in order."""

    changes: tuple[tuple[str, str, str], ...]

    def apply(self, mode: int, *, is_folder: bool) -> int:
        """Give the mode that a file or folder gets.

        >>> oct(parse_mode("u=rwX,go=rX").apply(0o640, is_folder=False))
        '0o644'
        """
        can_run = is_folder or bool(mode & 0o111)
        found = mode
        for who, sign, what in self.changes:
            bits = _bits(found, who, what, can_run=can_run)
            if sign == "=":
                found &= ~_cleared(who, set_ids=what not in _CLASSES or not what)
            found = found & ~bits if sign == "-" else found | bits
        return found

    def one_result(self, modes: Iterable[tuple[int, bool]]) -> int | None:
        """Give what all of these, each with whether it is a folder, get; None where they differ."""
        found = {self.apply(mode, is_folder=is_folder) for mode, is_folder in modes}
        return found.pop() if len(found) == 1 else None

    @property
    def fixed(self) -> int | None:
        """Give what everything gets, the sticky bit left aside; None where it depends."""
        every = (mode & ~_STICKY for mode in range(0o10000))
        return self.one_result((mode, is_folder) for mode in every for is_folder in (False, True))


def parse_mode(text: str) -> SymbolicMode | None:
    """Read a symbolic mode; None for anything else."""
    changes = []
    for clause in text.split(","):
        found = _CLAUSE.fullmatch(clause)
        if not found:
            return None
        who = "ugo" if "a" in found[1] else found[1]
        for sign, what in _CHANGE.findall(found[2]):
            changes.append((who, sign, what))
    return SymbolicMode(tuple(changes))


def symbolic_mode(instruction: Instruction, known: Mapping[str, str]) -> SymbolicMode | None:
    """Give the symbolic mode of a copy; None where it has none, or another one."""
    written = instruction.flag("chmod")
    return parse_mode(instruction.expand(written, known)) if written else None


def _bits(mode: int, who: str, what: str, *, can_run: bool) -> int:
    classes = who or "ugo"
    if what and what in _CLASSES:
        taken = mode >> _CLASSES[what] & 7
        return sum(taken << _CLASSES[each] for each in set(classes))
    rights = {_BITS[each] for each in what if each in _BITS}
    rights |= {1} if "X" in what and can_run else set()
    found = sum(sum(rights) << _CLASSES[each] for each in set(classes))
    if "s" in what:
        found |= sum(_SET_ID[each] for each in set(classes))
    if "t" in what and set(classes) != {"o"}:
        found |= _STICKY
    return found


def _cleared(who: str, *, set_ids: bool) -> int:
    classes = set(who or "ugo")
    return sum(7 << _CLASSES[each] | (_SET_ID[each] if set_ids else 0) for each in classes)


def with_octal(flags: list[str], mode: int) -> list[str]:
    """Give flags with a mode in the place of a symbolic one."""
    return [f"--chmod={mode:04o}" if each.startswith("--chmod=") else each for each in flags]


def is_linked(flags: Iterable[str]) -> bool:
    """Tell whether a copy is a layer of its own: beside --chmod, BuildKit takes no --link.

    Source: frontend/dockerfile/dockerfile2llb/convert_copy.go, dispatchCopy.
    """
    written = [each.lower() for each in flags]
    said = [each for each in written if each.partition("=")[0] == "--link"]
    with_mode = any(each.startswith("--chmod=") and each != "--chmod=" for each in written)
    return bool(said) and said[-1] != "--link=false" and not with_mode


def unpacked(instruction: Instruction) -> Instruction:
    """Give the instruction that does without --unpack what it says."""
    said = _said(instruction)
    if not said:
        return instruction
    flags = tuple(each for each in instruction.flags if each not in said)
    remote = any(REMOTE.match(each) for each in _sources(instruction))
    return replace(instruction, word="ADD" if remote or _unpacks(said) else "COPY", flags=flags)


def unfit_unpacking(instruction: Instruction, known: Mapping[str, str]) -> tuple[str, str] | None:
    """Give what can't be done and a way out; None where all can."""
    said = _said(instruction)
    if not said:  # of a RUN, no word is ours to read
        return None
    remote = [bool(REMOTE.match(instruction.expand(each, known))) for each in _sources(instruction)]
    if not any(remote):
        return None
    if _unpacks(said):
        return "--unpack: the engine unpacks no archive from a URL", "ADD it, and RUN tar"
    if not all(remote):
        return "--unpack=false for files and URLs together", "write an ADD for each source"
    return None


def is_unpacked(instruction: Instruction, path: Path) -> bool:
    """Tell whether an ADD unpacks a file of the context."""
    said = _said(instruction)
    if said and not _unpacks(said):
        return False
    try:
        with path.open("rb") as file:
            return file.read(4) == _ZSTD or tarfile.is_tarfile(path)
    except OSError:
        return False


def _said(instruction: Instruction) -> tuple[str, ...]:
    flags = instruction.flags if instruction.word == "ADD" else ()
    return tuple(each for each in flags if each.partition("=")[0] == "--unpack")


def _unpacks(said: tuple[str, ...]) -> bool:
    return said[-1].lower() != "--unpack=false"


def is_cloned(source: str) -> bool:
    """Tell whether ADD clones a source: git's own URLs, and those of `NAME.git`."""
    return bool(_GIT.match(source))


def git_source(source: str, commit: str = "") -> str:
    """Give a source as engines read it; of a commit, where --checksum names one.

    >>> git_source("https://x.test/y.git?branch=main&subdir=a/b")
    'https://x.test/y.git#refs/heads/main:a/b'
    """
    found = _ASKED.fullmatch(source)
    if unfit_git(source) or not is_cloned(source):
        return source
    url, _, fragment = source.partition("#")
    ref, _, folder = fragment.partition(":")
    if found:
        said = dict(parse_qsl(found[2]))
        url, folder = found[1], said.get("subdir", "")
        key = next((each for each in _REFS if each in said), "")
        ref = _whole_ref(key, said.get(key, ""))
    place = f"{commit or ref}:{folder}" if folder else commit or ref
    return f"{url}#{place}" if place else url


def _whole_ref(key: str, name: str) -> str:
    """Give a branch or a tag by its whole name, so that none of the other kind is taken."""
    kind = {"branch": "refs/heads/", "tag": "refs/tags/"}.get(key, "")
    return name if name.startswith("refs/") else f"{kind}{name}"


def unfit_git(source: str) -> tuple[str, str] | None:
    """Give why no engine can be told of a source, and a way out; None where it can."""
    if _NOT_CLONED.match(source):
        return f"ADD {source[:80]}: the engine clones by https alone", "https://HOST/PATH.git#REF"
    found = _ASKED.fullmatch(source)
    if not found:
        return None
    said = dict(parse_qsl(found[2], keep_blank_values=True))
    whole = all(_HASH.fullmatch(said[key]) for key in ("checksum", "commit") if key in said)
    if found[3] or said.keys() - {*_REFS, "subdir"} or "" in said.values() or not whole:
        return (
            f"ADD {source[:80]}: the engine can't be told all of it",
            "https://HOST/PATH.git#REF:FOLDER, or ?ref=, branch=, tag=, subdir=, commit=HASH",
        )
    return None


def may_change(instruction: Instruction, known: Mapping[str, str]) -> bool:
    """Tell whether an instruction fetches what may be other bytes tomorrow."""
    if instruction.word != "ADD" or instruction.flag("checksum"):
        return False
    return any(_is_moving(instruction, word, known) for word in _sources(instruction))


def _is_moving(instruction: Instruction, word: str, known: Mapping[str, str]) -> bool:
    """Tell whether a source may be other bytes tomorrow; what only a base's ENV says may be."""
    source = instruction.expand(word, known)
    if _GIT.match(source):
        return not _COMMIT.fullmatch(source)
    first = _FIRST_VARIABLE.match(word)
    return bool(_URL.match(source) or (first and first[1] not in known))


def _sources(instruction: Instruction) -> tuple[str, ...]:
    """Give ADD's sources; its JSON form holds the same words between brackets and commas."""
    return (instruction.words if instruction.array is None else instruction.array)[:-1]
