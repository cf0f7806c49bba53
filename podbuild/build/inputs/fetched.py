"""What ADD fetches: a URL without --checksum, or git without a commit, may change."""

from __future__ import annotations

import re
from collections.abc import Mapping

from podbuild.build.inputs.instructions import Instruction

_GIT = re.compile(r"git@|git://|ssh://|https?://.*\.git(?:[#?]|$)")
_URL = re.compile(r"https?://")
_FIRST_VARIABLE = re.compile(r"[\"']*\$\{?(\w+)")
_COMMIT = re.compile(r".*[#&?](?:checksum=|commit=)?[0-9a-f]{40}(?::.*)?")


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
