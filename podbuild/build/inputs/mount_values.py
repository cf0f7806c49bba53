"""Values in the place of variables in `RUN --mount`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from podbuild.build.inputs.instructions import Instruction, unquote
from podbuild.build.inputs.lexer import Lexer, LexError, quoted_word
from podbuild.build.inputs.mounts import written_mount, written_options


def with_mount_values(
    instruction: Instruction, known: Mapping[str, str], *, all_known: bool = False
) -> Instruction:
    """Put values into the mounts of RUN; what is not known stays, unless it is worth nothing.

    A mistake stays as it is written (`unread_words` tells of it).
    """
    if instruction.word != "RUN" or not any("$" in flag for flag in instruction.flags):
        return instruction
    lexer = Lexer(escape=instruction.escape, lenient=True, keep_unset=not all_known)
    flags = []
    for flag in instruction.flags:
        name, _, written = flag.partition("=")
        if name != "--mount" or "$" not in flag:
            flags.append(flag)
        else:
            options = written_options(unquote(written))
            try:
                options = {key: lexer.word(value, known) for key, value in options.items()}
            except LexError:
                return instruction
            flags.append(f"--mount={quoted_word(written_mount(options))}")
    return replace(instruction, flags=tuple(flags))
