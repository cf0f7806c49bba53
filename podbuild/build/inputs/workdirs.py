"""The folders of WORKDIR: BuildKit makes each at once, as the user who is set there.

Engines make the last one only, and only for a RUN or a copy to a name below it. The copy of the
Containerfile that they are given makes the others by copying an empty folder.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from podbuild.build.inputs.instructions import Instruction

EMPTY = "podbuild.empty"  # a context without files
_ROOTS = ("", "0", "root", "0:0", "root:root")


@dataclass(frozen=True)
class MakingSteps:
    """What makes the folder of one WORKDIR: steps before it and steps after it."""

    before: tuple[str, ...]
    after: tuple[str, ...]


def unmade_folders(
    instructions: Sequence[Instruction], inherited: Sequence[Instruction] = ()
) -> Iterator[tuple[Instruction, MakingSteps]]:
    """Give each WORKDIR whose folder the engine would not make, and the steps that make it.

    `inherited` are the instructions of the stages that this one starts from.
    """
    users = [each.text.strip() for each in inherited if each.word == "USER"]
    user = users[-1] if users else ""
    for at, each in enumerate(instructions):
        if each.word == "USER":
            user = each.text.strip()
        if each.word == "WORKDIR" and not _is_made(instructions[at + 1 :]):
            yield each, _folders(each, user)


def _is_made(following: Sequence[Instruction]) -> bool:
    """Tell whether a RUN comes before another folder does."""
    words = (each.word for each in following if each.word in ("RUN", "WORKDIR", "USER"))
    return next(words, "") == "RUN"


def _folders(instruction: Instruction, user: str) -> MakingSteps:
    chown = "" if user in _ROOTS else f" --chown={user}"
    copy = f"COPY --from={EMPTY}{chown} ."
    path = instruction.text.strip()
    plain = chown and path.strip("/") and not set(path) & set("$\"'\\` ")
    parts = posixpath.normpath(path).strip("/").split("/") if plain else []
    root = "/" if path.startswith("/") else ""
    above = (f"{copy} {root}{part}/" for part in accumulate(parts[:-1], "{}/{}".format))
    return MakingSteps(before=tuple(above), after=(f"{copy} .",))
