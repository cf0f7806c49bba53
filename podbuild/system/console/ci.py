"""The looks of GitHub Actions (Forgejo's and Gitea's runners read the same) and GitLab CI."""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field

from podbuild.errors import BuildError, ConfigError, PodbuildError
from podbuild.system.console.look import FileLine, Lines, Paint, PlainLook, place_of
from podbuild.system.console.text import command_data, command_property, no_command
from podbuild.system.later import dataclass

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
