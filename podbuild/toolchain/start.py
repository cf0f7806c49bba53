"""What an engine's own start costs; a build starts it dozens of times."""

from __future__ import annotations

import sys

from podbuild.run import Runner
from podbuild.toolchain.model import Engine

SLOW_START = 0.015  # CPU seconds of `--version` from which doctor says so

_MEASURE = """
import os, resource, sys
child = os.fork()
if child == 0:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.execv(sys.argv[1], [sys.argv[1], "--version"])
os.waitpid(child, 0)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)
"""
_ROUNDS = 3


def start_cost(runner: Runner, engine: Engine) -> float:
    """Give the CPU seconds of `engine --version`, the best of three."""
    argv = (sys.executable, "-I", "-S", "-c", _MEASURE, str(engine.path))
    return min(float(runner(*argv, timeout=60).out) for _ in range(_ROUNDS))
