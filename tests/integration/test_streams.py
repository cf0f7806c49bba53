"""Where podbuild is started from: streams that take nothing, a terminal, signals at the start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

PODBUILD = (sys.executable, "-m", "podbuild")
FULL = "stdout: can't write the answer: No space left on device"
LIMIT = 300  # seconds until what hangs is given up


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("--version",), 1, FULL),
        (("release", "--help"), 1, FULL),
        ((), 1, FULL),
        (("nosuch", "--json"), 2, "no such command 'nosuch'"),
    ],
)
def test_an_answer_that_can_not_be_written_is_one_failure(
    argv: tuple[str, ...], code: int, said: str
) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run(
            (*PODBUILD, *argv), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == code
    assert done.stderr.startswith(f"podbuild: {said}")
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr


def test_help_that_nobody_reads_is_no_failure() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run((*PODBUILD, "--help"), stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_is_started_gets_streams_where_the_caller_closed_them() -> None:
    """As `podbuild run` hands on its own; Python closes in a child what it opens itself."""
    program = (
        "import os, subprocess, podbuild.cli as cli; os.close(0)\n"
        "assert cli.main(['--version']) == 0\n"
        "print(subprocess.check_output(['sh', '-c', 'readlink /proc/self/fd/0 0<&0']).decode())"
    )
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, check=False)
    assert done.stdout.split()[-1:] == [b"/dev/null"], done.stderr


def test_an_interrupt_before_there_is_a_command_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text(
        "import time\nprint('begun', flush=True)\nwhile True: time.sleep(1)\n"
    )
    with subprocess.Popen(
        PODBUILD,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    ) as podbuild:
        assert podbuild.stdout
        assert podbuild.stdout.readline() == b"begun\n"
        podbuild.send_signal(signal.SIGINT)
        said = podbuild.communicate()[1]
    assert (podbuild.returncode, said) == (-signal.SIGINT, b"")


# At a terminal.


@dataclass(frozen=True, kw_only=True)
class Terminal:
    """Its two ends: the user's, and what programs have."""

    user: int
    program: int


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    user, program = os.openpty()
    yield Terminal(user=user, program=program)
    os.close(user)
    os.close(program)


@contextmanager
def shows(terminal: Terminal, child: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start what shows a program that does this, with `slave` as its terminal."""
    program = f"""if True:
        import os, sys, tty
        from podbuild.build.engine.programs import attach
        master, slave = os.openpty()
        tty.setraw(slave)
        pid = os.fork()
        if pid == 0:
            os.close(master)
            {child}
            os._exit(7)
        os.close(slave)
        if sys.argv[1:]:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        sys.exit(os.waitstatus_to_exitcode(attach.show(master, pid)))
    """
    argv = (sys.executable, "-c", program, *(["ended"] if "while" not in child else []))
    with subprocess.Popen(
        argv, stdin=terminal.program, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_last_words_of_a_program_are_shown_with_its_code(terminal: Terminal) -> None:
    with shows(terminal, "os.write(slave, b'last words')") as process:
        shown, failed = process.communicate(timeout=LIMIT)
    assert (shown, process.returncode) == (b"last words", 7), failed


def test_much_that_is_typed_and_shown_holds_up_nothing(terminal: Terminal) -> None:
    tty.setraw(terminal.program)
    echo = "while b'.' not in (data := os.read(slave, 4096)): os.write(slave, data * 9)"

    def type_it() -> None:
        with open(terminal.user, "wb", closefd=False) as keyboard:
            keyboard.write(b"x" * 500_000 + b"\n" + b"." * 4096)

    with shows(terminal, echo) as process:
        typing = threading.Thread(target=type_it, daemon=True)
        typing.start()
        shown, failed = process.communicate(timeout=LIMIT)
    assert process.returncode == 7, failed
    assert shown.count(b"x") > 4_000_000
    termios.tcflush(terminal.program, termios.TCIFLUSH)
    typing.join()


def read_until(terminal: Terminal, text: bytes) -> None:
    shown = b""
    while text not in shown:
        shown += os.read(terminal.user, 4096)


def test_a_terminal_is_as_before_also_when_a_second_signal_leaves_at_once(
    terminal: Terminal,
) -> None:
    program = """if True:
        import os, sys
        from podbuild.system.cancel import Cancel, stopping
        from podbuild.system.console import Streams, choose_ui
        from podbuild.system.process import Runner
        from podbuild.system import terminal
        terminal.GRACE = 600  # the second signal ends it, however late it comes
        cancel = Cancel()
        with stopping(cancel, choose_ui({}, Streams(sys.stdout, sys.stderr))):
            runner = Runner(env=os.environ, cancel=cancel)
            terminal.run_attached(runner, "sh", "-c", "trap '' TERM; echo ready; read x")
    """
    before = termios.tcgetattr(terminal.program)
    end = terminal.program
    with subprocess.Popen(
        (sys.executable, "-c", program), stdin=end, stdout=end, stderr=end
    ) as process:
        read_until(terminal, b"ready")
        assert termios.tcgetattr(terminal.program) != before
        process.send_signal(signal.SIGTERM)
        read_until(terminal, b"once more")
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM
    assert termios.tcgetattr(terminal.program) == before
