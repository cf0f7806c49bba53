"""What a context holds: one digest over every file that is sent, with its mode."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from podbuild.build.inputs.ignore import Matcher, can_write
from podbuild.build.inputs.reach import EVERYTHING, Reach, Taken, Wanted, reach, taken_of
from podbuild.build.inputs.remembered import Remembered
from podbuild.build.inputs.tree import Tree, Visible
from podbuild.errors import ConfigError

T = TypeVar("T")
_MOST_NAMES = 200  # an engine tries each of them for each file


@dataclass(frozen=True, kw_only=True)
class Content:
    """What is sent: its digest (hex), how many files, how many bytes.

    `source` is a digest without modes and attributes, which no commit decides.
    """

    digest: str
    source: str
    files: int
    size: int  # bytes
    has_git: bool = False  # .git is sent; it is not in the digest


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What instructions take from a folder, and what they would take and must not.

    `names` (None: they are too many, or can't be told so) leave out the same for every engine.
    """

    reach: Reach
    names: tuple[str, ...] | None


def _is_below(name: str, roots: Collection[str]) -> bool:
    return any(not root or f"{name}/".startswith(f"{root}/") for root in roots)


class Contents:
    """Reads contexts, each file once per run. Safe to share between threads.

    `remembered` is a file that keeps the digests of files that have not changed since.
    """

    def __init__(self, remembered: Path | None = None) -> None:
        self._trees: dict[Path, Tree] = {}
        self._visible: dict[tuple[Path, tuple[str, ...]], Visible] = {}
        self._reached: dict[tuple[Path, tuple[str, ...], tuple[Wanted, ...]], Reach] = {}
        self._known: dict[tuple[Path, tuple[str, ...], tuple[Wanted, ...]], Content] = {}
        self._files = Remembered(remembered)
        self._lock = threading.Lock()

    def of(
        self, folder: Path, matcher: Matcher, wanted: tuple[Wanted, ...] = EVERYTHING
    ) -> Content:
        """Give the content of a folder as far as it is wanted and not left out.

        Raises ConfigError when the folder, or a file that would be sent, can't be read.
        """

        def read() -> Content:
            key = (folder, matcher.patterns, wanted)
            if key not in self._known:
                self._known[key] = self._content(folder, self._reach(folder, matcher, wanted))
            return self._known[key]

        return self._reading(read)

    def sent(self, folder: Path, matcher: Matcher, wanted: tuple[Wanted, ...]) -> Sent:
        """Give what an engine must be given of a folder; raises as `of` does."""

        def read() -> Sent:
            found = self._reach(folder, matcher, wanted)
            visible = self._visible[folder, matcher.patterns]
            names = {name for root in found.roots for name in visible.left_out_of(root)}
            names |= {each for each in visible.written_meanwhile() if _is_below(each, found.roots)}
            few = len(names) <= _MOST_NAMES and can_write(names) and not found.hidden
            return Sent(reach=found, names=tuple(sorted(names)) if few else None)

        return self._reading(read)

    def taken(self, folder: Path, matcher: Matcher, wanted: Wanted) -> tuple[Taken, ...]:
        """Give what one copy takes of each source, as `taken_of` does; raises as `of` does."""

        def read() -> tuple[Taken, ...]:
            self._reach(folder, matcher, (wanted,))
            return taken_of(self._visible[folder, matcher.patterns], wanted)

        return self._reading(read)

    def save(self) -> None:
        """Keep the digests of files for later runs."""
        with self._lock:
            self._files.save()

    def _reading(self, read: Callable[[], T]) -> T:
        try:
            with self._lock:  # two threads would read the same files twice
                return read()
        except OSError as error:
            raise ConfigError(
                f"can't read {error.filename} of the context: {error.strerror}",
                hint="make it readable, or name it in .containerignore",
            ) from None

    def _reach(self, folder: Path, matcher: Matcher, wanted: tuple[Wanted, ...]) -> Reach:
        key = (folder, matcher.patterns, wanted)
        if key not in self._reached:
            if folder not in self._trees:
                if not folder.is_dir():
                    raise ConfigError(
                        f"no such folder: {folder}", hint="contexts are existing folders"
                    )
                self._trees[folder] = Tree(folder, self._files)
            if key[:2] not in self._visible:
                self._visible[key[:2]] = Visible(self._trees[folder], matcher)
            self._reached[key] = reach(self._visible[key[:2]], wanted)
        return self._reached[key]

    def _content(self, folder: Path, found: Reach) -> Content:
        total, source = hashlib.sha256(), hashlib.sha256()
        entries = found.entries.values()
        for line in self._trees[folder].lines(entries):
            total.update(f"{len(line)}:{line}".encode("utf-8", "surrogateescape"))
            name, kind, _mode, _attributes, what = line.split("\0")
            source.update(f"{name}\0{kind}\0{what}\0\0".encode("utf-8", "surrogateescape"))
        files = [entry for entry in entries if entry.is_file]
        return Content(
            digest=total.hexdigest(),
            source=source.hexdigest(),
            files=len(files),
            size=sum(entry.facts.st_size for entry in files),
            has_git=found.has_git,
        )
