"""What building costs: time, memory and bytes of a job, measured around the engine's process."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from podbuild import measure

_KIB = 1024  # bytes; the unit of getrusage(2)'s ru_maxrss


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a command cost: CPU seconds of all its processes, peak memory (bytes) of the largest."""

    cpu_seconds: float = 0.0
    peak_memory: int = 0


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What one job cost. No CPU seconds and no memory: not known."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory: int = 0  # bytes, of the largest process
    context_bytes: int = 0
    steps: int = 0
    cached_steps: int = 0
    pulled_steps: int = 0  # of the cached ones, from the registry's layer cache
    pushed_steps: int = 0  # that the registry's layer cache did not have
    layer_bytes: int = 0  # compressed, all layers of the image
    retries: int = 0

    def with_delivery(self, seconds: float, cost: Cost) -> Metrics:
        """Add what it cost to bring the image from the engine's storage to staging."""
        return replace(
            self,
            seconds=self.seconds + seconds,
            cpu_seconds=self.cpu_seconds + cost.cpu_seconds,
            peak_memory=max(self.peak_memory, cost.peak_memory),
        )


def measured(report: Path, argv: Sequence[str]) -> tuple[str, ...]:
    """Give the argv that runs a command and writes its cost."""
    return (sys.executable, "-I", "-S", str(measure.__file__), str(report), *argv)


def read_cost(report: Path) -> Cost:
    """Read what `measured` wrote; zeros where the command was killed before."""
    try:
        cpu, memory = report.read_text().split()
    except (FileNotFoundError, ValueError):
        return Cost()
    return Cost(cpu_seconds=float(cpu), peak_memory=int(memory) * _KIB)
