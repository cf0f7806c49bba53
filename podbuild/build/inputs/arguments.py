"""ARG as BuildKit has it: the last holds, ARG or ENV, and arguments are seen in later stages.

To engines ENV holds whatever follows it, and an argument ends with its stage. Lines of the copy
that they are given say so again: ENV after such an ARG, put back at the stage's end, and the
arguments of the stages below after FROM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from podbuild.build.inputs.containerfile import SET_BY_BUILDERS, Containerfile, Stage
from podbuild.build.inputs.instructions import Instruction
from podbuild.build.inputs.lexer import quoted_word


def lines_of_arguments(
    parsed: Containerfile, stage: Stage, variables: Mapping[str, str]
) -> Iterator[tuple[Instruction, str]]:
    """Give what the engine must read after which instruction of a stage.

    The environments of bases from outside must be known. Arguments of several lines are not
    handed over (`refused_arguments`).
    """
    escape = stage.start.escape
    start = parsed.inherited(stage, variables)
    carried = start.values.keys() - start.environment.keys()
    if carried:
        words = (_declared(name, start.values[name], variables, escape) for name in sorted(carried))
        yield stage.start, f"ARG {' '.join(words)}"
    engine = dict(start.environment)
    last = stage.start
    for last, _, after in parsed.steps(stage, variables):
        held = {name: after.values[name] for name in after.environment}
        if last.word == "ARG" and (line := _environment(engine, held, escape)):
            yield last, line
        engine = held
    if line := _environment(engine, parsed.at_the_end(stage, variables).environment, escape):
        yield last, line


def arguments_with_values(
    parsed: Containerfile, stage: Stage, variables: Mapping[str, str]
) -> Iterator[Instruction]:
    """Give each ARG of several names with values put in: one of them may use another one.

    And each before the first FROM with a default for what builders set, which the engine refuses,
    without it: it is the same value (`other_platform_arguments`).
    """
    for each in parsed.arguments:
        kept = [_without_default(word) for word in each.words]
        if kept != list(each.words):
            yield replace(each, text=" ".join(kept))
    for each, _, after in parsed.steps(stage, variables):
        if each.word == "ARG" and len(each.words) > 1 and "$" in each.text:
            names = (word.partition("=")[::2] for word in each.words)
            words = (
                _declared(name, after.values[name], variables, each.escape) if value else name
                for name, value in names
            )
            yield replace(each, text=" ".join(words))


def _without_default(word: str) -> str:
    name = word.partition("=")[0]
    return name if name in SET_BY_BUILDERS else word


def refused_arguments(
    parsed: Containerfile, stage: Stage, variables: Mapping[str, str]
) -> Iterator[Instruction]:
    """Give each ARG whose value, after ENV of the same name, no line can hold."""
    for instruction, before, after in parsed.steps(stage, variables):
        if instruction.word == "ARG" and any(
            "\n" in after.values[name] and after.values[name] != before.values.get(name)
            for name in after.environment
        ):
            yield instruction


def other_platform_arguments(
    parsed: Containerfile, target: str | None, variables: Mapping[str, str]
) -> Iterator[tuple[Instruction, str, str]]:
    """Give each ARG with a default of its own for what builders set, the name and the default.

    BuildKit takes the default whatever the platform is, engines never do.
    """
    known = dict(variables)
    for each in parsed.arguments:
        yield from _other_defaults(each, known, variables)
        known |= _defaults(each, known, variables)
    for stage in parsed.needed(target, variables):
        for each, values in parsed.walk(stage, variables):
            if each.word == "ARG":
                yield from _other_defaults(each, values, variables)


def _other_defaults(
    instruction: Instruction, known: Mapping[str, str], variables: Mapping[str, str]
) -> Iterator[tuple[Instruction, str, str]]:
    for name, value in _defaults(instruction, known, variables).items():
        if name in SET_BY_BUILDERS and value != variables.get(name):
            yield instruction, name, value


def _defaults(
    instruction: Instruction, known: Mapping[str, str], variables: Mapping[str, str]
) -> dict[str, str]:
    """Give what an ARG sets as BuildKit has it: words may use those before, also of its line."""
    found: dict[str, str] = {}
    for word in instruction.words:
        name, equals, default = word.partition("=")
        if equals:
            value = instruction.expand(default, {**known, **found})
            found[name] = value if name in SET_BY_BUILDERS else variables.get(name, value)
    return found


def _declared(name: str, value: str, variables: Mapping[str, str], escape: str) -> str:
    return name if name in variables else f"{name}={quoted_word(value, escape)}"


def _environment(engine: Mapping[str, str], wanted: Mapping[str, str], escape: str) -> str:
    """Give the ENV that makes of what the engine has what is wanted; empty where it is that."""
    changed = (f"{n}={quoted_word(v, escape)}" for n, v in wanted.items() if engine.get(n) != v)
    words = " ".join(changed)
    return f"ENV {words}" if words else ""
