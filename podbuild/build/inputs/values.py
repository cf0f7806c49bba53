"""Values in the place of variables, where the engine would read them in another way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from podbuild.build.inputs.instructions import Instruction
from podbuild.build.inputs.lexer import quoted_word

# What imagebuilder's own reader of variables (1.2) has not.
OPERATED = re.compile(r"\$\{\w+(?:[-+?]|:[^-+?]|/|[#%])|\$[@*#?$!0-9-]")


def uses_values(instruction: Instruction) -> bool:
    """Tell whether the copy holds values of variables, so that all must be known."""
    if instruction.word in ("COPY", "ADD") and any(
        "$" in each.body and not each.literal for each in instruction.heredocs
    ):
        return True
    return instruction.word != "RUN" and _differs(instruction)


def _differs(instruction: Instruction) -> bool:
    """Tell whether the engine's own reader of words, which knows one escape, would differ."""
    signs = instruction.text if instruction.escape != "\\" else ""
    return bool(OPERATED.search(instruction.text)) or "\\" in signs or "`" in signs


def with_values(instruction: Instruction, known: Mapping[str, str]) -> str:
    """Put values in where the engine's own reader of variables would fail or differ."""
    if instruction.word == "EXPOSE":
        return " ".join(_ports(instruction, known))
    if instruction.word in ("CMD", "ENTRYPOINT", "SHELL", "HEALTHCHECK", "MAINTAINER"):
        return instruction.text
    return _put_in(instruction, known) if _differs(instruction) else instruction.text


def _ports(instruction: Instruction, known: Mapping[str, str]) -> Iterator[str]:
    """Give EXPOSE's ports one by one: the engine knows no ranges."""
    for word in instruction.words:
        port = instruction.expand(word, known)
        found = re.fullmatch(r"(\d+)-(\d+)(/\w+)?", port)
        if not found:
            yield port if OPERATED.search(word) else word
            continue
        yield from (f"{each}{found[3] or ''}" for each in range(int(found[1]), int(found[2]) + 1))


def _put_in(instruction: Instruction, known: Mapping[str, str]) -> str:
    """Give the words with values in the place of variables, quoted for the engine."""
    words = instruction.words
    if instruction.array is not None:
        return instruction.text
    if instruction.word in ("ENV", "LABEL") and words and "=" not in words[0]:
        value = instruction.expand(instruction.text[len(words[0]) :].strip(), known)
        return f"{words[0]}={quoted_word(value)}"
    if instruction.word in ("WORKDIR", "USER", "STOPSIGNAL"):
        return quoted_word(instruction.expand(instruction.text, known))
    found = []
    for word in words:
        name, equals, value = word.partition("=")
        if instruction.word not in ("ENV", "LABEL", "ARG"):
            name, equals, value = "", "", word
        if OPERATED.search(value) or instruction.escape != "\\":
            value = quoted_word(instruction.expand(value, known))
        found.append(f"{name}{equals}{value}")
    return " ".join(found)
