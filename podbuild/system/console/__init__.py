"""The user interface: the only part of podbuild that prints.

Answers go to stdout, all else to stderr. Everything passes the redactor, and nothing that comes
from outside (a registry's text, a tool's output) is a command for a CI's runner or a terminal.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum, IntEnum

from podbuild.errors import PodbuildError
from podbuild.system.console.look import (
    FileLine,
    GitHubLook,
    GitLabLook,
    Look,
    Paint,
    PlainLook,
    TerminalLook,
)
from podbuild.system.console.screen import (
    Activity,
    ActivityKind,
    Screen,
    Streams,
    StreamScreen,
    shown,
)
from podbuild.system.console.text import (
    duration,
    flat,
    harmless,
    json_shown,
    no_command,
    size,
    speed,
)
from podbuild.system.records import JSONValue
from podbuild.system.redact import Redactor

__all__ = ["Activity", "Answers", "Streams", "Ui", "Verbosity", "choose_ui"]
_QUICK = 1.0  # seconds
_LEAST_WIDTH = 40  # columns; nobody reads less


class Verbosity(IntEnum):
    """How much is said: QUIET leaves answers, warnings and failures."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


class Answers(Enum):
    """What `Ui.give` prints."""

    TEXT = "text"
    JSON = "json"


class Ui:
    """Says what happens. Safe to use from any thread; one call's lines are never torn apart."""

    def __init__(
        self,
        screen: Screen,
        look: Look,
        *,
        redactor: Redactor | None = None,
        verbosity: Verbosity = Verbosity.NORMAL,
        answers: Answers = Answers.TEXT,
        clock: Callable[[], float] = time.monotonic,
        width: int | None = None,
    ) -> None:
        self.width = width  # of the terminal that answers go to; None where they go elsewhere
        self.redactor = redactor or Redactor()
        self.verbosity = verbosity
        self._screen = screen
        self._look = look
        self._answers = answers
        self._answered = False
        self._clock = clock
        self._lock = threading.Lock()
        self._depth = 0
        self._told = 0  # how often something was said
        self._failures: set[str] = set()  # the lines of jobs that failed

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Say that a step begins, and how it ended and when; what is said inside is indented.

        That a quick step about which nothing was said went well is not worth a line.
        """
        text = self._one_line(title)
        activity = Activity(ActivityKind.STEP, text, clock=self._clock)
        self._tell(self._look.opened(text))
        before = self._told
        self._indent(1)
        failed = True
        try:
            with shown(self._screen, activity):
                yield
            failed = False
        finally:
            self._indent(-1)
            seconds = activity.seconds
            if failed or seconds >= _QUICK or self._told != before:
                self._tell(self._look.closed(text, seconds, failed=failed))

    @contextmanager
    def job(self, title: str) -> Iterator[Callable[[str], None]]:
        """Show a running job with its seconds; where nothing moves, say that it began.

        What it gives takes a line on what the job is doing now, shown on a terminal only.
        """
        text = self._one_line(title)
        if not self._screen.is_live:
            self._tell(self._look.told(f"{text}: started"))
        activity = Activity(ActivityKind.JOB, text, clock=self._clock)

        def doing(line: str) -> None:
            if self._screen.is_live:
                activity.doing = self._one_line(line)

        with shown(self._screen, activity):
            yield doing

    @contextmanager
    def transfer(self, title: str) -> Iterator[Activity]:
        """Count bytes: live on a terminal, one line at the end everywhere.

        `expect` tells of bytes that will go out, `advance` of those that did.
        """
        activity = Activity(ActivityKind.TRANSFER, self._one_line(title), clock=self._clock)
        ended = "stopped after"
        try:
            with shown(self._screen, activity):
                yield activity
            ended = "in"
        finally:
            self._transferred(activity, ended)

    def info(self, text: str) -> None:
        """Say what everyone wants to know."""
        for line in self._clean(text):
            self._tell(self._look.told(line))

    def detail(self, text: str) -> None:
        """Say what only -v wants to know."""
        if self.verbosity >= Verbosity.VERBOSE:
            self.info(text)

    def note(self, text: str, file: str | None = None, line: int | None = None) -> None:
        """Say what should stand in the overview of a CI run; it is nothing bad."""
        if self.verbosity > Verbosity.QUIET:
            self._screen.say(self._look.noted(self._one_line(text), self._place(file, line)))

    def warn(self, text: str, file: str | None = None, line: int | None = None) -> None:
        """Warn, with the place where something is to be changed if there is one."""
        self._screen.say(self._look.warned(self._one_line(text), self._place(file, line)))

    def fail(self, error: PodbuildError) -> None:
        """Say why the command fails: one line, then indented details, then the hint.

        What the block of a failed job has shown is not said again.
        """
        details = self._clean(*error.details)
        shown_error = PodbuildError(
            self._one_line(error.message),
            hint=self._one_line(error.hint),
            details=[line for line in details if line not in self._failures],
        )
        shown_error.exit_code = error.exit_code
        self._screen.say(self._look.failed(shown_error))

    def block(self, title: str, content: Iterable[str], *, failed: bool = False) -> None:
        """Print a job's output as one piece, folded where the CI can."""
        if self.verbosity == Verbosity.QUIET and not failed:
            return
        content = tuple(content)
        clean = self._clean(*content)
        if failed:
            self._failures.update(clean)
        inside = self._lines(*content) if self._look.stops_commands else clean
        lines = self._look.block(self._one_line(title), inside, failed=failed)
        if len(lines) == 1:  # a line among others
            self._tell(lines)
        else:
            self._screen.say(lines)

    def answer(self, text: str) -> None:
        """Print what was asked for on stdout."""
        self._screen.answer(self.redactor.cut(harmless(self.redactor.cut(text))))

    def answer_commands(self, commands: Iterable[str]) -> None:
        """Print commands for a CI runner on stdout; each is one line, escaped by its maker."""
        self._screen.answer("\n".join(self.redactor.cut(flat((each,))[0]) for each in commands))

    def answer_json(self, value: JSONValue) -> None:
        """Print what was asked for on stdout, as JSON."""
        self._answered = True
        clean = self.redactor.cut_json(value)
        self._screen.answer(json_shown(json.dumps(clean, indent=2, ensure_ascii=False)))

    def give(self, text: str, value: JSONValue) -> None:
        """Print the answer in the form that the user chose (--json)."""
        if self._answers is Answers.JSON:
            self.answer_json(value)
        else:
            self.answer(text)

    def answer_failure(self, error: PodbuildError, *, as_json: bool = False) -> None:
        """Answer with a failure where JSON was asked for and nothing was answered yet."""
        if self._answered or not (as_json or self._answers is Answers.JSON):
            return
        self.answer_json(
            {
                "schema": 1,
                "error": {
                    "exit-code": error.exit_code,
                    "message": self._one_line(error.message),
                    "hint": self._one_line(error.hint),
                    "details": [*self._clean(*error.details)],
                },
            }
        )

    def mask(self, secret: str) -> None:
        """Cut a secret, and have a CI's runner cut it from what other steps print.

        The runner is told in its log, so only for values made during the run (a session's
        token) that it does not know yet.
        """
        self.redactor.add(secret)
        self._screen.say(self._look.masked(secret))

    def _transferred(self, activity: Activity, ended: str) -> None:
        if not activity.moved and ended == "in":
            return
        seconds = activity.busy
        rate = speed(activity.moved, seconds)
        shown_rate = f" ({rate})" if rate else ""
        line = f"{activity.title}: {size(activity.moved)} {ended} {duration(seconds)}{shown_rate}"
        self._tell(self._look.told(line))

    def _tell(self, lines: Iterable[str]) -> None:
        if self.verbosity > Verbosity.QUIET:
            self._told += 1
            indent = "  " * self._depth
            self._screen.say(f"{indent}{line}" for line in lines)

    def _indent(self, by: int) -> None:
        with self._lock:
            self._depth += by

    def _clean(self, *texts: str) -> tuple[str, ...]:
        """Give lines without secrets that no runner takes for commands."""
        return tuple(map(no_command, self._lines(*texts)))

    def _lines(self, *texts: str) -> tuple[str, ...]:
        """Cut secrets before and after lines are split: one may have several lines."""
        return tuple(map(self.redactor.cut, flat(map(self.redactor.cut, texts))))

    def _place(self, file: str | None, line: int | None) -> FileLine | None:
        return FileLine(self._one_line(file), line or 0) if file else None

    def _one_line(self, text: str) -> str:
        return " ".join(line.strip() for line in self._clean(text) if line)


def choose_ui(
    environment: Mapping[str, str],
    streams: Streams | None = None,
    *,
    redactor: Redactor | None = None,
    verbosity: Verbosity = Verbosity.NORMAL,
    answers: Answers = Answers.TEXT,
    progress: bool = True,
) -> Ui:
    """Give the user interface for this terminal or CI system.

    GitHub, Forgejo and Gitea read workflow commands, GitLab folds sections, other CI systems
    and files get plain lines, a terminal shows what is under way (unless `progress` is off).
    """
    streams = streams or Streams(sys.stdout, sys.stderr)
    colours = _wants_colours(environment, streams)
    screen: Screen = StreamScreen(streams)
    whole = verbosity >= Verbosity.VERBOSE
    look: Look = PlainLook(Paint(colours), whole_blocks=whole)
    if environment.get("GITHUB_ACTIONS") == "true":  # act, Forgejo and Gitea set it as well
        look = GitHubLook()
    elif environment.get("GITLAB_CI") == "true":
        look = GitLabLook(Paint(active=not environment.get("NO_COLOR")))
    elif _is_terminal(environment, streams):
        look = TerminalLook(Paint(colours), whole_blocks=whole)
        if progress and verbosity > Verbosity.QUIET:
            from podbuild.system.console.live import (  # noqa: PLC0415  # rich takes its time
                LiveScreen,
            )

            screen = LiveScreen(streams, colours=colours)
    return Ui(
        screen,
        look,
        redactor=redactor,
        verbosity=verbosity,
        answers=answers,
        width=_answers_width(environment, streams),
    )


def _answers_width(environment: Mapping[str, str], streams: Streams) -> int | None:
    """Give the columns that answers have: of their terminal, or as COLUMNS asks for."""
    asked = environment.get("COLUMNS", "")
    if asked.isdecimal() and int(asked) > 0:
        return max(_LEAST_WIDTH, int(asked))
    try:
        columns = os.get_terminal_size(streams.out.fileno()).columns
    except (OSError, ValueError):
        return None
    return max(_LEAST_WIDTH, columns) if columns else None


def _is_terminal(environment: Mapping[str, str], streams: Streams) -> bool:
    watched = not environment.get("CI") and environment.get("TERM", "dumb") != "dumb"
    return watched and _isatty(streams)


def _isatty(streams: Streams) -> bool:
    try:
        return streams.err.isatty()
    except ValueError:  # closed
        return False


def _wants_colours(environment: Mapping[str, str], streams: Streams) -> bool:
    """Colour terminals only, unless asked for; NO_COLOR stands above all (no-color.org)."""
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR") or environment.get("CLICOLOR_FORCE"):
        return True
    return _is_terminal(environment, streams)
