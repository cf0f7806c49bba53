"""What a run costs: the clock, the CPU, memory; and who publishes a version."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from podbuild.build.engine.namespace import open_namespace
from podbuild.system.folders import find_folders
from podbuild.system.process import Runner

GRACE = 20.0  # seconds that a stopped command has to clean up
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What one run cost: seconds on the clock and of CPU, peak memory of its largest process."""

    seconds: float
    cpu: float
    memory: int  # bytes
    phases: Mapping[str, float] = field(default_factory=dict)


class Contestant(Protocol):
    """Publishes the workload's present state as a version."""

    @property
    def name(self) -> str:
        """Give the name in the tables."""

    def forget(self) -> None:
        """Start from nothing: no cache, no storage."""

    def release(self, version: str) -> Spent:
        """Build and push everything that this version needs."""


def timed(argv: Sequence[str], *, folder: Path, env: Mapping[str, str], log: Path) -> Spent:
    """Run a command to its end; stops the benchmark when it fails, and it with the benchmark."""
    began = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(argv, cwd=folder, env=env, stdout=out, stderr=out)
        try:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            stop(process)
    seconds = time.monotonic() - began
    if process.returncode:
        raise SystemExit(f"{argv[0]} failed:\n{log.read_text(errors='replace')[-3000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return Spent(seconds=seconds, cpu=cpu, memory=usage.ru_maxrss * 1024)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a command that still runs, gently first."""
    if process.returncode is not None:
        return
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    process.kill()
    process.wait()


def stop_on_signals() -> None:
    """Let a signal that ends the benchmark end what it has started; a second one does nothing."""
    for number in SIGNALS:
        signal.signal(number, lambda caught, _frame: _exit(caught))


def _exit(number: int) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(128 + number)


def remove(folder: Path) -> None:
    """Remove a folder whose files may belong to ids of a user namespace."""
    if not folder.exists():
        return
    runner = Runner(env=dict(os.environ))
    folders = find_folders(os.environ, folder)
    with open_namespace(runner, folders, {}, needed=(folder,)) as namespace:
        namespace.inside(runner)("find", f"{folder}/", "-mindepth", "1", "-delete")
    folder.rmdir()
