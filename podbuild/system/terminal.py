"""Commands for whoever sits at this terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from podbuild.errors import ToolError
from podbuild.system.process import GRACE, Runner


def run_attached(runner: Runner, *argv: str) -> int:
    """Run a command for whoever sits at this terminal; give its code, as `Finished` has it.

    It has our stdin, stdout and stderr. With a terminal, what is typed goes to it as it is
    (Ctrl-C too), and the terminal is as it was afterwards.

    Raises ToolError (no such program), and what Cancel.check raises after a stop.
    """
    runner.cancel.check()
    whole = (*runner.prefix, *argv)
    program = runner.which(whole[0])
    if program is None:
        raise ToolError(f"{whole[0]}: no such program")
    # A second signal leaves at once, without the ends of blocks: that may come before we hold it.
    with _raw_terminal() as as_before, runner.cancel.telling(lambda: None, as_before):
        process = subprocess.Popen(
            (str(program), *whole[1:]), env=dict(runner.env), cwd=runner.cwd, process_group=0
        )
        stop, kill = (partial(_tell, process, each) for each in (signal.SIGTERM, signal.SIGKILL))
        with runner.cancel.telling(stop, kill):
            while (code := _end_of(process)) is None:
                if runner.cancel.requested:  # it could not hear the first yet
                    kill()
    runner.cancel.check()
    return code


def _tell(leader: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to the whole group of a command that still runs: its first hears none."""
    if leader.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(leader.pid, number)


def _end_of(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(GRACE)
    except subprocess.TimeoutExpired:
        return None


def at_terminal() -> bool:
    """Tell whether somebody types here and sees what is said."""
    return os.isatty(0) and os.isatty(1)


@contextmanager
def _raw_terminal() -> Iterator[Callable[[], None]]:
    """Hand every key on as it is typed, where there is a terminal; gives what undoes that."""
    if not at_terminal():
        yield lambda: None
        return
    before = termios.tcgetattr(0)

    def as_before() -> None:
        with suppress(termios.error):  # it is gone: its window was closed
            termios.tcsetattr(0, termios.TCSANOW, before)

    try:
        tty.setraw(0)
        yield as_before
    finally:
        as_before()
