"""Locks that the kernel frees when their holder dies.

A run's own folders are leased: what a dead run left is found by its lock. One release at a time
works on a project on this machine.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import IO

from podbuild.system.cancel import Cancel
from podbuild.system.folders import Folders
from podbuild.system.later import dataclass
from podbuild.system.records import json_in

LEASE = "lease"  # the file in a folder that whoever uses it holds locked


@contextmanager
def leased_folder(parent: Path, remove: Callable[[Path], None]) -> Iterator[Path]:
    """Give a new folder (mode 0700) under `parent` while the block runs.

    Those of dead runs are removed first, this one at the end, both with `remove`.
    """
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mine = parent / secrets.token_hex(6)
    with locked(parent / "lock"):  # or another run takes ours for a dead one's
        for folder in parent.iterdir():
            if _is_abandoned(folder):
                remove(folder)
        mine.mkdir(mode=0o700)
        lease = (mine / LEASE).open("wb")
        lock(lease)
    with lease:
        try:
            yield mine
        finally:
            remove(mine)


def sweep(parent: Path) -> None:
    """Remove what dead runs left, as far as this user may; files of other ids need a namespace."""
    if not parent.is_dir():
        return
    with locked(parent / "lock"):
        for folder in parent.iterdir():
            if _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock's file, made if need be, while the block runs; waits for whoever holds it."""
    with path.open("wb") as file:
        lock(file)
        yield


def lock(file: IO[bytes], *, shared: bool = False) -> None:
    """Lock an open file until it is closed, for this process alone or with others that share."""
    fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


def lock_when_free(file: IO[bytes], cancel: Cancel, on_wait: Callable[[], None]) -> None:
    """Lock an open file for this process alone; `on_wait` is called before each next try.

    Raises what Cancel.check does.
    """
    while not try_lock(file):
        on_wait()
        cancel.sleep(_POLL)


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


_POLL = 0.2  # seconds between two tries


class Purpose(StrEnum):
    """What holds the lock; a release is never cancelled for another."""

    RELEASE = "release"
    SNAPSHOT = "snapshot"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a project's lock: `name` is the version or the branch."""

    work: Purpose
    name: str
    pid: int

    def __str__(self) -> str:
        return f"{self.work} {self.name} (process {self.pid})"


@contextmanager
def project_lock(
    folders: Folders,
    root: Path,
    holder: Holder,
    *,
    cancel: Cancel,
    on_wait: Callable[[Holder | None], None],
) -> Iterator[None]:
    """Hold the project's lock while the block runs, waiting for whoever holds it now.

    `on_wait` hears once per holder who that is (None: not known). Raises what Cancel.check does.
    """
    path = folders.of_project("locks", root).with_suffix(".lock")
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with path.open("a+b") as file:
        tell = cache(on_wait)
        lock_when_free(file, cancel, lambda: tell(_read(path)))
        file.truncate(0)
        file.write(json.dumps(asdict(holder)).encode())
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def supersede(holder: Holder | None, newcomer: Holder) -> bool:
    """Stop an older snapshot of the same branch that is still at work; tell whether it was."""
    if (
        holder is None
        or newcomer.work is not Purpose.SNAPSHOT
        or holder.work is not Purpose.SNAPSHOT
    ):
        return False
    if holder.name != newcomer.name or holder.pid == newcomer.pid:
        return False
    try:
        os.kill(holder.pid, signal.SIGTERM)
    except OSError:
        return False
    return True


def _read(path: Path) -> Holder | None:
    match json_in(path):
        case {"work": str(work), "name": str(name), "pid": int(pid)} if work in set(Purpose):
            return Holder(work=Purpose(work), name=name, pid=pid)
        case _:
            return None
