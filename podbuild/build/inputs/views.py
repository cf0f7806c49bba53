"""Views: folders of links that hold just what a build may see of a context.

Engines have no option that leaves something out of a `--build-context`, `RUN --mount` shows all of
a context, and the engines' own matchers read many patterns of ignore files in another way.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from podbuild.build.inputs.contents import Contents
from podbuild.build.inputs.ignore import Matcher, ignore_files, write_ignore
from podbuild.build.inputs.modes import SymbolicMode
from podbuild.build.inputs.reach import EVERYTHING, GIT, Reach, Wanted
from podbuild.errors import from_os_error
from podbuild.system.files import link_whole, move

# Lines that mean the same to every matcher: names, at most with single stars and question marks.
_ALIKE = re.compile(rb"(?:(?!\*\*)(?:[\w.*?-]|/(?![*]{2}))*\r?\n?|#[^\n]*\n?)*", re.ASCII)


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
        if entry.is_link or wanted == entry.mode[0]:
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
