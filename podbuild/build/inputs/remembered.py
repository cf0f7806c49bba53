"""Digests of files that were read before, as long as nothing about the files has changed.

As git does, a file is trusted by device, inode, size and both of its times. One that changed just
before it was read could change again within the same tick of the clock, so it is not remembered.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from podbuild.system.files import write_whole
from podbuild.system.records import JSONValue, json_in

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
        with suppress(OSError):
            data = json.dumps({"schema": _SCHEMA, "files": files}).encode()
            write_whole(self._file, [data], lasting=False)
            self._new = False


def _read(file: Path) -> dict[str, tuple[Marks, str]]:
    match json_in(file):
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
