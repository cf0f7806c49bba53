"""From a Containerfile's text to its stages."""

from __future__ import annotations

from collections.abc import Collection

from podbuild.containerfile.lines import Instruction, read_instructions
from podbuild.containerfile.stages import Containerfile, Stage
from podbuild.errors import ConfigError


def read_containerfile(text: str, *, where: str = "Containerfile") -> Containerfile:
    r"""Read a Containerfile; `where` names it in errors.

    Raises ConfigError, with the line, for a FROM without an image, an instruction before the
    first FROM, a heredoc without its end, and a file without any FROM.

    >>> read_containerfile("FROM debian:trixie AS a\nFROM a").outside({})[0].value
    'debian:trixie'
    """
    _, instructions = read_instructions(text, where=where)
    starts = [at for at, found in enumerate(instructions) if found.word == "FROM"]
    before = instructions[: starts[0]] if starts else instructions
    for instruction in before:
        if instruction.word != "ARG":
            raise ConfigError(
                f"{where}:{instruction.line}: {instruction.word[:40]} before the first FROM",
                hint="only ARG may stand there",
            )
    if not starts:
        raise ConfigError(f"{where}: no FROM instruction", hint="start with FROM IMAGE")
    ends = [*starts[1:], len(instructions)]
    stages = tuple(
        _stage(index, instructions[start], instructions[start + 1 : end], where)
        for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    )
    return Containerfile(arguments=before, stages=stages)


def _stage(
    index: int, start: Instruction, instructions: Collection[Instruction], where: str
) -> Stage:
    match start.words:
        case [base]:
            name = None
        case [base, word, name] if word.upper() == "AS":
            pass
        case _:
            raise ConfigError(
                f"{where}:{start.line}: bad FROM",
                hint="write it as FROM IMAGE or FROM IMAGE AS NAME",
            )
    return Stage(
        index=index,
        name=name,
        base=base,
        platform=start.flag("platform"),
        start=start,
        instructions=tuple(instructions),
    )
