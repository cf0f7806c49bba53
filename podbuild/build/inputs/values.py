"""Values in the place of variables, where the engine would read them in another way."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from podbuild.build.inputs.arguments import PROXIES
from podbuild.build.inputs.containerfile import Containerfile
from podbuild.build.inputs.copying import is_linked
from podbuild.build.inputs.instructions import Heredoc, Instruction
from podbuild.build.inputs.lexer import Lexer, LexError, quoted_word
from podbuild.build.inputs.unfit import PORT, SWITCHES, ports_of, without_zeros
from podbuild.errors import ConfigError

_PLAIN = re.compile(r"[\w./:@,+=*?\[\]-]+")  # what means itself to every reader
_VARIABLE = re.compile(r"\$\{?(\w+)")
_OF_VARIABLES = ("--chown=$", "--chmod=$")
NOTHING = "podbuild_no_file"  # takes the place of an instruction that copies none
_EXPANDED = (*("ADD", "COPY", "ENV", "EXPOSE", "LABEL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),)
_UNESCAPED = re.compile(r"(?<!\\)\$\{?(\w+)")
# What imagebuilder's own reader of variables (1.2) has not.
OPERATED = re.compile(r"\$\{\w+(?:[-+?]|:[^-+]|/|[#%])|\$\{?[@*#?$!0-9-]")


def uses_values(instruction: Instruction) -> bool:
    """Tell whether the copy holds values of variables, so that all must be known."""
    if instruction.word in ("COPY", "ADD") and any(
        "$" in each.body and not each.literal for each in instruction.heredocs
    ):
        return True
    if instruction.word == "EXPOSE":
        return "$" in instruction.text
    if instruction.word == "RUN":
        return any("$" in each for each in instruction.flags)
    if any(_is_filled(each) for each in instruction.flags):
        return True
    return _differs(instruction)


def _is_filled(flag: str) -> bool:
    """Tell whether it counts in a flag that a variable is worth nothing, or more than that."""
    owner_of_group = flag.startswith("--chown=") and ":$" in flag
    return owner_of_group or flag.startswith(_OF_VARIABLES) or bool(OPERATED.search(flag))


def argument_names(parsed: Containerfile) -> frozenset[str]:
    """Give the names of all arguments of a file.

    To an engine's layer cache `LABEL a=$X` is the same step whatever X is worth: of the history
    of a step that is no RUN it reads the text alone. So the copy that engines are given holds
    what arguments are worth, as the history that BuildKit writes does. Proxies, which engines put
    in without an ARG, are worth nothing without one.
    """
    every = (each for each in parsed.instructions if each.word == "ARG")
    proxies = (*PROXIES, *map(str.upper, PROXIES))
    return frozenset(proxies).union(w.partition("=")[0] for each in every for w in each.words)


def hides_values(
    instruction: Instruction,
    lines: Iterable[str],
    known: Mapping[str, str],
    arguments: Collection[str],
) -> bool:
    """Tell whether lines still name an argument, which the layer cache takes for the same step.

    Those worth blanks, or several lines: put in, the engine would read them in another way.
    """
    if instruction.word not in _EXPANDED:
        return False
    names = {name for line in lines for name in _UNESCAPED.findall(line)} & set(arguments)
    return any(known.get(name) for name in names)


def filled_flags(
    instruction: Instruction, known: Mapping[str, str], arguments: Collection[str]
) -> tuple[str, ...]:
    """Give the flags of a copy as engines read them, with what arguments are worth.

    Owners and modes whose variables are worth nothing are left out: BuildKit takes the usual.
    """
    found = []
    for flag in instruction.flags:
        name, _, written = flag.partition("=")
        if name.removeprefix("--") in SWITCHES:
            found.append(flag.lower())  # engines know TRUE in lower case only
            continue
        value = instruction.expand(written, known) if "$" in written else written
        if "$" in written and flag.startswith(_OF_VARIABLES) and value in ("", ":"):
            continue
        if name == "--chown" and value.endswith(":") and value != ":":
            found.append(f"{name}={value}0")  # root's group, to engines that of the owner
        elif OPERATED.search(flag):
            if value not in ("", ":"):
                found.append(f"{name}={value}")
        elif _uses(written, arguments) and _PLAIN.fullmatch(value):
            found.append(f"{name}={value}")
        else:
            found.append(flag)
    linked = is_linked(found)
    return tuple(each for each in found if linked or each.partition("=")[0] != "--link")


def _uses(text: str, names: Collection[str]) -> bool:
    return any(name in names for name in _VARIABLE.findall(text))


def _differs(instruction: Instruction) -> bool:
    """Tell whether the engine's own reader of words, which knows one escape, would differ."""
    signs = instruction.text if instruction.escape != "\\" else ""
    return bool(OPERATED.search(instruction.text)) or "\\" in signs or "`" in signs


def with_values(
    instruction: Instruction, known: Mapping[str, str], arguments: Collection[str]
) -> str:
    """Put values in: of arguments, and where the engine's own reader would fail or differ."""
    if instruction.word == "EXPOSE":
        return " ".join(_ports(instruction, known))
    if instruction.word in ("CMD", "ENTRYPOINT", "SHELL", "HEALTHCHECK", "MAINTAINER"):
        return instruction.text
    text = instruction.text
    if _differs(instruction) or _uses(text, arguments):
        text = _put_in(instruction, known, arguments)
    # To engines any escape at the end goes on with the next line, an escaped one too.
    return f'{text}""' if text.endswith(instruction.escape) else text


def plain_for_engines(
    instruction: Instruction, known: Mapping[str, str], arguments: Collection[str]
) -> Instruction:
    """Give an instruction that copies and runs nothing."""
    nothing = not instruction.text  # which BuildKit hands to a shell all the same
    if instruction.word in ("CMD", "ENTRYPOINT") and (nothing or instruction.begins_as_array):
        return replace(instruction, text=json.dumps(["/bin/sh", "-c", instruction.text]))
    if instruction.word == "HEALTHCHECK":
        return without_zeros(instruction)
    if instruction.word == "ONBUILD":
        return instruction
    text = with_values(instruction, known, arguments)
    if instruction.word == "EXPOSE" and not text:
        return replace(instruction, word="ARG", text=NOTHING)
    return replace(instruction, text=text)


def run_for_engines(new: Instruction) -> Instruction:
    """Give a RUN whose command no engine takes for something else."""
    if new.begins_as_array:
        new = replace(new, text=f": ; {new.text}")  # no list to the engine
    if not new.text:
        new = replace(new, text=":")  # for shells that take no empty command
    if new.text.endswith(new.escape) and not new.heredocs:
        new = replace(new, text=f"{new.text} #")  # the engine would go on with the next line
    return new


def _ports(instruction: Instruction, known: Mapping[str, str]) -> Iterator[str]:
    """Give EXPOSE's ports one by one: the engine knows no ranges, and keeps addresses."""
    for port in ports_of(instruction, known):
        found = PORT.fullmatch(port)
        if not found:
            yield port
            continue
        first, last = int(found[1]), int(found[2] or found[1])
        kind = f"/{found[3]}" if found[3] else ""
        yield from (f"{each}{kind}" for each in range(first, last + 1))


def _put_in(instruction: Instruction, known: Mapping[str, str], arguments: Collection[str]) -> str:
    """Give the words with values in the place of variables, quoted for the engine."""
    words, expand = instruction.words, instruction.expand
    if instruction.array is not None:
        values = [expand(each, known) for each in instruction.array]
        plain = _uses(instruction.text, arguments) and all(map(_PLAIN.fullmatch, values))
        return json.dumps(values) if plain else instruction.text
    if instruction.word in ("ENV", "LABEL") and words and "=" not in words[0]:
        value = expand(instruction.text[len(words[0]) :].strip(), known)
        return f"{words[0]}={quoted_word(value, instruction.escape)}"
    if instruction.word in ("WORKDIR", "USER", "STOPSIGNAL"):
        value = expand(instruction.text, known)
        kept = not value and not _differs(instruction)  # as engines have nothing, too
        return instruction.text if kept else quoted_word(value, instruction.escape)
    if instruction.word in ("ADD", "COPY") and _differs(instruction):
        values = [expand(each, known) for each in words]
        if any(" " in each for each in values) and not set("".join(values)) & set("$\\"):
            return json.dumps(values)  # quotes hold nothing together there
    found = [_word_with_values(each, instruction, known, arguments) for each in words]
    return " ".join(found)


def _word_with_values(
    word: str, instruction: Instruction, known: Mapping[str, str], arguments: Collection[str]
) -> str:
    named = instruction.word in ("ENV", "LABEL", "ARG")
    name, equals, value = word.partition("=") if named else ("", "", word)
    differs = bool(OPERATED.search(value)) or instruction.escape != "\\"
    if _uses(name, arguments):
        name = quoted_word(instruction.expand(name, known), instruction.escape)
    if differs or _uses(value, arguments):
        new = instruction.expand(value, known)
        if differs or (named and "\n" not in new):
            value = quoted_word(new, instruction.escape)
        elif _PLAIN.fullmatch(new):
            value = new
    return f"{name}{equals}{value}"


def text_with_values(instruction: Instruction, body: str, known: Mapping[str, str]) -> str:
    """Expand a text as BuildKit does: quotes mean nothing, an escape takes the next sign."""
    try:
        return Lexer(plain_quotes=True).word(body, known)
    except LexError as error:
        raise ConfigError(
            f"{instruction.place}: in the text: {error}",
            hint=f'{instruction.word} <<"{instruction.heredocs[0].name}" takes it as it stands',
        ) from None


def engine_line(instruction: Instruction) -> str:
    """Give an instruction as engines are given it, without what its heredocs hold."""
    return " ".join((instruction.word, *instruction.flags, instruction.text)).rstrip("\r")


def text_lines(heredoc: Heredoc) -> list[str]:
    """Give a heredoc's lines with the one that ends it."""
    return [*heredoc.body.split("\n")[:-1], heredoc.name]
