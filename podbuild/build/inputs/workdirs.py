"""The folders of WORKDIR: BuildKit makes each at once, as the user who is set there.

Engines make the last one only, and only for a RUN, or for a copy to a name below it, whose owner
it gets. The copy of the Containerfile that they are given makes the others by copying an empty
folder.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from podbuild.build.inputs.containerfile import Containerfile, Stage
from podbuild.build.inputs.instructions import Instruction

EMPTY = "podbuild.empty"  # a context without files
_ROOTS = ("", "0", "root", "0:0", "root:root")


@dataclass(frozen=True)
class MakingSteps:
    """What makes the folder of one WORKDIR: steps before it and steps after it."""

    before: tuple[str, ...]
    after: tuple[str, ...]


def unmade_folders(
    parsed: Containerfile, stage: Stage, variables: Mapping[str, str]
) -> Iterator[tuple[Instruction, MakingSteps]]:
    """Give each WORKDIR whose folder the engine would not make, and the steps that make it."""
    user = _first_user(parsed, stage, variables)
    for at, each in enumerate(stage.instructions):
        if each.word == "USER":
            user = each.text.strip()
        if each.word == "WORKDIR" and not _is_made(stage.instructions[at + 1 :], user):
            yield each, _folders(each, user)


def _first_user(parsed: Containerfile, stage: Stage, variables: Mapping[str, str]) -> str:
    """Give the user that a stage begins with: of those that it starts from, or of the base."""
    below = parsed.stage_below(stage, variables)
    if below is None:
        return parsed.users.get(stage.index, "")
    users = [each.text.strip() for each in below.instructions if each.word == "USER"]
    return users[-1] if users else _first_user(parsed, below, variables)


def _is_made(following: Sequence[Instruction], user: str) -> bool:
    """Tell whether a RUN makes it, before another folder comes or a copy makes it another's."""
    for each in following:
        owned = user not in _ROOTS or any(flag.startswith("--chown=") for flag in each.flags)
        if each.word in ("WORKDIR", "USER") or (each.word in ("COPY", "ADD") and owned):
            return False
        if each.word == "RUN":
            return True
    return False


def _folders(instruction: Instruction, user: str) -> MakingSteps:
    chown = "" if user in _ROOTS else f" --chown={user}"
    copy = f"COPY --from={EMPTY}{chown} ."
    path = instruction.text.strip()
    plain = chown and path.strip("/") and not set(path) & set("$\"'\\` ")
    parts = posixpath.normpath(path).strip("/").split("/") if plain else []
    root = "/" if path.startswith("/") else ""
    above = (f"{copy} {root}{part}/" for part in accumulate(parts[:-1], "{}/{}".format))
    return MakingSteps(before=tuple(above), after=(f"{copy} .",))
