"""Which files the last commits changed: how often a step of a build has to run again."""

from __future__ import annotations

from pathlib import Path

from podbuild.errors import ToolError
from podbuild.plan.git.worktree import TIMEOUT, git_runner
from podbuild.system.process import CommandError, Runner

COMMITS = 50  # that are looked at
_MARK = "@"  # no path of `--name-only` begins so and is followed by a hash alone


def recent_changes(runner: Runner, folder: Path) -> tuple[frozenset[Path], ...]:
    """Give the files that each of the last commits changed, the newest first; none without git.

    A merge changes what its first parent lacked. A shallow clone knows fewer commits.
    """
    options = ("-n", str(COMMITS), "--first-parent", "-m", "--name-only", f"--format={_MARK}%H")
    git = git_runner(runner, folder)
    try:
        top = git("git", "rev-parse", "--show-toplevel", timeout=TIMEOUT).out.rstrip("\n")
        said = git("git", "-c", "core.quotePath=false", "log", *options, timeout=TIMEOUT).out
    except (ToolError, CommandError):
        return ()
    found: list[set[Path]] = []
    for line in said.split("\n"):
        if line.startswith(_MARK):
            found.append(set())
        elif line and found:
            found[-1].add(Path(top, line))
    return tuple(map(frozenset, found))
