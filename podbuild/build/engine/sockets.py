"""Short names for the folders in which engines make sockets.

The kernel takes paths of 107 bytes (unix(7)); caches of users lie as deep as they like.
"""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

from podbuild.errors import ToolError
from podbuild.system.folders import Folders, shared_runtimes, usable
from podbuild.system.locks import leased_folder

_LONGEST = 107  # bytes
# buildah, pkg/sshagent: $TMPDIR/.buildah-ssh-sock<up to 10 digits>/ssh_auth_sock
_BELOW = len("/.buildah-ssh-sock") + 10 + len("/ssh_auth_sock")
_NAME = "x" * 12


class ShortNames:
    """Gives folders names that have room for sockets; safe to share between threads."""

    def __init__(self, folders: Folders, stack: ExitStack) -> None:
        self._folders = folders
        self._stack = stack  # what is made for the names goes with it
        self._links: Path | None = None
        self._lock = threading.Lock()

    def of(self, folder: Path) -> Path:
        """Give the folder itself where its name is short enough, else a link to it.

        Raises ToolError where there is no short folder for links.
        """
        if _has_room(folder):
            return folder
        with self._lock:
            if self._links is None:
                self._links = self._stack.enter_context(self._open(folder))
        link = self._links / folder.name
        link.unlink(missing_ok=True)  # an attempt before had the same
        link.symlink_to(folder)
        return link

    def _open(self, folder: Path) -> AbstractContextManager[Path]:
        for parent in (self._folders.runtime, *shared_runtimes()):
            runs = parent / "runs"
            if _has_room(runs / _NAME / _NAME) and usable(parent):
                return leased_folder(runs, partial(shutil.rmtree, ignore_errors=True))
        raise ToolError(
            f"{folder} is too long for the sockets of SSH agents",
            hint="name a shorter folder with XDG_CACHE_HOME or XDG_RUNTIME_DIR",
        )


def _has_room(folder: Path) -> bool:
    return len(os.fsencode(folder)) + _BELOW <= _LONGEST
