"""Symbolic modes of `--chmod`, which engines can't read: `+x`, `go-w`, `u=rwX,go=rX`.

They mean what they mean to BuildKit (chmod(1) with a umask of 0; `=` takes set-id bits away, but
the sticky bit stays).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from podbuild.build.inputs.instructions import Instruction

_CLASSES = {"u": 6, "g": 3, "o": 0}  # how far their bits are to the left
_SET_ID = {"u": 0o4000, "g": 0o2000, "o": 0}
_STICKY = 0o1000
_BITS = {"r": 4, "w": 2, "x": 1}
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)")
_CHANGE = re.compile(r"([-+=])([rwxXst]*|[ugo])(?![rwxXstugo])")
SET_IDS = 0o6000


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
