"""ADD of archives: `--unpack`, which engines do not know, and `--chown`, which they forget.

ADD unpacks what lies in the context, COPY does not.
"""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from podbuild.build.inputs.instructions import REMOTE, Instruction

_ZSTD = b"\x28\xb5\x2f\xfd"


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


def _sources(instruction: Instruction) -> tuple[str, ...]:
    return (instruction.array or instruction.words)[:-1]
