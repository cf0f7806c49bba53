"""What both sources of `toolchain install` work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from podbuild.oci.transport.endpoint import WayOut
from podbuild.system.files import move
from podbuild.system.folders import Folders
from podbuild.system.process import Runner

PROGRAMS = ("buildah", "podman", "skopeo", "crun", "conmon", "fuse-overlayfs")
HELPERS = ("netavark", "rootlessport", "catatonit")


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """The hands of an installation: a runner, the folders, and who hears what is going on."""

    runner: Runner
    folders: Folders
    note: Callable[[str], None]
    network: WayOut = field(default_factory=WayOut)

    @property
    def downloads(self) -> Path:
        """Give the folder in which fetched files are kept."""
        return self.folders.cache / "downloads"


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """Verified files of a source."""

    origin: str
    digests: Mapping[str, str] = field(hash=False)  # file name -> sha256
    archives: tuple[Path, ...]


def take(tree: Path, names: tuple[str, ...], folder: Path) -> None:
    """Move programs, wherever they lie in an unpacked tree, into a folder.

    Files that can't be executed are no programs: completions of shells have the same names.
    """
    folder.mkdir(exist_ok=True)
    for path in sorted(tree.rglob("*")):
        if path.name in names and not path.is_symlink() and _is_program(path):
            move(path, folder / path.name)


def _is_program(path: Path) -> bool:
    return path.is_file() and path.stat().st_mode & 0o100 != 0
