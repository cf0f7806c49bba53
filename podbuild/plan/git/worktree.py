"""Facts of the work tree, read with as few runs of git as possible and without writing.

Nothing that a repository's own files bring may start a program. A folder that looks like a bare
repository can be committed, and git would read its configuration (git-config, safe.bareRepository).
It is looked for here too: git before 2.38 does not know the key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import field
from datetime import datetime
from pathlib import Path

from podbuild.errors import ConfigError, ToolError
from podbuild.system.later import dataclass
from podbuild.system.process import CommandError, Runner

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


_NO_REPOSITORY = "not a git repository"
_OTHERS_FOLDER = "dubious ownership"
_NAME_IN_URL = re.compile(r"(?:.*[/:])?(?P<name>[^/:]+/[^/:]+?)(?:\.git)?/?")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The commit that is checked out, and what stands around it."""

    top: Path  # the work tree's own folder
    commit: str  # 40 hex digits
    created: datetime  # the committer's date, with its time zone
    branch: str | None  # None: no branch is checked out
    tags: Mapping[str, str] = field(hash=False)  # every tag and the commit that it names
    dirty: tuple[str, ...]  # changed and untracked paths, relative to `top`
    shallow: bool
    remote: str  # the URL of `origin` without login and query; empty where there is none

    @property
    def short(self) -> str:
        """Give the commit as tags name it."""
        return self.commit[:7]

    @property
    def tags_at_head(self) -> tuple[str, ...]:
        """Give the tags that name this commit, sorted."""
        return tuple(sorted(tag for tag, commit in self.tags.items() if commit == self.commit))

    @property
    def repository(self) -> str:
        """Give owner and name, such as acme/shop; empty without a remote."""
        found = _NAME_IN_URL.fullmatch(self.remote)
        return found["name"] if found else ""


@dataclass(frozen=True)
class NoFacts:
    """Why git knows nothing: no repository, no commit, or no git."""

    reason: str


def tracked_files(runner: Runner, folder: Path, paths: Sequence[Path]) -> tuple[Path, ...]:
    """Give which of these files, or of those in these folders, git tracks; none without git."""
    if not paths:
        return ()
    git = git_runner(runner, folder)
    try:
        found = git("git", "ls-files", "-z", "--", *map(str, paths)).out
    except (CommandError, ToolError):
        return ()
    return tuple(folder / name for name in found.split("\0") if name)


def committed_files(runner: Runner, folder: Path) -> frozenset[Path]:
    """Give the files of the whole work tree that git tracks and looks at; none without git.

    Those that it is told not to look at (`skip-worktree`, `assume-unchanged`) may hold anything.
    Submodules count as files.
    """
    git = git_runner(runner, folder)
    try:
        found = git("git", "ls-files", "-v", "-z", "--", ":/", timeout=TIMEOUT).out
    except (CommandError, ToolError):
        return frozenset()
    names = (entry[2:] for entry in found.split("\0") if entry.startswith("H "))
    return frozenset(Path(os.path.normpath(folder / name)) for name in names)


def read_facts(runner: Runner, folder: Path, own: Collection[Path] = ()) -> Facts | NoFacts:
    """Give what git knows of the work tree that `folder` is in.

    `own` are files and folders that podbuild itself writes: they make nothing dirty.
    Raises ConfigError where git refuses to read the repository.
    """
    git = git_runner(runner, folder)
    try:
        status, top, tags, remote = _asked_at_once(git)
        head = dict(_headers(status))
        commit = head.get("branch.oid", "")
        if not re.fullmatch(r"[0-9a-f]{40,64}", commit):
            return NoFacts("the git repository has no commit yet")
        date = git("git", "show", "-s", _UNSIGNED, "--format=%cI", commit).out.strip()
    except ToolError:
        return NoFacts("git is not installed")
    except CommandError as error:
        return _explain(error, folder)
    place, _, shallow = top.removesuffix("\n").rpartition("\n")
    branch = head.get("branch.head", "")
    return Facts(
        top=Path(place),
        commit=commit,
        created=datetime.fromisoformat(date),
        branch=None if branch in ("", "(detached)") else branch,
        tags=dict(_tags(tags)),
        dirty=tuple(sorted(_changed(status, Path(place), own))),
        shallow=shallow == "true",
        remote=public_url(remote.strip()),
    )


def _asked_at_once(git: Runner) -> tuple[str, ...]:
    """Give status, place, tags and remote: git waits for its own start most of the time."""
    asked = (
        (("status", *_STATUS), (0,)),
        (("rev-parse", "--show-toplevel", "--is-shallow-repository"), (0,)),
        (("for-each-ref", f"--format={_TAG_FORMAT}", "refs/tags"), (0,)),
        (("config", "--get", "remote.origin.url"), (0, 1)),
    )
    with ThreadPoolExecutor(len(asked), thread_name_prefix="git") as pool:
        answers = [
            pool.submit(git, "git", *words, timeout=TIMEOUT, ok=codes) for words, codes in asked
        ]
        return tuple(answer.result().out for answer in answers)  # the first failure is told


def commit_dates(runner: Runner, folder: Path, commits: Collection[str]) -> Mapping[str, datetime]:
    """Give the committer's date of each commit that this clone has."""
    if not commits:
        return {}
    asked = "".join(f"{commit}\n" for commit in sorted(commits))
    options = ("--no-walk=unsorted", "--ignore-missing", _UNSIGNED, "--format=%H %cI", "--stdin")
    try:
        found = git_runner(runner, folder)(
            "git", "log", *options, stdin=asked.encode(), timeout=TIMEOUT
        )
    except (ToolError, CommandError):
        return {}
    lines = (line.split() for line in found.out.split("\n") if line)
    return {commit: datetime.fromisoformat(date) for commit, date in lines}


def tracked_modes(runner: Runner, folder: Path) -> Mapping[Path, int]:
    """Give the permissions that a fresh clone gives each plain file below `folder`.

    Empty where git knows nothing. Raises ConfigError where git must not be run.
    """
    try:
        listed = git_runner(runner, folder)("git", "ls-files", "--stage", "-z", timeout=TIMEOUT)
    except (ToolError, CommandError):
        return {}
    return dict(_modes(listed.out, folder))


def _modes(listed: str, folder: Path) -> Iterator[tuple[Path, int]]:
    """Read `mode object stage TAB path`; git keeps of a mode only whether it is executable."""
    for entry in listed.split("\0"):
        mode, _, rest = entry.partition(" ")
        if mode in ("100644", "100755"):
            yield folder / rest.partition("\t")[2], int(mode[-3:], 8)


_ALL = ("--ignore-submodules=none",)  # whatever the user's git is told to pass over
_STATUS = ("--porcelain=v2", "--branch", "-z", "--untracked-files=all", *_ALL)
_UNSIGNED = "--no-show-signature"  # with log.showSignature, gpg's own words come first
_TAG_FORMAT = "%(refname:strip=2) %(objectname) %(*objectname)"


def _explain(error: CommandError, folder: Path) -> NoFacts:
    said = " ".join(error.finished.tail)
    if _NO_REPOSITORY in said:
        return NoFacts(f"{folder} is in no git repository")
    if _OTHERS_FOLDER in said:
        raise ConfigError(
            f"git does not read {folder}: it belongs to another user",
            hint=f"git config --global --add safe.directory {folder}",
        ) from error
    last = next((line for line in reversed(error.finished.tail) if line), error.message)
    raise ConfigError(f"git can't read {folder}: {last}") from error


def _headers(status: str) -> Iterator[tuple[str, str]]:
    """Give what the `# branch.oid ...` entries of the porcelain format say."""
    for entry in status.split("\0"):
        if entry.startswith("# "):
            name, _, value = entry[2:].partition(" ")
            yield name, value


def _changed(status: str, top: Path, own: Collection[Path]) -> Iterator[str]:
    entries = iter(status.split("\0"))
    for entry in entries:
        path = _path(entry)
        if entry.startswith("2 "):
            next(entries, "")  # the name before a rename
        if path and not any((top / path).is_relative_to(each) for each in own):
            yield path


def _path(entry: str) -> str:
    """Give the path of one entry (git-status, "Changed Tracked Entries"); empty for others."""
    fields = {"1": 8, "2": 9, "u": 10, "?": 1}.get(entry[:1])
    return "" if fields is None else entry.split(" ", fields)[fields]


def _tags(lines: str) -> Iterator[tuple[str, str]]:
    """Give tags and their commits; an annotated tag's commit comes after its own object."""
    for line in filter(None, lines.split("\n")):  # a name may hold other ends of lines
        name, *objects = line.rstrip(" ").split(" ")
        yield name, objects[-1]


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_END = re.compile(r"[/?#]")  # of the authority, RFC 3986 §3.2
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^:\[\]\\%]*)(?::\d*)?")


def public_url(remote: str) -> str:
    """Give a remote's URL or path without login, query and fragment.

    A login ends with the last `@`. Where nobody can tell what belongs to it, only the scheme is
    left.

    >>> public_url("https://user:p@ss@example.com/acme/shop.git?private_token=x#y")
    'https://example.com/acme/shop.git'
    >>> public_url("git@github.com:acme/shop.git")
    'github.com:acme/shop.git'
    """
    found = _SCHEME.match(remote)
    scheme, rest = (found[0], remote[found.end() :]) if found else ("", remote)
    if not scheme and rest.startswith(("/", ".")):
        return rest  # a path, where `@` and `?` are ordinary
    end = _END.search(rest)
    authority, tail = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    _, login, host = authority.rpartition("@")
    is_odd = bool(scheme) and not _HOST.fullmatch(host)
    if "@" in tail and (login or is_odd):
        return scheme  # a password may hold `/`, `?` and `#`; so may what comes after it hold `@`
    return scheme if is_odd else scheme + host + re.split(r"[?#]", tail, maxsplit=1)[0]
