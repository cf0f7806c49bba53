"""What is sent of a context: exactly the files that were hashed, as a tar in one pass."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from podbuild.build.inputs.reach import GIT, Reach
from podbuild.errors import ConfigError

_CHUNK = 1 << 18  # bytes
# What a context's own folder is called in its tar, which podman unpacks in a chroot.
ROOT = ".."
_KEPT = ("user.", "security.capability")  # extended attributes that a layer holds


@dataclass(frozen=True, kw_only=True)
class SentFile:
    """A file that stands in no folder here, such as a build secret."""

    name: str
    data: bytes = field(repr=False)
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, kw_only=True)
class Packed:
    """One context to send: a folder with what is taken from it, or all of it, and more files.

    With `root`, the mode of the folder itself is sent too, under a name that the service takes
    for the folder: it passes over `.`, and a RUN with a bind mount sees the mode.
    """

    folder: Path | None = None
    reach: Reach | None = None
    extras: tuple[SentFile, ...] = ()
    root: str = ""

    def chunks(self) -> Iterator[bytes]:
        """Give the tar's bytes; raises ConfigError for what can't be read."""
        packer = _Packer()
        for extra in self.extras:
            yield from packer.put(extra)
        if self.folder is not None:
            if self.root:
                yield from packer.add(self.folder, "", self.root)
            for name in _names(self.folder, self.reach):
                yield from packer.add(self.folder, name)
        yield from packer.end()


def multipart(parts: Iterable[tuple[str, Packed]], boundary: str) -> Iterator[bytes]:
    """Give several contexts as multipart/form-data (RFC 7578)."""
    for name, packed in parts:
        yield (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
            "Content-Type: application/x-tar\r\n\r\n"
        ).encode()
        yield from packed.chunks()
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def _names(folder: Path, reach: Reach | None) -> Iterator[str]:
    """Give what is sent, folders before what is in them."""
    if reach is None:
        yield from _below(folder, "")
        return
    seen = {""}
    for name in reach.entries:
        if name == ".":
            continue
        for above in (*_above(name), name):
            if above not in seen:
                seen.add(above)
                yield above
    if reach.has_git:
        yield GIT
        yield from _below(folder, GIT)


def _above(name: str) -> Iterator[str]:
    parts = name.split("/")
    yield from ("/".join(parts[:at]) for at in range(1, len(parts)))


def _below(folder: Path, name: str) -> Iterator[str]:
    place = f"{folder}/{name}" if name else str(folder)
    if not os.path.isdir(place) or os.path.islink(place):  # noqa: PTH112, PTH114  # names as text
        return
    with os.scandir(place) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = f"{name}/{entry.name}" if name else entry.name
        yield path
        if entry.is_dir(follow_symlinks=False):
            yield from _below(folder, path)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


class _Packer:
    def __init__(self) -> None:
        self._links: dict[tuple[int, int], str] = {}  # what has several names, by its inode

    def put(self, extra: SentFile) -> Iterator[bytes]:
        entry = tarfile.TarInfo(extra.name)
        entry.size, entry.mode = len(extra.data), extra.mode
        entry.uid, entry.gid = extra.uid, extra.gid
        yield self._head(entry)
        yield extra.data
        yield _padding(entry.size)

    def add(self, folder: Path, name: str, shown: str = "") -> Iterator[bytes]:
        path = f"{folder}/{name}" if name else str(folder)
        try:
            yield from self._added(path, shown or name)
        except OSError as error:
            raise ConfigError(
                f"can't read {path} of the context: {error.strerror or error}",
                hint="make it readable, or name it in .containerignore",
            ) from None

    def end(self) -> Iterator[bytes]:
        yield bytes(2 * tarfile.BLOCKSIZE)

    def _added(self, path: str, name: str) -> Iterator[bytes]:
        facts = os.lstat(path)
        if stat.S_ISSOCK(facts.st_mode):
            return
        entry = _entry(path, name, facts)
        known = self._links.get((facts.st_dev, facts.st_ino))
        if entry.isreg() and known is not None:
            entry.type, entry.linkname, entry.size = tarfile.LNKTYPE, known, 0
        elif facts.st_nlink > 1 and entry.isreg():
            self._links[facts.st_dev, facts.st_ino] = name
        if not entry.isreg():
            yield self._head(entry)
            return
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # names need not be UTF-8
            yield self._head(entry)
            left = entry.size
            while left:
                piece = file.read(min(left, _CHUNK))
                if not piece:
                    raise OSError(0, "it became shorter while it was sent")
                left -= len(piece)
                yield piece
        yield _padding(entry.size)

    def _head(self, entry: tarfile.TarInfo) -> bytes:
        return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


_KINDS: tuple[tuple[Callable[[int], bool], bytes], ...] = (
    (stat.S_ISDIR, tarfile.DIRTYPE),
    (stat.S_ISLNK, tarfile.SYMTYPE),
    (stat.S_ISFIFO, tarfile.FIFOTYPE),
    (stat.S_ISCHR, tarfile.CHRTYPE),
    (stat.S_ISBLK, tarfile.BLKTYPE),
)


def _entry(path: str, name: str, facts: os.stat_result) -> tarfile.TarInfo:
    """Describe a file as a build on this machine sees it: owned by the namespace's root."""
    entry = tarfile.TarInfo(name)
    entry.mode = stat.S_IMODE(facts.st_mode)
    entry.mtime = int(facts.st_mtime)
    kind = next((made for is_it, made in _KINDS if is_it(facts.st_mode)), tarfile.REGTYPE)
    entry.type = kind
    if kind == tarfile.REGTYPE:
        entry.size = facts.st_size
    elif kind == tarfile.SYMTYPE:
        entry.linkname = os.readlink(path)  # noqa: PTH115  # kept as text
    elif kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        entry.devmajor, entry.devminor = os.major(facts.st_rdev), os.minor(facts.st_rdev)
    entry.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in _attributes(path)}
    return entry


def _attributes(path: str) -> Iterator[tuple[str, str]]:
    try:
        for key in os.listxattr(path, follow_symlinks=False):
            if key.startswith(_KEPT):
                value = os.getxattr(path, key, follow_symlinks=False)
                yield key, value.decode("utf-8", "surrogateescape")
    except OSError:  # the file system has none
        return
