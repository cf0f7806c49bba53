"""What processes have used, from the kernel's own counts (proc(5))."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

PROC = Path("/proc")


def family(pid: int) -> tuple[int, ...]:
    """Give a process and all that descend from it."""
    parents = _parents()
    found = [pid]
    for each in found:  # grows while it is walked
        found += (child for child, parent in parents.items() if parent == each)
    return tuple(found)


def children(pid: int) -> tuple[int, ...]:
    """Give the processes that a process has started and that still run."""
    return tuple(child for child, parent in _parents().items() if parent == pid)


def cpu_seconds(pids: Sequence[int]) -> float:
    """Give the CPU seconds of processes and of those that they have waited for."""
    ticks = (int(number) for pid in pids for number in _stat(pid)[11:15])
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


def peak_memory(pids: Sequence[int]) -> int:
    """Give the peak, in bytes, of the largest process."""
    return max((_peak(pid) for pid in pids), default=0)


def forget_peaks(pids: Sequence[int]) -> None:
    """Let the peaks start from the present."""
    for pid in pids:
        with _alive():
            (PROC / str(pid) / "clear_refs").write_text("5")


def _parents() -> Mapping[int, int]:
    pids = [int(folder.name) for folder in PROC.glob("[0-9]*")]
    found = {pid: _stat(pid) for pid in pids}
    return {pid: int(fields[1]) for pid, fields in found.items() if fields}


def _stat(pid: int) -> Sequence[str]:
    """Give the fields after the name; none where the process has ended."""
    with _alive():
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return ()


def _peak(pid: int) -> int:
    with _alive():
        found = (PROC / str(pid) / "status").read_text().partition("VmHWM:")[2].split()
        return int(found[0]) * 1024 if found else 0
    return 0


@contextmanager
def _alive() -> Iterator[None]:
    """Let a process end while it is asked about."""
    with suppress(FileNotFoundError, ProcessLookupError):
        yield
