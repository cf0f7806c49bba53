"""How git is run: nothing that a repository's own files bring may start a program.

A folder that looks like a bare repository can be committed, and git would read its configuration
(git-config, safe.bareRepository). It is looked for here too: git before 2.38 does not know the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from podbuild.errors import ConfigError
from podbuild.system.process import Runner

TIMEOUT = 120.0  # seconds for what needs no network

_SAFE = {
    "safe.bareRepository": "explicit",
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "core.alternateRefsCommand": "",
    "protocol.ext.allow": "never",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "log.showSignature": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
}
_QUIET = {  # in plain English, asking nobody, taking no locks
    "LC_ALL": "C",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
}
_LONGEST_LINK = 4096  # bytes of a .git file


def git_runner(runner: Runner, folder: Path) -> Runner:
    """Give a runner for git: in this folder, in plain English, asking nobody, taking no locks.

    Raises ConfigError where the repository that git would find there could have come with the
    project's own files.
    """
    if not runner.env.get("GIT_DIR"):
        _refuse_planted(folder)
    return runner.extended({**_QUIET, **_settings(runner.env)}, cwd=folder)


def _settings(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Give what is as `git -c`, after what the user's own environment sets (git-config(1))."""
    count = environment.get("GIT_CONFIG_COUNT", "")
    first = int(count) if count.isascii() and count.isdigit() else 0
    found = {"GIT_CONFIG_COUNT": str(first + len(_SAFE))}
    for place, (name, value) in enumerate(_SAFE.items(), first):
        found |= {f"GIT_CONFIG_KEY_{place}": name, f"GIT_CONFIG_VALUE_{place}": value}
    return found


def _refuse_planted(folder: Path) -> None:
    """Look where git looks: for `.git` and for a bare repository, here and above."""
    here = folder.resolve()
    for place in (here, *here.parents):
        with suppress(OSError):  # what can't be read here can't be read by git either
            link = place / ".git"
            if link.is_symlink() or link.is_file():
                _refuse_inner(link)
                return
            if _is_repository(link):
                return
            if _is_repository(place):
                raise ConfigError(
                    f"{place} looks like a bare git repository: its configuration could start "
                    "programs, so git is not run there",
                    hint="take HEAD, objects and refs out of the project, or work in a clone",
                )


def _is_repository(place: Path) -> bool:
    """Tell what git's is_git_directory would (setup.c), or a little more."""
    head = place / "HEAD"
    inside = ("objects", "refs")
    return (head.is_symlink() or head.is_file()) and (
        (place / "commondir").is_file() or all((place / name).is_dir() for name in inside)
    )


def _refuse_inner(link: Path) -> None:
    """Refuse a `.git` that only leads to another folder of the same work tree.

    Worktrees and submodules have theirs outside.
    """
    if link.is_symlink() and link.is_dir():
        target = link.resolve()
    else:
        with link.open("rb") as file:
            text = file.read(_LONGEST_LINK).decode("utf-8", "surrogateescape")
        target = (link.parent / text.partition(":")[2].strip("\r\n ")).resolve()
    if target.is_relative_to(link.parent):
        raise ConfigError(
            f"{link} leads to {target}, a folder of the project itself: its configuration could "
            "start programs, so git is not run there",
            hint="clone the project anew",
        )
