"""podman-static (github.com/mgoltzsche/podman-static): podman and its helpers, one archive.

It holds no buildah. Of the archive only the programs are used. Its etc/ is not: storage.conf
forces FUSE, squashes owners and points to /var/lib/containers; registries.conf is version 1. Nor
is fusermount3, which without its set-user-ID bit only hides the system's.

Unpack a tar archive that is not trusted to stay in its folder.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from podbuild.build.toolchain.download import Download, fetch, without_login
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.build.toolchain.workshop import HELPERS, PROGRAMS, Fetched, Workshop, take
from podbuild.errors import ToolError
from podbuild.system.files import link_whole
from podbuild.system.retry import Retry


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
        link_whole(_inside(root, member.linkname, member), target)
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


_BASE = "https://github.com/mgoltzsche/podman-static/releases/download"
_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release and the sha256 of its archive for each architecture."""

    version: str
    sha256: Mapping[str, str] = field(hash=False)


# No sha256 file is published; these are the ones that GitHub's runner images pin.
PINNED = Release(
    version="v5.8.4",
    sha256={
        "amd64": "a58765fe8be6ab3fb79f892f1a027b4ce4a7e8eb589df1ef960c167cbde08d69",
        "arm64": "a2f6b73cc0f7018e2e8518338a4ec27db70148e1af86e16719235605aefd1df3",
    },
)


def fetch_release(workshop: Workshop, release: Release, mirror: str) -> Fetched:
    """Give this machine's archive, verified; raises UnreachableError or ToolError."""
    architecture = native_architecture()
    sha256 = release.sha256.get(architecture)
    if sha256 is None:
        raise ToolError(
            f"podman-static has no release for {architecture}",
            hint="use --source debian",
        )
    url = archive_url(release, architecture, mirror)
    workshop.note(f"podman-static {release.version}: fetching {without_login(url)}")
    target = workshop.downloads / f"podman-static-{release.version}-{architecture}.tar.gz"
    retry = Retry(
        attempts=_ATTEMPTS,
        sleep=workshop.runner.cancel.sleep,
        on_retry=lambda error, _wait: workshop.note(f"{error}; trying again"),
    )
    check = workshop.runner.cancel.check
    order = Download(url=url, sha256=sha256)
    fetch(order, target, network=workshop.network, retry=retry, check=check)
    return Fetched(origin=without_login(url), digests={target.name: sha256}, archives=(target,))


def archive_url(release: Release, architecture: str, mirror: str) -> str:
    """Give where the archive lies; a mirror is the archive itself or a base URL like GitHub's.

    >>> archive_url(PINNED, "arm64", "https://mirror.example.com/podman/")
    'https://mirror.example.com/podman/v5.8.4/podman-linux-arm64.tar.gz'
    >>> archive_url(PINNED, "arm64", "/srv/podman.tar.gz")
    '/srv/podman.tar.gz'
    """
    if mirror.endswith((".tar.gz", ".tgz")):
        return mirror
    base = mirror.rstrip("/") or _BASE
    return f"{base}/{release.version}/podman-linux-{architecture}.tar.gz"


def unpack(workshop: Workshop, fetched: Fetched, folder: Path) -> None:
    """Put the programs into `bin` and `helpers` of a folder."""
    workshop.note("unpacking")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as tree:
        unpack_tar(fetched.archives[0], Path(tree), check=workshop.runner.cancel.check)
        take(Path(tree), PROGRAMS, folder / "bin")
        take(Path(tree), HELPERS, folder / "helpers")
    if not (folder / "bin" / "podman").is_file():
        raise ToolError(f"{fetched.origin} holds no podman")
