"""Unpack a tar archive that is not trusted to stay in its folder."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from podbuild.errors import ToolError


def unpack_tar(archive: Path, folder: Path, *, check: Callable[[], None] = lambda: None) -> None:
    """Unpack into an existing empty folder: files, folders, and links that stay inside.

    Owners and set-user-ID bits of the archive are dropped. `check` is called per member and may
    raise. Raises ToolError for a damaged archive, and before writing anything of a member that
    would leave the folder or is no file, folder or link.
    """
    root = folder.resolve()
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                check()
                _unpack_member(tar, member, root)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ToolError(f"{archive.name}: can't be unpacked: {error}") from None


def _unpack_member(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    target = _inside(root, member.name, member)
    target.parent.mkdir(parents=True, exist_ok=True)
    if member.isdir():
        target.mkdir(exist_ok=True)
        return
    if target.is_symlink() or target.exists():
        raise _refused(member, "is there twice")
    if member.issym():
        _inside(root, str(PurePosixPath(member.name).parent / member.linkname), member)
        target.symlink_to(member.linkname)
    elif member.islnk():
        os.link(_inside(root, member.linkname, member), target)
    elif member.isfile():
        _write(tar, member, target)
    else:
        raise _refused(member, "is no file, folder or link")


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source = tar.extractfile(member)
    if source is None:
        raise _refused(member, "has no content")
    with source, target.open("xb") as file:
        shutil.copyfileobj(source, file)
    target.chmod(0o755 if member.mode & 0o100 else 0o644)


def _inside(root: Path, name: str, member: tarfile.TarInfo) -> Path:
    """Give where a name lies; symbolic links that were unpacked before count as they point."""
    if PurePosixPath(name).is_absolute():
        raise _refused(member, "is an absolute name")
    target = root / name
    place = (target.parent.resolve() / target.name) if target.name != ".." else target.resolve()
    if not place.is_relative_to(root) or PurePosixPath(member.linkname).is_absolute():
        raise _refused(member, "leaves the folder")
    return place


def _refused(member: tarfile.TarInfo, reason: str) -> ToolError:
    return ToolError(
        f"refused to unpack the archive: {member.name!r} {reason}", hint="nothing was installed"
    )
