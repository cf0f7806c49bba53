"""The commands that a RUN starts, as far as its text says: heredocs and chains included.

Not a shell: quotes, chains and heredocs are read, substitutions and functions are not. What is
not understood is no command, so that nothing is said of it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from podbuild.build.inputs.instructions import Instruction, parse_heredoc, unquote

_SHELLS = frozenset({"sh", "ash", "bash", "dash", "zsh", "ksh"})
_TOKEN = re.compile(
    r"""(?P<end>\n|;+|&&|\|\|?|&)|(?P<comment>(?:(?<=\s)|^)\#[^\n]*)"""
    r"""|(?P<word>(?:\\.|"(?:\\.|[^"\\])*"|'[^']*'|\$\([^()]*\)|[^\s;&|"'\\\#]|(?<=\S)\#|["'\\])+)""",
    re.DOTALL,
)
_ASSIGNMENT = re.compile(r"\w+=.*", re.DOTALL)
# What stands before a command's name.
_KEYWORDS = frozenset({"if", "then", "else", "elif", "do", "while", "until", "!", "{", "("})
_BEFORE = _KEYWORDS | {"exec", "time", "command", "nohup", "env"}


@dataclass(frozen=True)
class Command:
    """One command: its name without folder, and the words after it, quotes taken away."""

    name: str
    words: tuple[str, ...]

    def has(self, *words: str) -> bool:
        """Tell whether one of these words is given."""
        return any(word in self.words for word in words)

    @property
    def action(self) -> str:
        """Give the first word that is no option: `install` of `apt-get -y install x`."""
        return next((word for word in self.words if not word.startswith("-")), "")

    @property
    def operands(self) -> tuple[str, ...]:
        """Give the words that are no options."""
        return tuple(word for word in self.words if not word.startswith("-"))


@dataclass(frozen=True)
class Script:
    """What a RUN does."""

    instruction: Instruction

    @cached_property
    def text(self) -> str:
        """Give the shell's text: of the line, and of heredocs that are scripts."""
        array = self.instruction.array
        if array is not None:
            name = posixpath.basename(array[0]) if array else ""
            return array[2] if name in _SHELLS and array[1:2] == ("-c",) else " ".join(array)
        line = re.sub(r"\\\n", " ", self.instruction.text)
        rest = [word for word in self.instruction.words if not parse_heredoc(word)]
        bodies = [each.body for each in self.instruction.heredocs if _is_shell(each.body)]
        if not self.instruction.heredocs:
            return line
        shell = posixpath.basename(rest[0]) in _SHELLS if rest else True
        return "\n".join([" ".join(rest), *(bodies if shell else [])])

    @cached_property
    def commands(self) -> tuple[Command, ...]:
        """Give the commands, in order."""
        return tuple(_commands(self.text))

    @property
    def cached(self) -> tuple[str, ...]:
        """Give the folders that a cache or a tmpfs is mounted on: they leave nothing behind."""
        return tuple(
            each.get("target", "").rstrip("/")
            for each in self.instruction.mounts
            if each.get("type") in ("cache", "tmpfs")
        )


def _is_shell(body: str) -> bool:
    """Tell whether a heredoc's text is a shell's: by its `#!`, where it has one."""
    first = body.partition("\n")[0]
    if not first.startswith("#!"):
        return True
    return any(posixpath.basename(word) in _SHELLS for word in first[2:].split())


def _commands(text: str) -> Iterator[Command]:
    words: list[str] = []
    for found in _TOKEN.finditer(text.replace("\\\n", " ")):
        if found["word"]:
            words.append(found["word"])
        elif found["end"]:
            yield from _command(words)
            words = []
    yield from _command(words)


def _command(words: list[str]) -> Iterator[Command]:
    left = [unquote(word) for word in words]
    while left and (left[0] in _BEFORE or _ASSIGNMENT.fullmatch(left[0])):
        left.pop(0)
    if not left:
        return
    name = posixpath.basename(left[0].lstrip("("))
    if name == "sudo":
        yield Command("sudo", tuple(left[1:]))
        while left[1:2] and left[1].startswith("-"):
            left.pop(1)
        yield from _command(left[1:])
        return
    if name in _SHELLS and "-c" in left:
        at = left.index("-c")
        if at + 1 < len(left):
            yield from _commands(left[at + 1])
            return
    if name.startswith("python") and left[1:2] == ["-m"] and len(left) > 2:  # noqa: PLR2004
        name, left = left[2], left[2:]
    yield Command(name, tuple(word.rstrip(")") for word in left[1:]))
