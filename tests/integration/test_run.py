"""Real processes: what the one runner promises of output, codes, time, and what it leaves."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from podbuild.errors import DeadlineError, InterruptedBySignal, ToolError
from podbuild.system.cancel import Cancel
from podbuild.system.process import (
    TAIL_LINES,
    CommandError,
    CommandTimeoutError,
    Finished,
    Process,
    Runner,
)
from tests.shops import Shop

pytestmark = pytest.mark.integration
PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
IGNORES_TERM = "trap '' TERM; echo ready; while :; do sleep 0.1; done"


@pytest.fixture
def run() -> Runner:
    return Runner(env=PATH)


def ended(pid: int) -> bool:
    """Tell whether a process is gone; one that only waits to be reaped is."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return status.rpartition(")")[2].split()[0] in "ZX"


def all_ended(*pids: str) -> bool:
    """Tell whether processes are gone; the kernel takes its time to carry out a kill."""
    deadline = time.monotonic() + 500
    while not all(ended(int(pid)) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    return all(ended(int(pid)) for pid in pids)


def test_output_comes_back_with_its_code(run: Runner) -> None:
    found = run("sh", "-c", "echo one; echo two >&2; echo three")
    assert (found.code, found.out, found.tail) == (0, "one\nthree\n", ("two",))


def test_lines_come_in_the_order_in_which_they_were_printed(run: Runner, tmp_path: Path) -> None:
    """Each is printed when the one before was heard: two pipes have no order of their own."""
    lines: list[str] = []
    fifo = tmp_path / "heard"
    os.mkfifo(fifo)
    heard = os.open(fifo, os.O_RDWR)

    def hear(line: str) -> None:
        lines.append(line)
        os.write(heard, b"\n")

    both = "echo out $i; read x <&3; echo err $i >&2; read x <&3"
    found = run("sh", "-c", f"exec 3<{fifo}; for i in 1 2 3 4; do {both}; done", on_line=hear)
    os.close(heard)
    assert lines == [f"{kind} {i}" for i in range(1, 5) for kind in ("out", "err")]
    assert found.out == ""
    assert found.tail == tuple(lines)


def test_last_line_without_newline_is_heard(run: Runner) -> None:
    lines: list[str] = []
    run("printf", "a\\nb", on_line=lines.append)
    assert lines == ["a", "b"]


@pytest.mark.parametrize("code", [1, 2, 125, 255])
def test_code_that_is_no_success_is_an_error_with_the_last_lines(run: Runner, code: int) -> None:
    with pytest.raises(CommandError) as caught:
        run("sh", "-c", f"seq 100 >&2; exit {code}")
    assert caught.value.finished.code == code
    assert caught.value.details == tuple(str(n) for n in range(101 - TAIL_LINES, 101))


def test_expected_codes_are_no_error(run: Runner) -> None:
    assert run("sh", "-c", "exit 3", ok=(0, 3)).code == 3


def test_signal_is_told_by_its_name(run: Runner) -> None:
    with pytest.raises(CommandError, match="ended with signal SIGKILL") as caught:
        run("sh", "-c", "kill -KILL $$")
    assert caught.value.finished.code == -signal.SIGKILL


@pytest.mark.parametrize("argv", ["no-such-program", "/nowhere/at/all"])
def test_missing_program_is_a_missing_tool(run: Runner, argv: str) -> None:
    with pytest.raises(ToolError, match="no such program"):
        run(argv)


def test_file_that_is_no_program_says_why(run: Runner, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("no program")
    broken.chmod(0o755)
    with pytest.raises(ToolError, match=r"broken can't be started: .*Exec format error"):
        run(str(broken))


def test_missing_folder_says_why(run: Runner, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="No such file or directory"):
        run.extended(cwd=tmp_path / "gone")("true")


def test_stdin_is_given_completely(run: Runner) -> None:
    data = bytes(range(256)) * 4000
    digest = run("sha256sum", stdin=data).out.split()[0]
    assert digest == run("sh", "-c", "cat | sha256sum", stdin=data).out.split()[0]
    assert run("wc", "-c", stdin=data).out.strip() == str(len(data))


def test_stdin_is_empty_unless_given(run: Runner) -> None:
    assert run("wc", "-c").out.strip() == "0"


def test_stdin_that_nobody_reads_does_not_hang(run: Runner) -> None:
    assert run("true", stdin=b"x" * 3_000_000).code == 0


def test_big_output_is_complete(run: Runner) -> None:
    found = run("sh", "-c", "yes 0123456789 | head -n 200000; head -c 5000000 /dev/zero")
    assert len(found.out) == 200_000 * 11 + 5_000_000


def test_big_output_does_not_stay_in_memory(run: Runner) -> None:
    count = 0

    def heard(_line: str) -> None:
        nonlocal count
        count += 1

    with run.background("sh", "-c", "yes | head -n 300000", on_line=heard) as process:
        assert process.wait() == 0
        assert process._command.process._pipe_queue.qsize() < 10
    assert count == 300_000


def test_letters_are_not_torn_where_pieces_end(run: Runner) -> None:
    script = "i=0; while [ $i -lt 3000 ]; do printf 'aä€😀'; i=$((i+1)); done"
    assert run("sh", "-c", script).out == "aä€😀" * 3000


def test_binary_junk_is_no_failure(run: Runner) -> None:
    lines: list[str] = []
    run("head", "-c", "300000", "/dev/urandom", on_line=lines.append)
    assert len("".join(lines)) > 100_000


def test_what_a_listener_raises_surfaces(run: Runner) -> None:
    def broken(line: str) -> None:
        raise ZeroDivisionError(line)

    with pytest.raises(ZeroDivisionError, match="first"):
        run("sh", "-c", "echo first; echo second", on_line=broken)


def test_environment_is_exactly_the_given_one(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKED", "yes")
    found = run.extended({"ADDED": "ä b"})("env").out.splitlines()
    assert sorted(found) == sorted([f"PATH={PATH['PATH']}", "ADDED=ä b"])


def test_program_is_searched_on_the_given_path(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho mine\n")
    tool.chmod(0o755)
    assert Runner(env={"PATH": str(tmp_path)})("tool").out == "mine\n"


def test_prefix_stands_before_every_command(run: Runner) -> None:
    assert run.extended(prefix=("env", "X=1"))("sh", "-c", "echo $X").out == "1\n"


def test_descriptors_are_not_inherited(run: Runner, tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        found = run("ls", "-l", "/proc/self/fd").out
    assert "secret" not in found


@pytest.mark.parametrize(
    "argv", [("sh", "-c", "exit 3", "hunter2"), ("sh", "-c", "kill -9 $$", "hunter2")]
)
def test_no_argument_past_the_first_stands_in_an_error(run: Runner, argv: tuple[str, ...]) -> None:
    with pytest.raises(CommandError) as caught:
        run(*argv)
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in f"{error}{error.args}"
        error = error.__cause__ or error.__context__


def test_argv_is_in_no_log(run: Runner, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        run("true", "hunter2")
    assert "hunter2" not in caplog.text


def out_of_time(run: Runner, script: str, count: int) -> tuple[CommandTimeoutError, list[str]]:
    """Run it with as little time as lets it say so many pids; give its error, and them."""
    for seconds in (0.5, 5.0, 60.0):
        pids: list[str] = []
        with pytest.raises(CommandTimeoutError) as caught:
            run("sh", "-c", script, timeout=seconds, on_line=pids.append)
        if len(pids) == count:
            return caught.value, pids
    raise AssertionError(f"it did not say {count} pids")


def test_own_time_ends_the_command_and_all_it_started(run: Runner) -> None:
    script = "sleep 300 & echo $!; sh -c 'sleep 300 & echo $!; wait' & wait"
    error, pids = out_of_time(run, script, 2)
    assert error.finished.code == -signal.SIGTERM
    assert all_ended(*pids)


def test_grandchild_that_ignores_sigterm_is_killed(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podbuild.system.process.GRACE", 0.3)
    script = "(trap '' TERM; sh -c 'echo $PPID'; while :; do sleep 0.1; done) & wait"
    _, pids = out_of_time(run, script, 1)
    assert all_ended(*pids)


def test_what_a_command_leaves_running_ends_with_it(run: Runner) -> None:
    quiet = run("sh", "-c", "sleep 300 >/dev/null 2>&1 & echo $!")
    loud = run("sh", "-c", "sleep 300 & echo $!")  # holds our end of the pipe
    assert all_ended(quiet.out, loud.out)


def test_command_that_ended_in_time_is_no_timeout(run: Runner) -> None:
    assert run("true", timeout=60).code == 0


class Stopped:
    """Requests a stop as soon as a command has said that it is ready."""

    def __init__(self, cancel: Cancel) -> None:
        self.cancel = cancel
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        if line == "ready":
            threading.Thread(target=self.cancel.request, args=(signal.SIGTERM,)).start()


def test_stop_ends_the_command_gently(run: Runner) -> None:
    heard = Stopped(run.cancel)
    script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05 2>/dev/null; done"
    with pytest.raises(InterruptedBySignal) as caught:
        run("sh", "-c", f"{{ {script}; }} 2>/dev/null", on_line=heard)  # sh tells how sleep ended
    assert caught.value.exit_code == 143
    assert heard.lines == ["ready", "bye"]


def test_stop_kills_what_does_not_listen(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podbuild.system.process.GRACE", 0.3)
    with pytest.raises(InterruptedBySignal):
        run("sh", "-c", IGNORES_TERM, on_line=Stopped(run.cancel))


def test_real_signal_in_the_waiting_thread_stops_the_command(run: Runner) -> None:
    def handler(number: int, _frame: object) -> None:
        run.cancel.request(number)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(InterruptedBySignal):
            run("sh", "-c", f"kill -USR1 {os.getpid()}; sleep 300")
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_second_signal_to_podbuild_kills_a_git_that_does_not_listen(tmp_path: Path) -> None:
    fifo = tmp_path / "pid"
    os.mkfifo(fifo)
    git = tmp_path / "bin" / "git"
    git.parent.mkdir()
    git.write_text(
        '#!/bin/sh\n[ "$1" = status ] || exit 0\n'
        f"trap 'echo asked > {fifo}' TERM\necho $$ > {fifo}\nwhile :; do sleep 1; done\n"
    )
    git.chmod(0o755)
    shop = Shop(root=tmp_path, environment={"PATH": f"{git.parent}:{PATH['PATH']}"})
    shop.write("podbuild.toml", '[project]\nname = "shop"\n\n[images.web]\n')
    shop.write("Containerfile", "FROM scratch\n")
    with shop.start("plan", "v1.2.3") as podbuild:
        pid = fifo.read_text().strip()
        podbuild.send_signal(signal.SIGINT)
        assert fifo.read_text() == "asked\n"  # to stop, and does not
        podbuild.send_signal(signal.SIGINT)
    assert podbuild.returncode == 130
    assert all_ended(pid)


def test_nothing_starts_after_a_stop(run: Runner, tmp_path: Path) -> None:
    run.cancel.request(signal.SIGINT)
    with pytest.raises(InterruptedBySignal):
        run("touch", str(tmp_path / "made"))
    assert not (tmp_path / "made").exists()


def test_whole_time_ends_the_command() -> None:
    with pytest.raises(DeadlineError):
        Runner(env=PATH, cancel=Cancel(after=0.5))("sleep", "300")


def test_many_threads_can_run_commands_at_once(run: Runner) -> None:
    found: list[Finished] = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(run("sh", "-c", f"sleep 0.1; echo {n}")))
        for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(one.out) for one in found) == list(range(16))


def test_background_command_ends_with_its_block(run: Runner) -> None:
    seen: list[Process] = []
    with run.background("sleep", "300") as process:
        assert not ended(process.pid)
        seen.append(process)
    assert ended(seen[0].pid)


def test_background_command_ends_when_its_block_fails(run: Runner) -> None:
    seen: list[Process] = []

    def fail_inside() -> None:
        with run.background("sleep", "300") as process:
            seen.append(process)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert ended(seen[0].pid)


def test_background_command_reads_a_descriptor(run: Runner) -> None:
    lines: list[str] = []
    reading, writing = os.pipe()
    with run.background("cat", stdin=reading, on_line=lines.append) as process:
        os.write(writing, b"through the pipe\n")
        os.close(writing)
        assert process.wait() == 0
    os.close(reading)
    assert lines == ["through the pipe"]


def test_signal_after_the_end_goes_nowhere(run: Runner) -> None:
    with run.background("true") as process:
        process.wait()
        process.terminate()
        assert process.stop() == 0
