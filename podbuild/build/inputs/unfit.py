"""Values of instructions that mean nothing, as far as the file says what they are."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Mapping

from podbuild.build.inputs.fetched import unfit_git
from podbuild.build.inputs.instructions import REMOTE, Instruction, parse_heredoc, unquote
from podbuild.build.inputs.lexer import Lexer, LexError
from podbuild.build.inputs.modes import parse_mode
from podbuild.build.inputs.values import are_known, is_port, ports_of

_OCTAL = re.compile(r"0*[0-7]{1,4}")
_SIGNAL = re.compile(r"0*[1-9]\d*|(SIG)?RT(MIN(\+([1-9]|1[0-5]))?|MAX(-([1-9]|1[0-4]))?)")
_NAMELESS = re.compile(r"https?://[^/?#]*/*(?:[?#].*)?")
_CHECKSUMS = tuple(
    re.compile(each)
    for each in (
        *("sha256:[0-9a-f]{64}", "sha384:[0-9a-f]{96}", "sha512:[0-9a-f]{128}"),
        "[0-9a-f]{40}|[0-9a-f]{64}",  # of a commit
    )
)


def unfit_values(instruction: Instruction, known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Give what is wrong and a way out; what is not known may be right."""
    match instruction.word:
        case "COPY" | "ADD":
            yield from _mode(instruction, known)
            yield from _texts(instruction, known)
            yield from _fetched(instruction, known)
            yield from unfit_checksum(instruction)
        case "VOLUME" if instruction.array is None and not all(map(unquote, instruction.words)):
            yield "VOLUME of nothing", "VOLUME /x"
        case "EXPOSE" if are_known(instruction.text, known):
            odd = (port for port in ports_of(instruction, known) if not is_port(port))
            hint = "EXPOSE 80, 53/udp or 8000-8010"
            yield from ((f"EXPOSE {port[:40]}: that is no port", hint) for port in odd)
        case "STOPSIGNAL" if are_known(instruction.text, known):
            yield from _signal(instruction.expand(instruction.text, known))
        case _:
            pass


def unfit_form(instruction: Instruction) -> Iterator[tuple[str, str]]:
    """Give what is wrong whatever variables are worth, in what ONBUILD keeps too."""
    match instruction.word:
        case "ENV" | "LABEL" | "ARG":
            yield from _pairs(instruction)
        case "COPY" | "ADD":
            words = instruction.array or instruction.words
            if words and instruction.heredocs and parse_heredoc(words[-1]):
                yield (
                    f"{instruction.word} takes no heredoc as its destination",
                    f"{instruction.word} <<EOF /x",
                )
        case "VOLUME" if instruction.array is not None and not all(instruction.array or ("",)):
            yield "VOLUME of nothing", 'VOLUME ["/x"]'
        case "SHELL" if instruction.array == ():
            yield "SHELL of nothing", 'SHELL ["/bin/sh", "-c"]'
        case "CMD" | "ENTRYPOINT" | "HEALTHCHECK" | "MAINTAINER" | "ONBUILD":
            if instruction.text.endswith(instruction.escape) and not instruction.heredocs:
                yield (
                    f"{instruction.word}: the engine goes on with the next line",
                    "let something stand behind the last escape, or write a list",
                )
        case _:
            pass


def unfit_checksum(instruction: Instruction) -> Iterator[tuple[str, str]]:
    """Give what is no digest, or stands beside sources that are not fetched."""
    checksum = instruction.flag("checksum")
    if not checksum or "$" in checksum or instruction.word != "ADD":
        return
    sources = (instruction.array or instruction.words)[:-1]
    if not any("$" in each or REMOTE.match(each) for each in sources):
        yield "--checksum is for what is fetched", "leave it out"
    elif not any(each.fullmatch(checksum) for each in _CHECKSUMS):
        yield f"--checksum={checksum[:40]} is no digest", "--checksum=sha256:<64 hex digits>"


def _fetched(instruction: Instruction, known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    words = (instruction.array or instruction.words)[:-1] if instruction.word == "ADD" else ()
    known_words = (each for each in words if are_known(each, known))
    for each in known_words:
        url = instruction.expand(each, known)
        if reason := unfit_git(url):
            yield reason
        elif _NAMELESS.fullmatch(url) and (instruction.array or instruction.words)[-1][-1:] in "/.":
            yield f"ADD {url[:60]}: a URL without a path names no file", f"ADD {url[:60]} /x/NAME"


def _pairs(instruction: Instruction) -> Iterator[tuple[str, str]]:
    """Find what is no NAME=VALUE; ENV and LABEL may be NAME VALUE, ARG may be NAME."""
    word, words = instruction.word, instruction.words
    if word != "ARG" and words and "=" not in words[0]:
        if len(words) == 1:
            yield f"{word} {words[0][:40]} has no value", f'{word} {words[0][:40]}=""'
        return
    for each in words:
        if word == "ARG" and "$" in each.partition("=")[0]:
            yield f"ARG {each[:40]}: a name takes no variable", "write the name itself"
        if each.startswith("="):
            yield f"{word} {each[:40]} names nothing", f"{word} NAME{each[:40]}"
        elif word != "ARG" and "=" not in each:
            yield f"{word}: {each[:40]} has no =", f'{word} NAME="a value with blanks" OTHER=x'


def _mode(instruction: Instruction, known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    mode = instruction.flag("chmod")
    if not mode or not are_known(mode, known):
        return
    mode = instruction.expand(mode, known)
    if mode and not _OCTAL.fullmatch(mode) and not parse_mode(mode):
        yield f"--chmod={mode[:40]} is no mode", "--chmod=755, or u=rwX,go=rX"


def _texts(instruction: Instruction, known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for heredoc in instruction.heredocs:
        try:
            if not heredoc.literal:
                Lexer(plain_quotes=True, lenient=True).word(heredoc.body, known)
        except LexError as error:
            yield (
                f"in the text {heredoc.name}: {error}",
                f'{instruction.word} <<"{heredoc.name}" takes it as it stands',
            )


def _signal(text: str) -> Iterator[tuple[str, str]]:
    name = text.upper()
    found = name.removeprefix("SIG")
    if not _SIGNAL.fullmatch(name) and f"SIG{found}" not in signal.Signals.__members__:
        yield f"there is no signal {text[:40]!r}", "STOPSIGNAL SIGTERM"
