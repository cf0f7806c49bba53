"""Words that BuildKit can't read: quotes without a partner, bad `${}`, and variables that must be.

What engines make of them differs, and some take them as they stand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from podbuild.build.inputs.containerfile import SCRATCH, USUAL_PATH, Containerfile, Stage
from podbuild.build.inputs.instructions import Instruction, open_quote, parse_heredoc
from podbuild.build.inputs.lexer import Lexer, LexError
from podbuild.build.inputs.refusals import Unbuildable

_EXPANDED_FLAGS = ("chown", "chmod", "from", "checksum", "exclude")
_AS_A_WHOLE = ("USER", "WORKDIR", "STOPSIGNAL")


def unread_words(
    parsed: Containerfile,
    target: str | None,
    variables: Mapping[str, str],
    *,
    lenient: bool = False,
) -> Iterator[Unbuildable]:
    """Give each instruction of a target with such a word, what is wrong and a way out.

    What a base's ENV may hold is not always known, nor is every build argument where it is
    `lenient`: then `${X:?}` may be right.
    """
    for each in parsed.arguments:
        yield from _unread(
            each, {**variables, **parsed.global_values(variables)}, variables, lenient
        )
    for stage in parsed.needed(target, variables):
        unsure = lenient or not _is_known(parsed, stage, variables)
        known = parsed.global_values(variables)
        yield from _unread(stage.start, known, variables, lenient)
        for each, values in parsed.walk(stage, variables):
            yield from _unread(each, values, variables, unsure)


def _is_known(parsed: Containerfile, stage: Stage, variables: Mapping[str, str]) -> bool:
    """Tell whether it is known what ENV a stage begins with."""
    while below := parsed.earlier(stage, base := next(parsed.uses(stage, variables))):
        stage = below
    return base.value == SCRATCH or stage.index in parsed.environments


def _unread(
    instruction: Instruction, known: Mapping[str, str], given: Collection[str], lenient: bool
) -> Iterator[Unbuildable]:
    lexer = Lexer(escape=instruction.escape, lenient=lenient)
    for flag in instruction.flags:
        if quote := open_quote(flag):
            yield Unbuildable(
                instruction=instruction,
                message=f"{flag[:60]}: a {quote} has no partner",
                hint="quotes in pairs",
            )
            return
    values = {"PATH": USUAL_PATH, **known}
    for word in _expanded(instruction, given):
        try:
            value = lexer.word(word, values)
        except LexError as error:
            yield Unbuildable(
                instruction=instruction,
                message=f"{word[:60]}: {error}",
                hint="`$X`, `${X:-word}` and quotes in pairs are read; \\ keeps the next sign",
            )
            return
        if instruction.word == "ARG":
            values |= dict([value.split("=", 1)]) if "=" in value else {}


def _expanded(instruction: Instruction, given: Collection[str]) -> Iterator[str]:
    """Give what BuildKit puts values into."""
    word, words = instruction.word, instruction.words
    if word in _AS_A_WHOLE:
        yield instruction.text
    elif word in ("ENV", "LABEL") and words and "=" not in words[0]:
        yield words[0]
        yield instruction.text[len(words[0]) :].strip()
    elif word == "ARG":
        yield from (each for each in words if each.partition("=")[0] not in given)
    elif word == "FROM":
        yield from words[:1]
        yield from instruction.all_flags("platform")
    elif word in ("ENV", "LABEL", "EXPOSE"):
        yield from words
    elif word in ("COPY", "ADD", "VOLUME"):
        found = words if instruction.array is None else instruction.array
        yield from (each for each in found if not parse_heredoc(each))
    for name in _EXPANDED_FLAGS if word in ("COPY", "ADD") else ():
        yield from instruction.all_flags(name)
    for options in instruction.mounts:
        yield from options.values()
