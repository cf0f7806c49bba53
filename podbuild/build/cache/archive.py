"""Archives of cache mounts come from a registry that anybody may have written to.

What is unpacked is not what came but a new archive of what was understood of it: plain files,
folders, links. So nothing depends on how an unpacker reads something odd.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from podbuild.errors import VerificationError

LARGEST = 2 << 30  # bytes that are carried, before and after packing
MOST_ENTRIES = 500_000
LOCKS = "buildah-cache-lockfiles"  # the engine's own, which it opens outside of any RUN
_LONGEST_HEADER = 1 << 20  # bytes of an extended header, which holds a name
_LONGEST_NAME = 4096
_CHUNK = 1 << 20
_SPECIAL_BITS = 0o6000  # setuid, setgid
_TAGGED = ("SCHILY.xattr.", "LIBARCHIVE.xattr.", "SCHILY.acl.", "RHT.security.", "GNU.sparse.")


def rewrite(packed: Path, clean: Path) -> None:
    """Write a plain tar of what a gzipped one holds.

    Raises VerificationError for what is not carried (an entry of a mount that is no folder,
    devices, setuid, attributes, names and links that lead out), for more than LARGEST bytes or
    MOST_ENTRIES, and for what is no such archive.
    """
    try:
        with (
            gzip.open(packed, "rb") as source,
            tarfile.open(clean, "x", format=tarfile.GNU_FORMAT, encoding="utf-8") as target,
        ):
            writer = _Writer(target)
            for entry in _entries(_Bounded(source)):
                writer.add(entry)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise VerificationError(f"no archive of cache mounts: {error}") from None


@dataclass(frozen=True)
class _Bounded:
    """Reads at most so many bytes: a small archive can hold endless ones."""

    source: gzip.GzipFile
    left: list[int] = field(default_factory=lambda: [LARGEST + MOST_ENTRIES * 1024])

    def read(self, size: int) -> bytes:
        """Give at most `size` bytes."""
        self.left[0] -= size
        if self.left[0] < 0:
            raise VerificationError(f"it holds more than {LARGEST >> 20} MiB")
        return self.source.read(size)

    def exactly(self, size: int) -> bytes:
        """Give `size` bytes; raises VerificationError where there are fewer."""
        data = self.read(size)
        while len(data) < size:
            more = self.read(size - len(data))
            if not more:
                raise VerificationError("the archive is cut off")
            data += more
        return data


@dataclass
class _Entry:
    """A member and its bytes, of which `left` are not read yet."""

    info: tarfile.TarInfo
    source: _Bounded
    left: int

    def read(self, size: int) -> bytes:
        """Give the next bytes."""
        data = self.source.exactly(min(size, self.left)) if self.left else b""
        self.left -= len(data)
        return data


def _entries(source: _Bounded) -> Iterator[_Entry]:
    """Give each member; what extended headers say of it is in its info."""
    said: dict[str, str] = {}
    for _ in range(MOST_ENTRIES):
        block = source.exactly(tarfile.BLOCKSIZE)
        if block == tarfile.NUL * tarfile.BLOCKSIZE:
            return
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if info.size < 0:
            raise VerificationError("a member has a negative size")
        if info.type in (b"x", b"g", b"L", b"K"):
            if info.size > _LONGEST_HEADER:
                raise VerificationError("a header is too long")
            data = source.exactly(_padded(info.size))[: info.size]
            if info.type != b"g":
                said |= _said(info.type, data)
            continue
        _apply(info, said)
        said = {}
        entry = _Entry(info, source, info.size if info.isreg() else 0)
        size = entry.left
        yield entry
        while entry.read(_CHUNK):
            pass
        source.exactly(_padded(size) - size)
    raise VerificationError(f"it holds more than {MOST_ENTRIES} files")


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _said(kind: bytes, data: bytes) -> dict[str, str]:
    """Read an extended header: GNU's long names, or pax records (`LENGTH KEY=VALUE`)."""
    if kind in (b"L", b"K"):
        text = data.rstrip(tarfile.NUL).decode("utf-8", "surrogateescape")
        return {"path" if kind == b"L" else "linkpath": text}
    found = {}
    while data:
        length, _, _ = data.partition(b" ")
        size = int(length)
        if not len(length) < size <= len(data):
            raise VerificationError("a pax header is broken")
        key, _, value = data[len(length) + 1 : size].rstrip(b"\n").partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        data = data[size:]
    return found


def _apply(info: tarfile.TarInfo, said: dict[str, str]) -> None:
    odd = next((key for key in said if key.startswith(_TAGGED)), None)
    if odd:
        raise VerificationError(f"{info.name} has extended attributes: {odd}")
    info.name = said.get("path", info.name)
    info.linkname = said.get("linkpath", info.linkname)
    info.size = int(said.get("size", info.size))
    info.uid, info.gid = int(said.get("uid", info.uid)), int(said.get("gid", info.gid))


class _Writer:
    """Writes members one by one, each below a folder that was written before."""

    def __init__(self, target: tarfile.TarFile) -> None:
        self._target = target
        self._folders: set[str] = {""}
        self._files: set[str] = set()
        self._links: set[str] = set()
        self._bytes = 0

    def add(self, entry: _Entry) -> None:
        """Write a member as it is to be unpacked; raises VerificationError."""
        info = entry.info
        name = _inside(info.name)
        if not name:
            if not info.isdir():
                raise VerificationError("its root is no folder")
            return
        self._check(info, name)
        kept = self._folders if info.isdir() else self._links if info.issym() else self._files
        kept.add(name)
        self._bytes += entry.left
        if self._bytes > LARGEST:
            raise VerificationError(f"it holds more than {LARGEST >> 20} MiB")
        if name.split("/")[0] != LOCKS:
            self._target.addfile(_plain(info, name, entry.left), entry)  # type: ignore[arg-type]

    def _check(self, info: tarfile.TarInfo, name: str) -> None:
        above, _, _ = name.rpartition("/")
        if not (info.isdir() or info.issym() or info.islnk() or info.isreg()):
            raise VerificationError(f"{name} is a device or a pipe, or of an unknown type")
        if info.type == tarfile.GNUTYPE_SPARSE:
            raise VerificationError(f"{name} is a sparse file")
        if not above and not info.isdir():
            raise VerificationError(f"{name}, the entry of a mount, is no folder")
        if above not in self._folders:
            raise VerificationError(f"{name} is in no folder of the archive")
        if (
            name in self._files
            or name in self._links
            or (name in self._folders and not info.isdir())
        ):
            raise VerificationError(f"{name} is there twice")
        if info.mode & _SPECIAL_BITS and not info.isdir():
            raise VerificationError(f"{name} is setuid or setgid")
        if info.uid < 0 or info.gid < 0:
            raise VerificationError(f"{name} belongs to nobody")
        if info.islnk() and _inside(info.linkname) not in self._files:
            raise VerificationError(f"{name} is a hard link to no file of the archive")
        if info.issym() and not 0 < len(info.linkname) <= _LONGEST_NAME:
            raise VerificationError(f"{name} is a link to nowhere")


def _plain(info: tarfile.TarInfo, name: str, size: int) -> tarfile.TarInfo:
    """Give a member with nothing but what is carried."""
    plain = tarfile.TarInfo(f"./{name}")
    plain.type = tarfile.REGTYPE if info.isreg() else info.type
    plain.size, plain.mtime = size, max(0, info.mtime)
    plain.mode, plain.uid, plain.gid = info.mode & 0o1777, info.uid, info.gid
    if info.issym():
        plain.linkname = info.linkname
    elif info.islnk():
        plain.linkname = f"./{_inside(info.linkname)}"
    return plain


def _inside(name: str) -> str:
    """Give a name below the archive's root without `./`; empty for the root."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name or len(name) > _LONGEST_NAME:
        raise VerificationError(f"{name[:80]!r} leads out of the folder of cache mounts")
    return "/".join(parts)
