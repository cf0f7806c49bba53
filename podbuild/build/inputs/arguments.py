"""ARG as BuildKit has it: the last holds, ARG or ENV, and arguments are seen in later stages.

To engines ENV holds whatever follows it, and an argument ends with its stage. Lines of the copy
that they are given say so again: ENV after such an ARG, put back at the stage's end, and the
arguments of the stages below after FROM.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from podbuild.build.inputs.containerfile import (
    SET_BY_BUILDERS,
    TARGET_STAGE,
    Containerfile,
    Stage,
    platform_arguments,
)
from podbuild.build.inputs.instructions import Instruction
from podbuild.build.inputs.lexer import quoted_word
from podbuild.oci.names import Platform
from podbuild.plan.model import PlannedImage

PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")  # RUN sees them without an ARG


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

    And what builders set has no value, not before the first FROM either: engines refuse one, and
    are told (`told_arguments`).
    """
    for each in parsed.arguments:
        kept = [_without_default(word) for word in each.words]
        if kept != list(each.words):
            yield replace(each, text=" ".join(kept))
    for each, _, after in parsed.steps(stage, variables):
        if each.word == "ARG" and _of_builders((each,)):
            each = replace(each, text=" ".join(map(_without_default, each.words)))  # noqa: PLW2901
            yield each
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


def variables_of(
    planned: PlannedImage, parsed: Containerfile, platform: Platform, build: Platform
) -> dict[str, str]:
    """Give what `$NAME` may mean from outside in the Containerfile of an image, on a platform."""
    target = planned.image.target
    own = own_arguments(parsed, target, platform, build)
    return build_variables(parsed, own, planned.build_args, target)


def own_arguments(
    parsed: Containerfile, target: str | None, platform: Platform, build: Platform
) -> Mapping[str, str]:
    """Give the arguments that builders set; without a target the last stage's name is its name."""
    last = (parsed.stages[-1].name or "").lower()
    return platform_arguments(platform, build, target or last)


def build_variables(
    parsed: Containerfile, own: Mapping[str, str], given: Mapping[str, str], target: str | None
) -> dict[str, str]:
    """Give what `$NAME` may mean from outside: what is given, else what builders set.

    Instead of their `own` values it is what the file says, if it means one value everywhere:
    to BuildKit a default wins over what it sets itself, to engines it doesn't.
    """
    variables = {**own, **given}
    written = _written_of_own(parsed) - given.keys()
    if not written:
        return variables
    outer = _outer(parsed, variables, given)
    seen = {**variables, **{name: outer[name] for name in written}}
    for name in written:
        values = {value for _, each, value in _asked(parsed, target, seen, given) if each == name}
        if len(values) == 1:
            variables[name] = values.pop()
    return variables


def other_platform_arguments(
    parsed: Containerfile,
    target: str | None,
    variables: Mapping[str, str],
    given: Collection[str] = (),
) -> Iterator[tuple[Instruction, str, str]]:
    """Give each ARG with a default of its own for what builders set, the name and the default.

    Only where the file means several values by one name, of which an engine takes one. What is
    `given` is that everywhere.
    """
    written = _written_of_own(parsed) - set(given)
    if not written:
        return
    told = {name: variables[name] for name in given if name in variables}
    outer = _outer(parsed, variables, told)
    seen = {**variables, **{name: outer[name] for name in written}}
    for each, name, value in _asked(parsed, target, seen, told):
        if name in written and value != variables.get(name):
            yield each, name, value


def told_arguments(
    parsed: Containerfile, own: Mapping[str, str], given: Mapping[str, str], target: str | None
) -> dict[str, str]:
    """Give the build arguments that an engine must be told."""
    variables = build_variables(parsed, own, given, target)
    asked = {name for name, value in own.items() if variables[name] != value}
    for side in ("TARGET", "BUILD"):  # engines take the parts from the whole
        if f"{side}PLATFORM" in asked:
            asked |= {name for name in own if name.startswith(side)}
    asked |= {TARGET_STAGE} if parsed.declares(TARGET_STAGE) else set()
    return {**_proxies(given), **{each: variables[each] for each in (*given, *asked)}}


def _proxies(given: Mapping[str, str]) -> dict[str, str]:
    """Give proxies in both spellings, as RUN sees them."""
    found = {name.lower(): value for name, value in given.items() if name.lower() in PROXIES}
    return found | {name.upper(): value for name, value in found.items()}


def _written_of_own(parsed: Containerfile) -> set[str]:
    """Give the names that builders set and that an ARG has a default for."""
    return _of_builders((*parsed.arguments, *parsed.instructions))


def _of_builders(instructions: Iterable[Instruction]) -> set[str]:
    every = (each for each in instructions if each.word == "ARG")
    words = (word for each in every for word in each.words if "=" in word)
    return {word.partition("=")[0] for word in words} & set(SET_BY_BUILDERS)


def _outer(
    parsed: Containerfile, variables: Mapping[str, str], given: Mapping[str, str]
) -> Mapping[str, str]:
    """Give what is known before the first FROM, as BuildKit has it."""
    known = dict(variables)
    for each in parsed.arguments:
        known |= _defaults(each, known, given)
    return known


def _asked(
    parsed: Containerfile,
    target: str | None,
    outer: Mapping[str, str],
    given: Mapping[str, str],
) -> Iterator[tuple[Instruction, str, str]]:
    """Give what names that builders set are worth wherever they are asked for."""
    for stage in parsed.needed(target, outer):
        text = f"{stage.base} {stage.platform}"
        for name in SET_BY_BUILDERS:
            if re.search(rf"\$\{{?{name}\b", text):
                yield stage.start, name, outer[name]
        for each, values in parsed.walk(stage, outer):
            if each.word == "ARG":
                found = _defaults(each, values, given)
                for name in (word.partition("=")[0] for word in each.words):
                    if name in SET_BY_BUILDERS:
                        yield each, name, found.get(name, outer[name])


def _defaults(
    instruction: Instruction, known: Mapping[str, str], given: Mapping[str, str]
) -> dict[str, str]:
    """Give what an ARG sets as BuildKit has it: words may use those before, also of its line."""
    found: dict[str, str] = {}
    for word in instruction.words:
        name, equals, default = word.partition("=")
        if equals:
            value = instruction.expand(default, {**known, **found})
            found[name] = given.get(name, value)
    return found


def _declared(name: str, value: str, variables: Mapping[str, str], escape: str) -> str:
    return name if name in variables else f"{name}={quoted_word(value, escape)}"


def _environment(engine: Mapping[str, str], wanted: Mapping[str, str], escape: str) -> str:
    """Give the ENV that makes of what the engine has what is wanted; empty where it is that."""
    changed = (f"{n}={quoted_word(v, escape)}" for n, v in wanted.items() if engine.get(n) != v)
    words = " ".join(changed)
    return f"ENV {words}" if words else ""
