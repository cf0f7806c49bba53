"""Run podbuild and kill it with SIGKILL at a chosen write of its journal.

    python -m tests.soak.killing N before|torn|after ARGUMENTS...

The writes are counted into the file that KILLING_COUNT names; N = 0 kills nowhere. All waits of
podbuild are HURRY times shorter.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from podbuild.cli import main
from podbuild.system import files as atomic
from podbuild.system.cancel import Cancel

_write = atomic._write_synced
_sync = atomic._sync_folder
_wait = Cancel.sleep


class _Killer:
    def __init__(self, at: int, moment: str) -> None:
        self.at = at
        self.moment = moment
        self.count = 0
        self.is_journal = False

    def write(self, path: Path, data: bytes, mode: int) -> None:
        self.is_journal = path.name.startswith(".state.json.")
        if not self.is_journal:
            _write(path, data, mode)
            return
        self.count += 1
        if name := os.environ.get("KILLING_COUNT"):
            Path(name).write_text(str(self.count))
        if self.count == self.at and self.moment == "before":
            _die()
        if self.count == self.at and self.moment == "torn":
            path.write_bytes(data[: len(data) // 2])
            _die()
        _write(path, data, mode)

    def renamed(self, path: Path) -> None:
        _sync(path)
        if self.is_journal and self.count == self.at and self.moment == "after":
            _die()


def _sleep(self: Cancel, seconds: float) -> None:
    _wait(self, seconds / float(os.environ.get("HURRY", "1")))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    killer = _Killer(int(sys.argv[1]), sys.argv[2])
    atomic._write_synced = killer.write
    atomic._sync_folder = killer.renamed
    setattr(Cancel, "sleep", _sleep)  # noqa: B010
    sys.argv = ["podbuild", *sys.argv[3:]]
    sys.exit(main())
