"""How things are said: what a look gives are lines to print; a look prints nothing itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import field
from typing import Protocol

from podbuild.errors import PodbuildError
from podbuild.system.console.text import duration
from podbuild.system.later import dataclass

Lines = tuple[str, ...]

# The start of a message that names its place: `podbuild.toml:12: ...`.
_PLACED = re.compile(r"(?P<file>[^\s:]+):(?P<line>[1-9]\d*)(?::\d+)?: ")


@dataclass(frozen=True)
class FileLine:
    """A file, and a line of it (counted from 1; 0: the whole file)."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


def place_of(message: str) -> FileLine | None:
    """Give the place that a message begins with.

    >>> str(place_of("podbuild.toml:12: images.web.platfroms: unknown key"))
    'podbuild.toml:12'
    """
    found = _PLACED.match(message)
    return FileLine(found["file"], int(found["line"])) if found else None


class Look(Protocol):
    """The wording and the marks of one kind of log. Everything given to it is one-line text."""

    @property
    def stops_commands(self) -> bool:
        """Tell whether its blocks keep the runner from taking their lines for commands."""

    def opened(self, title: str) -> Lines:
        """Say that a step begins."""

    def closed(self, title: str, seconds: float, *, failed: bool) -> Lines:
        """Say that a step has ended."""

    def told(self, text: str) -> Lines:
        """Say something."""

    def noted(self, text: str, place: FileLine | None) -> Lines:
        """Say something that belongs into the overview of the run."""

    def warned(self, text: str, place: FileLine | None) -> Lines:
        """Warn."""

    def failed(self, error: PodbuildError) -> Lines:
        """Say why the command fails: the line, details, the hint."""

    def block(self, title: str, content: Sequence[str], *, failed: bool) -> Lines:
        """Give a job's output as one block."""

    def masked(self, secret: str) -> Lines:
        """Tell the log to hide a value."""


class Colour:
    """Select Graphic Rendition codes (ECMA-48) for what needs to stand out."""

    BOLD = "1"
    DIM = "2"
    RED = "31;1"
    GREEN = "32"
    YELLOW = "33"


@dataclass(frozen=True)
class Paint:
    """Colours text, or leaves it plain."""

    active: bool = False

    def __call__(self, colour: str, text: str) -> str:
        """Give the text in this colour."""
        return f"\x1b[{colour}m{text}\x1b[0m" if self.active and text else text


@dataclass(frozen=True)
class PlainLook:
    """Calm lines for files, pipes and CI systems of no special kind.

    Of a job that went well its title is enough, unless `whole_blocks` asks for all.
    """

    paint: Paint = Paint()
    whole_blocks: bool = field(default=False, kw_only=True)

    @property
    def stops_commands(self) -> bool:
        """Tell that blocks are lines like any other."""
        return False

    def opened(self, title: str) -> Lines:
        """Say that a step begins."""
        return (self.paint(Colour.BOLD, title),)

    def closed(self, title: str, seconds: float, *, failed: bool) -> Lines:
        """Say that a step has ended."""
        if failed:
            return (self.paint(Colour.RED, f"{title}: failed after {duration(seconds)}"),)
        return (self.paint(Colour.GREEN, f"{title}: done in {duration(seconds)}"),)

    def told(self, text: str) -> Lines:
        """Say something."""
        return (text,)

    def noted(self, text: str, place: FileLine | None) -> Lines:
        """Say something that belongs into the overview of the run."""
        return (f"note: {_before(place)}{text}",)

    def warned(self, text: str, place: FileLine | None) -> Lines:
        """Warn."""
        return (f"{self.paint(Colour.YELLOW, 'warning:')} {_before(place)}{text}",)

    def failed(self, error: PodbuildError) -> Lines:
        """Say why the command fails: the line, details, the hint."""
        return (
            f"{self.paint(Colour.RED, 'podbuild:')} {error.message}",
            *(f"  {line}" for line in error.details),
            *((f"{self.paint(Colour.BOLD, 'hint:')} {error.hint}",) if error.hint else ()),
        )

    def block(self, title: str, content: Sequence[str], *, failed: bool) -> Lines:
        """Give a job's output as one block, or just its title."""
        if not (failed or self.whole_blocks):
            return (title,)
        head = self.paint(Colour.RED, f"--- {title}: failed") if failed else f"--- {title}"
        return (head, *(f"    {line}".rstrip() for line in content))

    def masked(self, secret: str) -> Lines:  # noqa: ARG002  # nothing that a plain log knows
        """Tell the log to hide a value."""
        return ()


@dataclass(frozen=True)
class TerminalLook(PlainLook):
    """For people who look on: of a job that failed the end is enough."""

    last_lines: int = 40  # its log file has the rest

    def block(self, title: str, content: Sequence[str], *, failed: bool) -> Lines:
        """Give the end of a failed job's output; with `whole_blocks` all of every job's."""
        shown = content if self.whole_blocks else content[-self.last_lines :]
        return super().block(title, shown, failed=failed)


def _before(place: FileLine | None) -> str:
    return f"{place}: " if place else ""
