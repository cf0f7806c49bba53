"""Folders of one run's own. What a dead run left is found by its lock, which nobody holds."""

from __future__ import annotations

import fcntl
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

LEASE = "lease"  # the file in a folder that whoever uses it holds locked


@contextmanager
def leased_folder(parent: Path, remove: Callable[[Path], None]) -> Iterator[Path]:
    """Give a new folder (mode 0700) under `parent` while the block runs.

    Those of dead runs are removed first, this one at the end, both with `remove`.
    """
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mine = parent / secrets.token_hex(6)
    with (parent / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # or another run takes ours for a dead one's
        for folder in parent.iterdir():
            if _is_abandoned(folder):
                remove(folder)
        mine.mkdir(mode=0o700)
        lease = (mine / LEASE).open("wb")
        fcntl.flock(lease, fcntl.LOCK_EX)
    with lease:
        try:
            yield mine
        finally:
            remove(mine)


def sweep(parent: Path) -> None:
    """Remove what dead runs left, as far as this user may; files of other ids need a namespace."""
    if not parent.is_dir():
        return
    with (parent / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for folder in parent.iterdir():
            if _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)


def try_lock(file: IO[bytes]) -> bool:
    """Lock an open file for this process alone; tell whether nobody else holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_abandoned(folder: Path) -> bool:
    """Tell whether a folder's run is dead; one without a lease died while it was removed."""
    if not folder.is_dir():
        return False
    try:
        with (folder / LEASE).open("rb") as lease:
            return try_lock(lease)
    except FileNotFoundError:
        return True
