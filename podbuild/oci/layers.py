"""Layers as streams of files.

A layer is read once, in order, in pieces: memory does not grow with its size.

Sources: image-spec, layer.md (change sets, whiteouts); pax(1), as Python's tarfile reads it.
"""

from __future__ import annotations

import hashlib
import posixpath
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Protocol, cast

from podbuild.errors import VerificationError
from podbuild.oci.inflate import Unpacking
from podbuild.oci.store import BlobSource
from podbuild.system.records import JSONValue

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_PLUMBING = ".wh..wh."  # aufs kept its own files under such names; they are nobody's
_PIECE = 1024 * 1024  # bytes
_HEADER_CAP = 16 * 1024 * 1024  # bytes of one tar header with all that stands in it
_MOST_ENTRIES = 2_000_000  # of one layer
_MOST_NAMES = 256 * 1024 * 1024  # bytes of all paths of one layer
_DIGEST = 32  # hexadecimal digits that tell contents apart
_PATH_MAX = 4096  # bytes of a path that a system can have (linux/limits.h)


class EntryKind(StrEnum):
    """What stands in a layer under a path."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARD_LINK = "hard link"
    DEVICE = "device"  # block or character
    FIFO = "fifo"
    WHITEOUT = "whiteout"  # the path of lower layers goes, with all below it
    OPAQUE = "opaque"  # all that lower layers have below the path goes


_TYPES = {
    tarfile.DIRTYPE: EntryKind.DIRECTORY,
    tarfile.SYMTYPE: EntryKind.SYMLINK,
    tarfile.LNKTYPE: EntryKind.HARD_LINK,
    tarfile.CHRTYPE: EntryKind.DEVICE,
    tarfile.BLKTYPE: EntryKind.DEVICE,
    tarfile.FIFOTYPE: EntryKind.FIFO,
}


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One path of a layer, without leading slash (the root is empty)."""

    path: str
    kind: EntryKind
    size: int = 0  # bytes
    mode: int = 0  # permissions with set-id and sticky bits
    uid: int = 0
    gid: int = 0
    link: str = ""  # what a symlink holds as written, or the path that a hard link shares

    def to_json(self) -> JSONValue:
        """Give a compact record."""
        return [self.path, self.kind.value, self.size, self.mode, self.uid, self.gid, self.link]

    @classmethod
    def from_json(cls, value: JSONValue) -> FileEntry:
        """Read what `to_json` gave; raises ValueError for anything else."""
        match value:
            case [str(path), str(kind), int(size), int(mode), int(uid), int(gid), str(link)]:
                return cls(path, EntryKind(kind), size, mode, uid, gid, link)
            case _:
                raise ValueError("not an entry")


@dataclass(frozen=True)
class LayerEntry:
    """An entry while its layer is read; its content can be read until the next one comes."""

    entry: FileEntry
    _content: _Content

    def head(self, count: int) -> bytes:
        """Give the first bytes of a file, fewer where it is shorter; as often as one likes."""
        return self._content.head(count)

    def chunks(self) -> Iterator[bytes]:
        """Give all bytes of a file in pieces, once, whoever has asked for its head before."""
        return self._content.chunks()

    def spooled(self) -> Path:
        """Give a file with all its bytes, for what can't read a stream; it lasts as long."""
        return self._content.spooled()

    @property
    def compressed(self) -> int:
        """Give about how many compressed bytes were read for it so far.

        All that was read since the file before it counts.
        """
        return self._content.compressed

    def digest(self) -> str:
        """Give half of the SHA-256 of the whole content, in hex, where the layer is read for it.

        Nothing can be read after it.
        """
        return self._content.digest()


class Hasher(Protocol):
    """What is used of hashlib."""

    def update(self, data: bytes, /) -> None:
        """Take bytes."""

    def hexdigest(self) -> str:
        """Give the digest of all that was taken."""


class _Content:
    """The bytes of the file that the stream stands at; the part that was read is kept."""

    def __init__(self, stream: _Forward, size: int, before: int, hasher: Hasher | None) -> None:
        self._stream = stream
        self._end = stream.tell() + size
        self._seen = b""
        self._before = before
        self._hasher = hasher
        self._file: IO[bytes] | None = None  # goes with this

    @property
    def compressed(self) -> int:
        return self._stream.consumed - self._before

    def head(self, count: int) -> bytes:
        missing = min(count - len(self._seen), self._end - self._stream.tell())
        if missing > 0:
            self._seen += self._read(missing)
        return self._seen[:count]

    def chunks(self) -> Iterator[bytes]:
        if self._seen:
            yield self._seen
        while left := self._end - self._stream.tell():
            yield self._read(min(_PIECE, left))

    def spooled(self) -> Path:
        if self._file is None:
            self._file = tempfile.NamedTemporaryFile(prefix="podbuild-layer-")  # noqa: SIM115
            for piece in self.chunks():
                self._file.write(piece)
            self._file.flush()
        return Path(self._file.name)

    def digest(self) -> str:
        while left := self._end - self._stream.tell():
            self._read(min(_PIECE, left))
        return self._hasher.hexdigest()[:_DIGEST] if self._hasher else ""

    def _read(self, count: int) -> bytes:
        data = self._stream.exactly(count)
        if self._hasher:
            self._hasher.update(data)
        return data


class _Forward:
    """Pieces as a stream for tarfile that goes forward only and gives no header of any length."""

    def __init__(self, unpacking: Unpacking, what: str) -> None:
        self._unpacking = unpacking
        self._pieces = unpacking.pieces()
        self._what = what
        self._rest = memoryview(b"")
        self._position = 0

    @property
    def consumed(self) -> int:
        return self._unpacking.consumed

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _HEADER_CAP:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return b"".join(self._take(size))

    def exactly(self, size: int) -> bytes:
        data = self.read(size)
        if len(data) != size:
            raise _unreadable(self._what, "it ends in the middle of a file")
        return data

    def seek(self, position: int, _whence: int = 0) -> int:
        if position < self._position:
            raise tarfile.ReadError("it leads backwards")
        for _ in self._take(position - self._position):
            pass
        return self._position

    def to_the_end(self) -> None:
        """Read what is left."""
        with _readable(self._what):
            for _ in self._pieces:
                pass

    def _take(self, size: int) -> Iterator[memoryview]:
        """Give the next bytes as they lie there, fewer at the end."""
        while size:
            if not self._rest:
                with _readable(self._what):
                    piece = next(self._pieces, None)
                if piece is None:
                    return
                self._rest = memoryview(piece)
            found, self._rest = self._rest[:size], self._rest[size:]
            self._position += len(found)
            size -= len(found)
            yield found


def read_entries(
    source: BlobSource, what: str = "layer", *, hashed: bool = False
) -> Iterator[LayerEntry]:
    """Give what a layer holds, in its own order; `hashed`: with the digests of its files.

    The blob is read to its end, which checks it. Raises VerificationError for what is no layer.
    """
    forward = _Forward(Unpacking(source.chunks()), what)
    try:
        yield from _entries(forward, hashed=hashed)
    except (tarfile.TarError, ValueError) as error:
        raise _unreadable(what, error) from error
    forward.to_the_end()


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """Say of bytes that can't be unpacked whose they are."""
    try:
        yield
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise _unreadable(what, error) from error
    except Exception as error:
        if type(error).__name__ == "ZstdError":  # of a module that is seldom needed
            raise _unreadable(what, error) from error
        raise


def _unreadable(what: str, why: object) -> VerificationError:
    return VerificationError(f"{what} can't be read as a layer: {why}")


def _entries(stream: _Forward, *, hashed: bool) -> Iterator[LayerEntry]:
    if not (first := stream.read(1)):
        return  # nothing at all: an empty layer of some builders
    with tarfile.open(fileobj=cast("IO[bytes]", _Begun(stream, first)), mode="r:") as archive:
        names = before = 0
        for _ in range(_MOST_ENTRIES):
            member = archive.next()
            if member is None:
                return
            archive.members.clear()  # type: ignore[attr-defined]  # it keeps them all
            entry = _entry(member)
            names += _length(member)
            if names > _MOST_NAMES:
                raise tarfile.ReadError(f"more than {_MOST_NAMES} bytes of paths")
            if entry is None:
                continue
            is_file = entry.kind is EntryKind.FILE
            hasher = hashlib.sha256() if hashed and is_file else None
            yield LayerEntry(entry, _Content(stream, _stored(entry, member), before, hasher))
            before = stream.consumed if is_file else before
    raise tarfile.ReadError(f"more than {_MOST_ENTRIES} entries")


class _Begun:
    """A stream whose first byte was read to see whether there is one."""

    def __init__(self, stream: _Forward, first: bytes) -> None:
        self._stream = stream
        self._first = first

    def tell(self) -> int:
        return self._stream.tell() - len(self._first)

    def read(self, size: int) -> bytes:
        first, self._first = self._first[:size], self._first[size:]
        return first + self._stream.read(size - len(first))

    def seek(self, position: int, whence: int = 0) -> int:
        if position == self.tell():
            return position
        self._first = b""
        return self._stream.seek(position, whence)


def _stored(entry: FileEntry, member: tarfile.TarInfo) -> int:
    """Give the bytes of a file that stand in the tar: of a sparse one, what is no hole."""
    if entry.kind is not EntryKind.FILE:
        return 0
    sparse: list[tuple[int, int]] | None = getattr(member, "sparse", None)
    return entry.size if sparse is None else sum(size for _, size in sparse)


def _length(member: tarfile.TarInfo) -> int:
    length = max(len(member.name), len(member.linkname))
    if length > _PATH_MAX:
        raise tarfile.ReadError(f"a path of {length} characters")
    return len(member.name) + len(member.linkname)


def _entry(member: tarfile.TarInfo) -> FileEntry | None:
    path = clean(member.name)
    folder, name = posixpath.split(path)
    kind = _TYPES.get(member.type, EntryKind.FILE)
    if name == _OPAQUE:
        return FileEntry(folder, EntryKind.OPAQUE)
    if name.startswith(_PLUMBING):
        return None
    if name.startswith(_WHITEOUT):
        return FileEntry(posixpath.join(folder, name.removeprefix(_WHITEOUT)), EntryKind.WHITEOUT)
    link = ""
    if kind is EntryKind.SYMLINK:
        link = member.linkname
    elif kind is EntryKind.HARD_LINK:
        link = clean(member.linkname)
    size = member.size if kind is EntryKind.FILE else 0
    return FileEntry(path, kind, size, member.mode & 0o7777, member.uid, member.gid, link)


def clean(path: str) -> str:
    """Give a path as it is below the root: no leading slash, no dots.

    >>> clean("./usr//bin/../lib/")
    'usr/lib'
    >>> clean("../../etc")
    'etc'
    """
    return posixpath.normpath(f"/{path}").lstrip("/")
