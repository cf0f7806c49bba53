"""Which storage driver works here, proved by using it: native overlay, fuse-overlayfs, vfs."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from podbuild.namespace import Namespace
from podbuild.run import CommandError, Runner

_SCRIPT = Path(__file__).with_name("storage_probe.py")
_PROBE_SECONDS = 30.0


class DriverName(StrEnum):
    """containers/storage's names."""

    OVERLAY = "overlay"
    VFS = "vfs"


@dataclass(frozen=True)
class StorageDriver:
    """A driver for storage.conf; `mount_program` is fuse-overlayfs where native overlay fails."""

    name: DriverName
    mount_program: Path | None = None

    def __str__(self) -> str:
        if self.name is DriverName.OVERLAY and self.mount_program is None:
            return "native overlay"
        return "fuse-overlayfs" if self.mount_program else "vfs"


def prove_storage_driver(
    runner: Runner, namespace: Namespace, folder: Path, fuse_overlayfs: Path | None
) -> StorageDriver:
    """Give the fastest driver that works on this folder's file system, inside the namespace."""
    inside = namespace.inside(runner)
    if _works(inside, folder, None):
        return StorageDriver(DriverName.OVERLAY)
    if fuse_overlayfs is not None and _works(inside, folder, fuse_overlayfs):
        return StorageDriver(DriverName.OVERLAY, fuse_overlayfs)
    return StorageDriver(DriverName.VFS)


def _works(inside: Runner, folder: Path, program: Path | None) -> bool:
    base = tempfile.mkdtemp(dir=folder, prefix="overlay-")
    argv = (sys.executable, "-I", "-S", str(_SCRIPT), base, str(program or ""))
    try:
        inside(*argv, timeout=_PROBE_SECONDS)
    except CommandError:
        return False
    finally:
        inside("rm", "-rf", "--", base)  # holds files of other ids
    return True
