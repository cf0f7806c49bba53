"""Instructions that engines carry out as one: each of their steps starts the engine anew.

Only in stages that others copy from or mount: their layers and history reach no image, so that
what is published stays the same, byte for byte. A COPY more costs an engine seven starts of its
own program, one more source of the same COPY two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from podbuild.build.inputs.containerfile import Containerfile, Stage
from podbuild.build.inputs.instructions import Instruction

_FLAGS = ("--chown=", "--chmod=")  # from the context: what is missing there is found before
_SPECIAL = "\\\"'`\n<"  # what is more than words with blanks between them


def reaching(
    parsed: Containerfile, target: str | None, variables: Mapping[str, str]
) -> frozenset[int]:
    """Give the indexes of the target's stage and of those it starts from, which make its image."""
    stage: Stage | None = parsed.needed(target, variables)[-1]
    found = set()
    while stage is not None:
        found.add(stage.index)
        stage = parsed.earlier(stage, next(parsed.uses(stage, variables)))
    return frozenset(found)


def merged_steps(
    stage: Stage, changed: frozenset[int]
) -> Iterator[tuple[Instruction, tuple[Instruction, ...]]]:
    """Give what stands for several instructions, in the first one's place, and the others of them.

    They follow each other, and the engine would be given them as they are written: `changed` are
    lines where it is given something else.
    """
    first: Instruction | None = None
    rest: list[Instruction] = []
    for each in stage.instructions:
        free = not changed & {each.line, each.last + 1}
        together = _together(first, each) if first and free else None
        if together:
            first = together
            rest.append(each)
            continue
        if first and rest:
            yield first, tuple(rest)
        first, rest = (each if free else None), []
    if first and rest:
        yield first, tuple(rest)


def _together(one: Instruction, other: Instruction) -> Instruction | None:
    """Give one instruction that does what two do; None where it would do something else."""
    if one.word != other.word or one.flags != other.flags:
        return None
    if any(sign in each.text for each in (one, other) for sign in _SPECIAL):
        return None
    if one.word == "COPY":
        return _copied(one, other)
    if one.word in ("ARG", "ENV") and not one.flags:
        return _set(one, other)
    return None


def _copied(one: Instruction, other: Instruction) -> Instruction | None:
    """Merge copies into one folder; what is copied last stays, as in two steps."""
    if one.heredocs or other.heredocs or one.array is not None or other.array is not None:
        return None
    if not all(flag.startswith(_FLAGS) for flag in one.flags):
        return None
    *sources, folder = one.text.split()
    *more, same = other.text.split()
    if folder != same or not sources or not more or not _is_folder(folder):
        return None
    return replace(one, text=" ".join((*sources, *more, folder)))


def _is_folder(place: str) -> bool:
    return place.endswith("/") or place == "."


def _set(one: Instruction, other: Instruction) -> Instruction | None:
    """Merge names that nothing is put into: in one line, none sees the others."""
    words = (*one.text.split(), *other.text.split())
    names = [word.partition("=")[0] for word in words]
    if "$" in one.text + other.text or len({*names}) < len(names):
        return None
    if one.word == "ENV" and not all("=" in word for word in words):
        return None
    return replace(one, text=" ".join(words))
