"""Runs a command and writes what it cost: `python -I -S measure.py REPORT COMMAND...`.

REPORT gets CPU seconds of all descendants together, and the peak memory (KiB) of the largest.
Nothing is imported that costs time: an engine starts many times.
"""

import posix
import sys

SIGNALLED = 128  # plus the signal's number, as shells say it


def main() -> int:
    """Give the command's own exit code."""
    report, command = sys.argv[1], sys.argv[2:]
    child = posix.posix_spawn(command[0], command, posix.environ)
    _, status, usage = posix.wait4(child, 0)
    with open(report, "w") as file:  # noqa: PTH123  # pathlib would cost more than the rest
        file.write(f"{usage.ru_utime + usage.ru_stime:.3f} {usage.ru_maxrss}\n")
    if posix.WIFSIGNALED(status):
        return SIGNALLED + posix.WTERMSIG(status)
    return posix.WEXITSTATUS(status)


if __name__ == "__main__":
    sys.exit(main())
