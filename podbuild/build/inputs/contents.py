"""What a context holds: one digest over every file that is sent, with its mode.

Digests of files that were read before, as long as nothing about the files has changed.

As git does, a file is trusted by device, inode, size and both of its times. One that changed just
before it was read could change again within the same tick of the clock, so it is not remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from podbuild.build.inputs.ignore import Matcher
from podbuild.errors import ConfigError
from podbuild.system.records import JSONValue

_SETTLED = 2_000_000_000  # nanoseconds; the coarsest clock of a file system ticks every 2 s


_SCHEMA = 1


_MOST = 200_000  # files; beyond that, only those of this run stay


Marks = tuple[int, ...]


def marks_of(facts: os.stat_result) -> Marks:
    """Give what changes whenever a file's content does."""
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


class Remembered:
    """Digests by path, in memory and (with a file) from run to run."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._known: dict[str, tuple[Marks, str]] = {} if file is None else _read(file)
        self._used: set[str] = set()
        self._new = False

    def get(self, path: str, facts: os.stat_result) -> str | None:
        """Give a file's digest if it is the file that was read."""
        known = self._known.get(path)
        self._used.add(path)
        return known[1] if known and known[0] == marks_of(facts) else None

    def put(self, path: str, facts: os.stat_result, digest: str, read_at: int) -> None:
        """Remember what a file held; `facts` are from before `read_at` (ns since 1970).

        A long read counts from its beginning: the file may have changed again meanwhile.
        """
        if read_at - max(facts.st_mtime_ns, facts.st_ctime_ns) > _SETTLED:
            self._known[path] = (marks_of(facts), digest)
            self._new = True

    def save(self) -> None:
        """Write what is new; a folder that can't be written is no failure."""
        if self._file is None or not self._new:
            return
        kept = self._used if len(self._known) > _MOST else self._known.keys()
        files: dict[str, JSONValue] = {
            path: [*marks, digest] for path, (marks, digest) in self._known.items() if path in kept
        }
        part = self._file.with_name(f"{self._file.name}.{os.getpid()}.part")
        with suppress(OSError):
            part.write_text(json.dumps({"schema": _SCHEMA, "files": files}))
            part.replace(self._file)
            self._new = False


def _read(file: Path) -> dict[str, tuple[Marks, str]]:
    try:
        value: JSONValue = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    match value:
        case {"schema": int(schema), "files": dict(files)} if schema == _SCHEMA:
            return dict(_remembered_entries(files))
        case _:
            return {}


def _remembered_entries(files: Mapping[str, JSONValue]) -> Iterator[tuple[str, tuple[Marks, str]]]:
    for path, entry in files.items():
        match entry:
            case [int(device), int(inode), int(size), int(changed), int(status), str(digest)]:
                yield path, ((device, inode, size, changed, status), digest)
            case _:
                continue


GIT = ".git"


_LARGE = 1 << 17  # bytes; handing a smaller file to a thread costs about as much as reading it


@dataclass(frozen=True, kw_only=True)
class Content:
    """What is sent: its digest (hex), how many files, how many bytes."""

    digest: str
    files: int
    size: int  # bytes
    has_git: bool = False  # .git is sent; it is not in the digest


class Contents:
    """Reads contexts, each once per run. Safe to share between threads.

    `remembered` is a file that keeps the digests of files that have not changed since.
    """

    def __init__(self, remembered: Path | None = None) -> None:
        self._known: dict[tuple[Path, tuple[str, ...]], Content] = {}
        self._files = Remembered(remembered)
        self._lock = threading.Lock()

    def of(self, folder: Path, matcher: Matcher) -> Content:
        """Give the content of a folder without what the matcher leaves out.

        Raises ConfigError when the folder, or a file that would be sent, can't be read.
        """
        with self._lock:  # two threads would read the same files twice
            key = (folder, matcher.patterns)
            if key not in self._known:
                self._known[key] = self._read(folder, matcher)
                self._files.save()
            return self._known[key]

    def _read(self, folder: Path, matcher: Matcher) -> Content:
        if not folder.is_dir():
            raise ConfigError(f"no such folder: {folder}", hint="contexts are existing folders")
        total = hashlib.sha256()
        files = size = 0
        has_git = False
        try:
            entries = tuple(_entries(folder, "", matcher))
            ahead = self._read_ahead(folder, entries)
            for name, facts in entries:
                if name == GIT:
                    has_git = True
                    continue
                if stat.S_ISSOCK(facts.st_mode):
                    continue  # no layer can hold one, so engines pass over it
                line = self._describe(folder, name, facts, ahead.get(name))
                total.update(f"{len(line)}:{line}".encode("utf-8", "surrogateescape"))
                files += stat.S_ISREG(facts.st_mode)
                size += facts.st_size if stat.S_ISREG(facts.st_mode) else 0
        except OSError as error:
            raise ConfigError(
                f"can't read {error.filename} of the context: {error.strerror}",
                hint="make it readable, or name it in .containerignore",
            ) from None
        return Content(digest=total.hexdigest(), files=files, size=size, has_git=has_git)

    def _read_ahead(
        self, folder: Path, entries: Sequence[tuple[str, os.stat_result]]
    ) -> Mapping[str, str]:
        """Give the digests of large files that are not remembered, read by all CPUs."""
        large = [
            (name, facts)
            for name, facts in entries
            if stat.S_ISREG(facts.st_mode)
            and facts.st_size >= _LARGE
            and not self._files.get(f"{folder}/{name}", facts)
        ]
        if not large:
            return {}
        with ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="read") as pool:
            digests = pool.map(
                lambda entry: self._file_digest(f"{folder}/{entry[0]}", entry[1]), large
            )
            return {name: digest for (name, _), digest in zip(large, digests, strict=True)}

    def _describe(self, folder: Path, name: str, facts: os.stat_result, known: str | None) -> str:
        """Say everything about one entry that a layer could hold; times are the engine's."""
        path = f"{folder}/{name}"
        mode = stat.S_IMODE(facts.st_mode)
        kind = stat.S_IFMT(facts.st_mode)
        what = ""
        if stat.S_ISREG(facts.st_mode):
            what = known or self._file_digest(path, facts)
        elif stat.S_ISLNK(facts.st_mode):
            what = os.readlink(path)  # noqa: PTH115  # kept as text
        return f"{name}\0{kind:o}\0{mode:o}\0{_attributes(path)}\0{what}"

    def _file_digest(self, path: str, facts: os.stat_result) -> str:
        known = self._files.get(path, facts)
        if known:
            return known
        read_at = time.time_ns()
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # names need not be UTF-8
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._files.put(path, facts, digest, read_at)
        return digest


def _entries(folder: Path, below: str, matcher: Matcher) -> Iterator[tuple[str, os.stat_result]]:
    """Give what is sent, in a fixed order; folders that could hold something are walked."""
    with os.scandir(f"{folder}/{below}" if below else folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        name = f"{below}/{entry.name}" if below else entry.name
        left_out = matcher.excludes(name)
        if not left_out:
            yield name, entry.stat(follow_symlinks=False)
        is_folder = entry.is_dir(follow_symlinks=False)
        if name == GIT and not left_out:
            continue  # told by its commit and tags: its files change from fetch to fetch
        if is_folder and (not left_out or matcher.may_include_below(name)):
            yield from _entries(folder, name, matcher)
        if not left_out and entry.is_symlink():
            yield from _behind_link(folder, name, matcher)


def _behind_link(folder: Path, name: str, matcher: Matcher) -> Iterator[tuple[str, os.stat_result]]:
    """COPY follows a link that it is given, also to what is left out otherwise."""
    root = folder.resolve()
    try:
        target = (folder / name).resolve()
    except RuntimeError:  # it leads to itself; COPY takes it as it is
        return
    if root not in target.parents or not target.exists():
        return
    inside = target.relative_to(root).as_posix()
    if not matcher.excludes(inside):
        return
    yield inside, target.stat()
    if target.is_dir():
        yield from _entries(folder, inside, Matcher(()))


def _attributes(path: str) -> str:
    """Give the extended attributes that a layer keeps."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return "".join(
            f"{name}={os.getxattr(path, name, follow_symlinks=False).hex()};"
            for name in sorted(names)
            if name.startswith("user.") or name == "security.capability"
        )
    except OSError:  # the file system has none
        return ""
