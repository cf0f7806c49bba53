"""From a Containerfile's text to its instructions, with the line each one starts on.

The rules are those of moby/buildkit's parser (frontend/dockerfile/parser), from which buildah's
own descends: directives, comments, continuation lines, heredocs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from podbuild.containerfile.words import split_words, unquote
from podbuild.errors import ConfigError

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(\S.*?)\s*")
_HEREDOC = re.compile(r"(\d*)<<(-?)([^<]*)")
_WITH_HEREDOCS = ("ADD", "COPY", "RUN")
_WITH_FLAGS = ("ADD", "COPY", "FROM", "HEALTHCHECK", "RUN")


@dataclass(frozen=True)
class Heredoc:
    """A here-document of an instruction: its name and its text, literal if the name is quoted."""

    name: str
    body: str
    literal: bool = False


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction: its word in upper case, flags as written, and the rest of its text."""

    line: int  # counted from 1
    word: str
    flags: tuple[str, ...] = ()
    text: str = ""
    heredocs: tuple[Heredoc, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """Give the text's words, quotes kept."""
        return split_words(self.text)

    @property
    def trigger(self) -> Instruction | None:
        """Give the instruction that ONBUILD keeps for images built on this one."""
        return _parse(self.text, self.line) if self.word == "ONBUILD" and self.text else None

    def flag(self, name: str) -> str | None:
        """Give a flag's value, `--name=value`; None where it is not given."""
        found = [flag for flag in self.flags if flag.startswith(f"--{name}=")]
        return unquote(found[-1].partition("=")[2]) if found else None

    def all_flags(self, name: str) -> tuple[str, ...]:
        """Give the values of a flag that may be repeated."""
        return tuple(
            unquote(flag.partition("=")[2]) for flag in self.flags if flag.startswith(f"--{name}=")
        )


def read_instructions(text: str, *, where: str) -> tuple[str, tuple[Instruction, ...]]:
    """Give the escape character and the instructions.

    Raises ConfigError, naming `where` and the line, for a heredoc without its end.
    """
    lines = text.removeprefix("\ufeff").splitlines()
    escape = _escape_of(lines)
    return escape, tuple(_instructions(lines, escape, where))


def _escape_of(lines: Sequence[str]) -> str:
    """Directives are comments `# key=value` before anything else."""
    for line in lines:
        found = _DIRECTIVE.fullmatch(line.strip())
        if not found:
            break
        if found[1].lower() == "escape":
            return "`" if found[2] == "`" else "\\"
    return "\\"


def _instructions(lines: Sequence[str], escape: str, where: str) -> Iterator[Instruction]:
    # An escape character that is itself escaped continues nothing.
    continued = re.compile(rf"^(?P<text>|.*[^{re.escape(escape)}]){re.escape(escape)}[ \t]*$")
    at = 0
    while at < len(lines):
        start, pieces = at, [lines[at].lstrip()]
        at += 1
        if not pieces[0] or pieces[0].startswith("#"):
            continue
        while found := continued.match(pieces[-1]):
            pieces[-1] = found["text"]
            while at < len(lines) and _is_nothing(lines[at]):
                at += 1
            if at >= len(lines):
                break
            pieces.append(lines[at])
            at += 1
        instruction = _parse("".join(pieces).strip(), start + 1)
        bodies = []
        for word, strip_tabs in _heredoc_words(instruction):
            name = unquote(word)
            body, at = _heredoc(lines, at, name, strip_tabs=strip_tabs)
            if body is None:
                raise ConfigError(
                    f"{where}:{start + 1}: the heredoc {name} has no end",
                    hint=f"a line that holds only {name} ends it",
                )
            bodies.append(Heredoc(name, body, literal=name != word))
        yield Instruction(
            line=instruction.line,
            word=instruction.word,
            flags=instruction.flags,
            text=instruction.text,
            heredocs=tuple(bodies),
        )


def _is_nothing(line: str) -> bool:
    """Tell whether a line inside a continued instruction is skipped."""
    return not line.strip() or line.lstrip().startswith("#")


def _parse(text: str, line: int) -> Instruction:
    word, *others = text.split(None, 1)
    word, rest = word.upper(), "".join(others)
    flags = []
    if word in _WITH_FLAGS:
        while rest.startswith("--"):
            flag = split_words(rest)[0]
            flags.append(flag)
            rest = rest[len(flag) :].lstrip()
    return Instruction(line=line, word=word, flags=tuple(flags), text=rest)


def _heredoc_words(instruction: Instruction) -> Iterator[tuple[str, bool]]:
    """Give the heredocs that an instruction opens: the name as written, and if tabs go."""
    if instruction.word not in _WITH_HEREDOCS or instruction.text.startswith("["):
        return
    for word in instruction.words:
        found = _HEREDOC.fullmatch(word)
        if found and unquote(found[3]):
            yield found[3], bool(found[2])


def _heredoc(
    lines: Sequence[str], at: int, name: str, *, strip_tabs: bool
) -> tuple[str | None, int]:
    """Give the body from `at` on, None where it has no end, and the line after it."""
    body: list[str] = []
    for position in range(at, len(lines)):
        line = lines[position].lstrip("\t") if strip_tabs else lines[position]
        if line == name:
            return "".join(body), position + 1
        body.append(f"{line}\n")
    return None, len(lines)
