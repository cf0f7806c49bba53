"""One release at a time per project on this machine. The kernel frees a dead holder's lock."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from podbuild.cancel import Cancel
from podbuild.folders import Folders
from podbuild.leases import try_lock
from podbuild.model import JSONValue

_POLL = 0.2  # seconds between two tries


class Work(StrEnum):
    """What holds the lock; a release is never cancelled for another."""

    RELEASE = "release"
    SNAPSHOT = "snapshot"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a project's lock: `name` is the version or the branch."""

    work: Work
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
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]
    path = folders.state / "locks" / f"{name}.lock"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with path.open("a+b") as file:
        told: list[Holder | None] = []
        while not try_lock(file):
            other = _read(path)
            if other not in told:
                told.append(other)
                on_wait(other)
            cancel.sleep(_POLL)
        file.truncate(0)
        file.write(json.dumps(asdict(holder)).encode())
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def supersede(holder: Holder | None, newcomer: Holder) -> bool:
    """Stop an older snapshot of the same branch that is still at work; tell whether it was."""
    if holder is None or newcomer.work is not Work.SNAPSHOT or holder.work is not Work.SNAPSHOT:
        return False
    if holder.name != newcomer.name or holder.pid == newcomer.pid:
        return False
    try:
        os.kill(holder.pid, signal.SIGTERM)
    except OSError:
        return False
    return True


def _read(path: Path) -> Holder | None:
    try:
        value: JSONValue = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    match value:
        case {"work": str(work), "name": str(name), "pid": int(pid)} if work in set(Work):
            return Holder(work=Work(work), name=name, pid=pid)
        case _:
            return None
