"""What a context holds: one digest over every file that is sent, with its mode; and views of it.

Views are folders of links that hold just what a build may see. Engines have no option that leaves
something out of a `--build-context`, `RUN --mount` shows all of a context, and the engines' own
matchers read many patterns of ignore files in another way.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import stat
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from podbuild.build.inputs.copying import SymbolicMode
from podbuild.build.inputs.ignore import Matcher, can_write, ignore_files, write_ignore
from podbuild.build.inputs.reach import EVERYTHING, GIT, Reach, Taken, Wanted, reach, taken_of
from podbuild.build.inputs.tree import Remembered, Tree, Visible
from podbuild.errors import ConfigError, from_os_error
from podbuild.system.files import link_whole, move

T = TypeVar("T")
_MOST_NAMES = 200  # an engine tries each of them for each file
_ALIKE = re.compile(rb"(?:(?!\*\*)(?:[\w.*?-]|/(?![*]{2}))*\r?\n?|#[^\n]*\n?)*", re.ASCII)


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


# Lines that mean the same to every matcher: names, at most with single stars and question marks.


@dataclass(frozen=True)
class Extra:
    """A folder that an image takes files from, the patterns it is without, and what it takes."""

    folder: Path
    own: tuple[str, ...] = ()
    wanted: tuple[Wanted, ...] = EVERYTHING
    mode: SymbolicMode | None = None  # what its files and folders are changed by

    @property
    def matcher(self) -> Matcher:
        """Give what tells which of its files are left out."""
        return Matcher(self.own)


class Views:
    """Views of contexts, each made once. Safe to share between threads."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._made: dict[tuple[Extra, bool], Path] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def of(self, extra: Extra, contents: Contents) -> Path:
        """Give an extra context: the folder itself where it is whole, else its view.

        Raises BuildError where no space is left, PodbuildError for what can't be read or linked.
        """
        ignoring = any(os.path.lexists(file) for file in ignore_files(extra.folder))
        if not ignoring:
            sent = contents.sent(extra.folder, extra.matcher, extra.wanted)
            if sent.names == ():
                return extra.folder
        return self.view(extra, contents, quiet=True)

    def view(self, extra: Extra, contents: Contents, *, quiet: bool = False) -> Path:
        """Give the view, also where nothing seems to be left out; raises as `of` does.

        A `quiet` one has no ignore file that an engine would read in its own way.
        """
        reach = contents.sent(extra.folder, extra.matcher, extra.wanted).reach
        with self._lock:
            if (extra, quiet) not in self._made:
                self._made[extra, quiet] = self._make(extra, reach)
                if quiet:
                    _quiet(self._made[extra, quiet])
            return self._made[extra, quiet]

    def _make(self, extra: Extra, reach: Reach) -> Path:
        target = self._place / str(next(self._numbers))
        try:
            self._place.mkdir(mode=0o700, exist_ok=True)
            _mirror(extra.folder, target, reach)
            if extra.mode:
                _change(target, reach, extra.mode)
        except OSError as error:
            raise from_os_error(error) from error
        return target


def _mirror(folder: Path, target: Path, reach: Reach) -> None:
    target.mkdir(mode=0o700)
    folders = {""}
    names = [name for name in reach.entries if name != "."]
    for name in (*names, *_git(folder, reach)):
        is_folder = (folder / name).is_dir() and not (folder / name).is_symlink()
        for above in _above(name, itself=is_folder):
            if above not in folders:
                (target / above).mkdir(mode=0o700)
                folders.add(above)
        if not is_folder:
            _link(folder / name, target / name)
    for name in sorted(folders, reverse=True):
        shutil.copystat(folder / name, target / name)


def _change(view: Path, reach: Reach, mode: SymbolicMode) -> None:
    """Give what is in a view its own modes; files are copied, as links share theirs."""
    for entry in [*reach.entries.values()][::-1]:  # a folder after what is in it
        wanted = mode.apply(*entry.mode[:1], is_folder=entry.is_folder)
        if entry.is_link or wanted == stat.S_IMODE(entry.facts.st_mode):
            continue
        path = view / entry.name
        if not entry.is_folder:
            whole = path.with_name(f"{path.name}.podbuild")
            shutil.copy2(path, whole)
            move(whole, path)
        path.chmod(wanted)


def _quiet(view: Path) -> None:
    """Leave the engine nothing to ignore: what is to be left out is not here.

    It reads .containerignore before .dockerignore. A .containerignore of the folder's own stays
    where every engine reads it alike.
    """
    found = [file for file in ignore_files(view) if os.path.lexists(file)]
    if not found or _ALIKE.fullmatch(found[0].read_bytes()):
        return
    mine = ignore_files(view)[0]
    mine.unlink(missing_ok=True)
    mine.write_text(write_ignore([mine.name]))


def _git(folder: Path, reach: Reach) -> Iterator[str]:
    """Give the names in .git, which are no entries."""
    if not reach.has_git:
        return
    yield GIT
    for place, folders, files in os.walk(folder / GIT):
        for name in (*folders, *files):
            yield os.path.relpath(f"{place}/{name}", folder)


def _above(name: str, *, itself: bool) -> Iterator[str]:
    parts = name.split("/")
    return ("/".join(parts[:end]) for end in range(1, len(parts) + itself))


def _link(source: Path, place: Path) -> None:
    """Link, or copy to another file system and where the file belongs to somebody else."""
    with suppress(OSError):
        link_whole(source, place)
        return
    shutil.copy2(source, place, follow_symlinks=False)
