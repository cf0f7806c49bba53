"""Contexts that engines show whole, whatever an ignore file or podbuild leaves out.

Engines have no option that leaves something out of a `--build-context`, and `RUN --mount` shows
all of a context. So what is to be left out is left out by a view: a folder of links.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from podbuild.build.inputs.ignore import Matcher
from podbuild.errors import from_os_error


@dataclass(frozen=True)
class Extra:
    """A folder that an image takes as an extra context, and the patterns that it is without."""

    folder: Path
    own: tuple[str, ...] = ()

    @property
    def matcher(self) -> Matcher:
        """Give what tells which of its files are left out."""
        return Matcher(self.own)

    @property
    def is_whole(self) -> bool:
        """Tell whether there is nothing to leave out."""
        names = (re.sub(r"\\(.)", r"\1", pattern) for pattern in self.own)
        return not any(os.path.lexists(self.folder / name) for name in names)


class Views:
    """Views of extra contexts, each made once. Safe to share between threads."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._made: dict[Extra, Path] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def of(self, extra: Extra) -> Path:
        """Give the folder itself where it is whole, else its view.

        Raises BuildError where no space is left, PodbuildError for what can't be read or linked.
        """
        return extra.folder if extra.is_whole else self.view(extra)

    def view(self, extra: Extra) -> Path:
        """Give the view, also where nothing seems to be left out; raises as `of` does."""
        with self._lock:
            if extra not in self._made:
                self._made[extra] = self._make(extra)
            return self._made[extra]

    def _make(self, extra: Extra) -> Path:
        target = self._place / str(next(self._numbers))
        try:
            self._place.mkdir(mode=0o700, exist_ok=True)
            _mirror(extra.folder, target, extra.matcher)
        except OSError as error:
            raise from_os_error(error) from error
        return target


def _mirror(folder: Path, target: Path, matcher: Matcher, below: str = "") -> None:
    """Make the target only where it holds something, or is itself not left out."""
    if not (below and matcher.excludes(below)):
        target.mkdir(mode=0o700, parents=True)
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{below}/{entry.name}" if below else entry.name
            place = target / entry.name
            if entry.is_dir(follow_symlinks=False):
                if not matcher.excludes(name) or matcher.may_include_below(name):
                    _mirror(Path(entry.path), place, matcher, name)
            elif not matcher.excludes(name) and (entry.is_file() or entry.is_symlink()):
                target.mkdir(mode=0o700, parents=True, exist_ok=True)
                _link(entry.path, place)
    if target.exists():
        shutil.copystat(folder, target)


def _link(source: str, place: Path) -> None:
    """Link, or copy to another file system and where the file belongs to somebody else."""
    with suppress(OSError):
        os.link(source, place, follow_symlinks=False)
        return
    shutil.copy2(source, place, follow_symlinks=False)
