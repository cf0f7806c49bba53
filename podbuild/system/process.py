"""Start processes. The only module that does, and the only one that knows `sh`.

What `sh` would do by default and must not: give the child a terminal, log argvs, share our
process group, keep only chunks of the output, and lose the output from error objects.
"""

from __future__ import annotations

import logging
import os
import queue
import shutil
import signal
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field, replace
from pathlib import Path
from typing import IO

import sh

from podbuild.errors import PodbuildError, ToolError
from podbuild.system.cancel import Cancel
from podbuild.system.later import dataclass

TAIL_LINES = 40
GRACE = 5.0  # seconds between SIGTERM and SIGKILL

_POLL = 0.05  # seconds between two looks at what is left of a group

logging.getLogger("sh").setLevel(logging.CRITICAL + 1)  # it logs whole argvs, in child loggers
# sh forks; with threads Python 3.12 warns on each call, though the child only execs.
warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork.*")


class CommandError(PodbuildError):
    """A command ended with a code that is not a success; `details` are its last lines."""

    def __init__(self, finished: Finished) -> None:
        super().__init__(
            f"{Path(finished.argv[0]).name} {' '.join(finished.argv[1:2])} "
            f"ended with {describe_code(finished.code)}",
            details=finished.tail,
        )
        self.finished = finished


class CommandTimeoutError(CommandError):
    """A command was stopped because its own time was over."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a command left: its code (negative: the signal), stdout, last lines, seconds."""

    argv: tuple[str, ...]
    code: int
    out: str
    tail: tuple[str, ...]
    seconds: float


def last_line(lines: Sequence[str]) -> str:
    """Give the last line that says something, without the space around it; empty for none."""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Runs commands with exactly this environment, each in a process group of its own.

    `prefix` is put before every argv (entering a namespace). Safe to share between threads.
    """

    env: Mapping[str, str]
    cwd: Path | None = None
    prefix: tuple[str, ...] = ()
    cancel: Cancel = field(default_factory=Cancel)

    def extended(
        self,
        env: Mapping[str, str] | None = None,
        *,
        prefix: tuple[str, ...] | None = None,
        cwd: Path | None = None,
    ) -> Runner:
        """Give a runner with more environment, another prefix or another folder."""
        return replace(
            self,
            env={**self.env, **(env or {})},
            prefix=self.prefix if prefix is None else prefix,
            cwd=cwd or self.cwd,
        )

    def __call__(
        self,
        *argv: str,
        stdin: bytes | None = None,
        timeout: float | None = None,
        on_line: Callable[[str], None] | None = None,
        ok: Sequence[int] = (0,),
    ) -> Finished:
        """Run a command to its end. `timeout` is in seconds; no stdin means /dev/null.

        With `on_line`, each line of stdout and stderr goes there as it comes (in the order of
        arrival) and `Finished.out` is empty.

        Raises ToolError (no such program), CommandError (a code not in `ok`),
        CommandTimeoutError, and what Cancel.check raises after a stop.
        """
        self.cancel.check()
        collector = _Collector(on_line)
        began = time.monotonic()
        with self._start((*self.prefix, *argv), collector, stdin=stdin) as process:
            ended = self._await(process, timeout)
            code = process.wait() if ended else process.stop()
        finished = Finished(
            argv=argv,
            code=code,
            out="".join(collector.out),
            tail=tuple(collector.tail),
            seconds=time.monotonic() - began,
        )
        collector.raise_failure()
        self.cancel.check()
        if not ended:
            raise CommandTimeoutError(finished)
        if code not in ok:
            raise CommandError(finished)
        return finished

    @contextmanager
    def background(
        self,
        *argv: str,
        stdin: int | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Iterator[Process]:
        """Run a command while the block runs; its whole group is stopped at the end.

        `stdin` is a file descriptor that the child reads from (kept open by the caller).
        """
        collector = _Collector(on_line or (lambda _line: None))
        with self._start((*self.prefix, *argv), collector, stdin=stdin) as process:
            yield process

    def which(self, name: str) -> Path | None:
        """Give where this runner's PATH has a program; None when it has not."""
        found = shutil.which(name, path=self.env.get("PATH", os.defpath))
        return Path(found) if found else None

    @contextmanager
    def _start(
        self, argv: tuple[str, ...], collector: _Collector, *, stdin: bytes | int | None
    ) -> Iterator[Process]:
        program = self.which(argv[0])
        if program is None:
            raise ToolError(
                f"{argv[0]}: no such program", hint="`podbuild doctor` says what is missing"
            )
        with _readable(stdin) as source:
            process = Process(self._launch(program, argv, collector, source))
            try:
                with self.cancel.telling(process.terminate, process.kill):
                    yield process
            finally:
                process.stop()

    def _launch(
        self,
        program: Path,
        argv: tuple[str, ...],
        collector: _Collector,
        source: bytes | IO[bytes],
    ) -> sh.RunningCommand:
        try:
            command: object = sh.Command(str(program))(
                *argv[1:],
                _bg=True,
                _bg_exc=False,
                _new_group=True,
                _tty_out=False,
                _no_pipe=True,  # else all output stays in memory
                _in=source,
                _out=collector.stdout,
                _err=collector.stderr,
                _env=dict(self.env),
                _cwd=None if self.cwd is None else str(self.cwd),
                _encoding=sys.getfilesystemencoding(),
                _decode_errors="replace",
                _return_cmd=True,
            )
        except (sh.ForkException, sh.CommandNotFound) as error:
            reason = str(error).strip().rpartition("\n")[2].strip()
            raise ToolError(f"{argv[0]} can't be started: {reason}") from None
        assert isinstance(command, sh.RunningCommand)  # noqa: S101  # _return_cmd says so
        return command

    def _await(self, process: Process, timeout: float | None) -> bool:
        """Wait for the end; False when a stop is asked for, or a time is over, before it."""
        left = self.cancel.remaining
        limits = [limit for limit in (timeout, left) if limit is not None]
        return process.ended(min(limits) if limits else None)


@contextmanager
def _readable(stdin: bytes | int | None) -> Iterator[bytes | IO[bytes]]:
    """Give what `sh` can feed to a child: bytes, a descriptor's file, or nothing at all."""
    if isinstance(stdin, bytes):
        yield stdin
    else:
        with open(
            os.devnull if stdin is None else stdin, "rb", closefd=stdin is None
        ) as file:  # a device or a descriptor, not a path
            yield file


class Process:
    """A running command and its process group."""

    def __init__(self, command: sh.RunningCommand) -> None:
        self.done = threading.Event()
        self._command = command
        self._code = 0
        self._stopping = threading.Event()
        self._asked = threading.Lock()  # held once the group was asked to stop
        # Put from a signal handler, which may interrupt the very thread that waits here.
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()
        threading.Thread(target=self._watch, name=f"watch {self.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        """Give the process id, which is the group's id too."""
        return int(self._command.pid)

    def ended(self, seconds: float | None) -> bool:
        """Wait, but no longer than this or until a stop; tell whether the command ended."""
        with suppress(queue.Empty):
            self._news.get(timeout=seconds)
        return self.done.is_set()

    def wait(self) -> int:
        """Wait for the end and give the exit code; negative for a signal."""
        self.done.wait()
        return self._code

    def terminate(self) -> None:
        """Ask the whole group to stop, once, without waiting. Safe in a signal handler.

        Once: to many programs, podbuild too, a second SIGTERM means to leave without tidying up.
        """
        asked = not self.done.is_set() and self._asked.acquire(blocking=False)
        if asked and not self._signal(signal.SIGTERM):  # not a group yet
            self._asked.release()
        self._news.put(None)

    def kill(self) -> None:
        """End the whole group at once, without waiting. Safe in a signal handler."""
        if not self.done.is_set():
            self._signal(signal.SIGKILL)

    def stop(self) -> int:
        """Stop the whole group, gently first, and give the exit code."""
        if not self.done.is_set():
            self._stopping.set()
            self.terminate()
            if not self.done.wait(GRACE):
                self._signal(signal.SIGKILL)
        return self.wait()

    def _watch(self) -> None:
        """See the command's end; what it left running in its group ends with it."""
        try:
            self._command.wait()
            self._code = int(self._command.exit_code)
        except sh.ErrorReturnCode as error:
            self._code = int(error.exit_code)
        finally:
            until = time.monotonic() + GRACE
            while self._stopping.is_set() and self._signal(0) and time.monotonic() < until:
                self.done.wait(_POLL)
            self._signal(signal.SIGKILL)
            self.done.set()
            self._news.put(None)

    def _signal(self, number: int) -> bool:
        """Send a signal to the group; False where nothing is left of it."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True


class _Collector:
    """Takes what a command prints. sh swallows what callbacks raise, so it is kept here."""

    def __init__(self, on_line: Callable[[str], None] | None) -> None:
        self.out: list[str] = []
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._on_line = on_line
        self._failure: Exception | None = None

    def stdout(self, line: str) -> None:
        if self._on_line is None:
            self.out.append(line)
        else:
            self._take(line)

    def stderr(self, line: str) -> None:
        self._take(line)

    def raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _take(self, line: str) -> None:
        text = line.rstrip("\r\n")
        self.tail.append(text)
        if self._on_line is None:
            return
        try:
            self._on_line(text)
        except Exception as error:  # noqa: BLE001  # raised again by raise_failure
            self._failure = self._failure or error


def describe_code(code: int) -> str:
    """Say an exit code for people: `code 2`, or `signal SIGKILL`.

    >>> describe_code(-9)
    'signal SIGKILL'
    """
    if code >= 0:
        return f"code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
