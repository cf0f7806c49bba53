"""The files of a context: each folder listed once per run, each file read once.

Digests are remembered from run to run as long as nothing about a file has changed. As git does, a
file is trusted by device, inode, size and both of its times. One that changed just before it was
read could change again within the same tick of the clock, so it is not remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from podbuild.build.inputs.copying import SET_IDS
from podbuild.build.inputs.ignore import Marks, Matcher
from podbuild.config.output import OUTPUT_NAMES
from podbuild.system.files import write_whole
from podbuild.system.records import JSONValue, json_in

_SETTLED = 2_000_000_000  # nanoseconds; the coarsest clock of a file system ticks every 2 s
_SCHEMA = 1
_MOST = 200_000  # files; beyond that, only those of this run stay
_Stamp = tuple[int, ...]  # what changes with a file
_MOST_LINKS = 40  # as the kernel follows in one path
_LARGE = 1 << 17  # bytes; handing a smaller file to a thread costs about as much as reading it


def marks_of(facts: os.stat_result) -> _Stamp:
    """Give what changes whenever a file's content does."""
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


class Remembered:
    """Digests by path, in memory and (with a file) from run to run."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._known: dict[str, tuple[_Stamp, str]] = {} if file is None else _read(file)
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


def _read(file: Path) -> dict[str, tuple[_Stamp, str]]:
    match json_in(file):
        case {"schema": int(schema), "files": dict(files)} if schema == _SCHEMA:
            return dict(_remembered_entries(files))
        case _:
            return {}


def _remembered_entries(files: Mapping[str, JSONValue]) -> Iterator[tuple[str, tuple[_Stamp, str]]]:
    for path, entry in files.items():
        match entry:
            case [int(device), int(inode), int(size), int(changed), int(status), str(digest)]:
                yield path, ((device, inode, size, changed, status), digest)
            case _:
                continue


@dataclass(frozen=True)
class Entry:
    """A file, folder or link: its name from the context on, with slashes, and what it is."""

    name: str
    facts: os.stat_result

    @property
    def is_folder(self) -> bool:
        """Tell whether it is a folder itself."""
        return stat.S_ISDIR(self.facts.st_mode)

    @property
    def is_link(self) -> bool:
        """Tell whether it is a symbolic link."""
        return stat.S_ISLNK(self.facts.st_mode)

    @property
    def mode(self) -> tuple[int, bool]:
        """Give its mode as copies have it, and whether it is a folder: no file has set-id bits."""
        mode = stat.S_IMODE(self.facts.st_mode)
        return (mode if self.is_folder else mode & ~SET_IDS, self.is_folder)

    @property
    def is_file(self) -> bool:
        """Tell whether it is a regular file."""
        return stat.S_ISREG(self.facts.st_mode)


class Tree:
    """What lies in a folder. Raises OSError for what can't be read."""

    def __init__(self, folder: Path, remembered: Remembered) -> None:
        self.folder = folder
        self._remembered = remembered
        self._listed: dict[str, dict[str, Entry]] = {}
        self._lines: dict[str, str] = {}

    def entry(self, name: str) -> Entry | None:
        """Find what has a name, given by folders that exist and are no links."""
        above, _, last = name.rpartition("/")
        return self.children(above).get(last)

    def children(self, below: str) -> dict[str, Entry]:
        """Give what is in a folder, by name and in the order of names."""
        if below not in self._listed:
            place = f"{self.folder}/{below}" if below else str(self.folder)
            with os.scandir(place) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            self._listed[below] = {
                entry.name: Entry(
                    f"{below}/{entry.name}" if below else entry.name,
                    entry.stat(follow_symlinks=False),
                )
                for entry in entries
                # no layer can hold a socket, so engines pass over it
                if not stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)
            }
        return self._listed[below]

    def lines(self, entries: Iterable[Entry]) -> Iterator[str]:
        """Say of each entry everything that a layer could hold; times are the engine's."""
        known = tuple(entries)
        self._read_ahead(known)
        for entry in known:
            if entry.name not in self._lines:
                self._lines[entry.name] = self._describe(entry)
            yield self._lines[entry.name]

    def link(self, entry: Entry) -> str:
        """Give where a link leads, as it is written."""
        return os.readlink(f"{self.folder}/{entry.name}")  # noqa: PTH115  # kept as text

    def _describe(self, entry: Entry) -> str:
        path = f"{self.folder}/{entry.name}"
        mode = stat.S_IMODE(entry.facts.st_mode)
        kind = stat.S_IFMT(entry.facts.st_mode)
        what = ""
        if entry.is_file:
            what = self._digest(path, entry.facts)
        elif entry.is_link:
            what = self.link(entry)
        return f"{entry.name}\0{kind:o}\0{mode:o}\0{_attributes(path)}\0{what}"

    def _read_ahead(self, entries: Iterable[Entry]) -> None:
        """Read large files that are not remembered with all CPUs."""
        large = [
            entry
            for entry in entries
            if entry.is_file
            and entry.facts.st_size >= _LARGE
            and entry.name not in self._lines
            and not self._remembered.get(f"{self.folder}/{entry.name}", entry.facts)
        ]
        if not large:
            return
        with ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="read") as pool:
            lines = pool.map(self._describe, large)
            self._lines |= {entry.name: line for entry, line in zip(large, lines, strict=True)}

    def _digest(self, path: str, facts: os.stat_result) -> str:
        known = self._remembered.get(path, facts)
        if known:
            return known
        read_at = time.time_ns()
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # names need not be UTF-8
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._remembered.put(path, facts, digest, read_at)
        return digest


def find_inside(folder: Path, name: str) -> Path | None:
    """Find a name below a folder, the links on the way to it followed as if that were the root.

    None where there is none; a link that has the name itself is not followed.
    """
    parts = deque(name.split("/"))
    at: list[str] = []
    links = 0
    while parts:
        part = parts.popleft()
        place = folder.joinpath(*at, part)
        if part == "..":
            at = at[:-1]
        elif parts and place.is_symlink():
            links += 1
            if links > _MOST_LINKS:
                return None
            target = os.readlink(place)  # noqa: PTH115  # kept as text
            at = [] if target.startswith("/") else at
            parts.extendleft(each for each in reversed(target.split("/")))
        elif part not in ("", "."):
            at.append(part)
    found = folder.joinpath(*at)
    return found if os.path.lexists(found) else None


class Visible:
    """What of a tree a build may see. Raises OSError for what can't be read."""

    def __init__(self, tree: Tree, matcher: Matcher) -> None:
        self.tree = tree
        self._matcher = matcher
        self._judged: dict[str, tuple[bool, Marks]] = {"": (False, ())}
        self._back: dict[str, bool] = {}

    def children(self, below: str) -> dict[str, Entry]:
        """Give what of a folder is to be seen, by name."""
        found = self.tree.children(below)
        return {name: entry for name, entry in found.items() if self.shows(entry)}

    def leaves_out(self, name: str) -> bool:
        """Tell whether a name is left out, though something in it may be shown."""
        return self._judge(name)[0]

    def shows(self, entry: Entry) -> bool:
        """Tell whether an entry is to be seen, for itself or for what is in it.

        The folder that podbuild writes to counts by others' files alone: fresh clones have none.
        """
        if not self.leaves_out(entry.name):
            if not entry.is_folder or entry.name not in self._matcher.outputs:
                return True
        elif not entry.is_folder or not self._matcher.may_include_below(entry.name):
            return False
        if entry.name not in self._back:
            inside = self.tree.children(entry.name).values()
            self._back[entry.name] = any(map(self.shows, inside))
        return self._back[entry.name]

    def below(self, folder: str, *, but: str = "") -> Iterator[Entry]:
        """Give what is to be seen in a folder, all the way down, in a fixed order.

        `but` names a folder that is given without what is in it.
        """
        for entry in self.children(folder).values():
            yield entry
            if entry.is_folder and entry.name != but:
                yield from self.below(entry.name, but=but)

    def left_out_of(self, name: str) -> Iterator[str]:
        """Give what is left out in a folder, or what leaves out the whole of this name."""
        entry = self.tree.entry(name) if name else None
        if entry is not None and not self.shows(entry):
            yield self._outermost(name)
        elif not name or (entry is not None and entry.is_folder):
            yield from self.left_out(name)

    def _outermost(self, name: str) -> str:
        above = name.rpartition("/")[0]
        entry = self.tree.entry(above) if above else None
        return name if entry is None or self.shows(entry) else self._outermost(above)

    def left_out(self, folder: str) -> Iterator[str]:
        """Give the names of what is left out in a folder; a folder's stands for all in it."""
        for entry in self.tree.children(folder).values():
            if not self.shows(entry):
                yield entry.name
            elif entry.is_folder:
                yield from self.left_out(entry.name)

    def written_meanwhile(self) -> Iterator[str]:
        """Give the names that podbuild may write here while an engine reads, and leaves out."""
        for folder in self._matcher.outputs:
            is_there = folder and (self.tree.folder / folder).is_dir()
            entry = self.tree.entry(folder) if is_there else None
            if folder and (entry is None or not self.shows(entry)):
                yield folder
                continue
            names = (f"{folder}/{name}".removeprefix("/") for name in OUTPUT_NAMES)
            yield from (name for name in names if "*" not in name and self.leaves_out(name))

    def _judge(self, name: str) -> tuple[bool, Marks]:
        if name not in self._judged:
            above = self._judge(name.rpartition("/")[0])[1]
            self._judged[name] = self._matcher.judge_below(above, name)
        return self._judged[name]


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
