"""How things are said: what a look gives are lines to print; a look prints nothing itself."""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from typing import Protocol

from podbuild.errors import BuildError, ConfigError, PodbuildError
from podbuild.system.console.text import command_data, command_property, duration, no_command
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


# What is wrong in a file; others may begin with a registry's host and port.
_IN_A_FILE = (ConfigError.exit_code, BuildError.exit_code)


def _random_token() -> str:
    """Give a token that no log can guess, so that none can resume workflow commands."""
    return f"podbuild-{secrets.token_hex(16)}"


def command(name: str, text: str, **properties: str) -> str:
    r"""Give one workflow command; empty properties are left out.

    >>> command("error", "50% of\nit", file="a,b.toml", line="3", title="")
    '::error file=a%2Cb.toml,line=3::50%25 of%0Ait'
    """
    given = ",".join(
        f"{key}={command_property(value)}" for key, value in properties.items() if value
    )
    return f"::{name}{' ' if given else ''}{given}::{command_data(text)}"


def _annotation(name: str, text: str, place: FileLine | None) -> str:
    return command(
        name,
        text,
        file=place.file if place else "",
        line=str(place.line) if place and place.line else "",
        title="podbuild",
    )


@dataclass(frozen=True)
class GitHubLook:
    """Groups and annotations; nothing that a tool or a registry says becomes a command."""

    plain: PlainLook = field(default_factory=PlainLook)
    token: Callable[[], str] = _random_token

    @property
    def stops_commands(self) -> bool:
        """Tell that blocks stand between a stop and a token that nobody can guess."""
        return True

    def opened(self, title: str) -> Lines:
        """Say that a step begins. Groups can't be nested, so only jobs are folded."""
        return _harmless(self.plain.opened(title))

    def closed(self, title: str, seconds: float, *, failed: bool) -> Lines:
        """Say that a step has ended."""
        return _harmless(self.plain.closed(title, seconds, failed=failed))

    def told(self, text: str) -> Lines:
        """Say something."""
        return _harmless(self.plain.told(text))

    def noted(self, text: str, place: FileLine | None) -> Lines:
        """Say something as an annotation."""
        return (_annotation("notice", text, place),)

    def warned(self, text: str, place: FileLine | None) -> Lines:
        """Warn, as an annotation on the file where there is one."""
        return (_annotation("warning", text, place),)

    def failed(self, error: PodbuildError) -> Lines:
        """Say why the command fails, and once more as an annotation for the overview."""
        text = f"{error.message}\nhint: {error.hint}" if error.hint else error.message
        place = place_of(error.message) if error.exit_code in _IN_A_FILE else None
        annotation = _annotation("error", text, place)
        return (*_harmless(self.plain.failed(error)), annotation)

    def block(self, title: str, content: Sequence[str], *, failed: bool) -> Lines:
        """Fold a job's output; that of a failed one stays open."""
        token = self.token()
        inside = (command("stop-commands", token), *content, f"::{token}::")
        if failed:
            return (*_harmless((f"{title}: failed",)), *inside)
        return (command("group", title), *inside, "::endgroup::")

    def masked(self, secret: str) -> Lines:
        """Tell the runner to hide a value, line by line as it compares."""
        return tuple(command("add-mask", line) for line in secret.splitlines() if line.strip())


def _harmless(said: Lines) -> Lines:
    return tuple(no_command(line) for line in said)


_NOT_IN_SECTIONS = re.compile(r"[^a-z0-9_.-]+")


@dataclass(frozen=True)
class GitLabLook(PlainLook):
    """Collapsed sections for jobs (docs.gitlab.com, "Custom collapsible sections")."""

    paint: Paint = Paint(True)  # frozen
    clock: Callable[[], float] = time.time
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def block(self, title: str, content: Sequence[str], *, failed: bool) -> Lines:
        """Fold a job's output; that of a failed one stays open."""
        word = _NOT_IN_SECTIONS.sub("_", title.lower()).strip("_")[:60]
        name = f"podbuild_{next(self.numbers)}_{word}"
        now = int(self.clock())
        state = "false" if failed else "true"
        head = f"{title}: failed" if failed else title
        return (
            f"\x1b[0Ksection_start:{now}:{name}[collapsed={state}]\r\x1b[0K{head}",
            *(f"    {line}".rstrip() for line in content),
            f"\x1b[0Ksection_end:{now}:{name}\r\x1b[0K",
        )
