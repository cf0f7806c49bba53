"""Values in the place of variables, where the engine would read them in another way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from podbuild.build.inputs.instructions import Instruction
from podbuild.build.inputs.lexer import Lexer, LexError, quoted_word
from podbuild.errors import ConfigError

_PORT = re.compile(r"(?:.*:)?(\d+)(?:-(\d+))?(?:/(\w+))?", re.ASCII)
_OF_VARIABLES = ("--chown=$", "--chmod=$")
_LAST_PORT = 65535
_PROTOCOLS = ("tcp", "udp", "sctp")
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
    if any(each.startswith(_OF_VARIABLES) or OPERATED.search(each) for each in instruction.flags):
        return True
    return _differs(instruction)


def filled_flags(instruction: Instruction, known: Mapping[str, str]) -> tuple[str, ...]:
    """Give the flags of a copy as engines read them.

    Owners and modes whose variables are worth nothing are left out: BuildKit takes the usual.
    """
    found = []
    for flag in instruction.flags:
        name, _, written = flag.partition("=")
        if not flag.startswith(_OF_VARIABLES) and not OPERATED.search(flag):
            found.append(flag)
        elif (value := instruction.expand(written, known)) not in ("", ":"):
            found.append(f"{name}={value}" if OPERATED.search(flag) else flag)
    return tuple(found)


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


def is_port(word: str) -> bool:
    """Tell whether EXPOSE takes a word: a port or a range, with what it is published as or not.

    Follows ParsePortSpec of docker/go-connections, which drops addresses and ports of the host.
    """
    found = _PORT.fullmatch(word)
    if not found:
        return False
    first, last = int(found[1]), int(found[2] or found[1])
    return first <= last <= _LAST_PORT and (found[3] or "tcp").lower() in _PROTOCOLS


def ports_of(instruction: Instruction, known: Mapping[str, str]) -> tuple[str, ...]:
    """Give EXPOSE's words with values put in; a value may be several."""
    lexer = Lexer(escape=instruction.escape, lenient=True)
    try:
        return tuple(port for word in instruction.words for port in lexer.words(word, known))
    except LexError:
        return instruction.words


def _ports(instruction: Instruction, known: Mapping[str, str]) -> Iterator[str]:
    """Give EXPOSE's ports one by one: the engine knows no ranges, and keeps addresses."""
    for port in ports_of(instruction, known):
        found = _PORT.fullmatch(port)
        if not found:
            yield port
            continue
        first, last = int(found[1]), int(found[2] or found[1])
        kind = f"/{found[3]}" if found[3] else ""
        yield from (f"{each}{kind}" for each in range(first, last + 1))


def _put_in(instruction: Instruction, known: Mapping[str, str]) -> str:
    """Give the words with values in the place of variables, quoted for the engine."""
    words = instruction.words
    if instruction.array is not None:
        return instruction.text
    if instruction.word in ("ENV", "LABEL") and words and "=" not in words[0]:
        value = instruction.expand(instruction.text[len(words[0]) :].strip(), known)
        return f"{words[0]}={quoted_word(value, instruction.escape)}"
    if instruction.word in ("WORKDIR", "USER", "STOPSIGNAL"):
        return quoted_word(instruction.expand(instruction.text, known), instruction.escape)
    found = []
    for word in words:
        name, equals, value = word.partition("=")
        if instruction.word not in ("ENV", "LABEL", "ARG"):
            name, equals, value = "", "", word
        if OPERATED.search(value) or instruction.escape != "\\":
            value = quoted_word(instruction.expand(value, known), instruction.escape)
        found.append(f"{name}{equals}{value}")
    return " ".join(found)


def text_with_values(instruction: Instruction, body: str, known: Mapping[str, str]) -> str:
    """Expand a text as BuildKit does: quotes mean nothing, an escape takes the next sign."""
    try:
        return Lexer(plain_quotes=True).word(body, known)
    except LexError as error:
        raise ConfigError(
            f"{instruction.place}: in the text: {error}",
            hint=f'{instruction.word} <<"{instruction.heredocs[0].name}" takes it as it stands',
        ) from None
