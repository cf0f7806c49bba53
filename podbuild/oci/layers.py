"""Layers as streams of files.

A layer is read once, in order, in pieces: memory does not grow with its size.

Sources: image-spec, layer.md (change sets, whiteouts); pax(1), as Python's tarfile reads it.
"""

from __future__ import annotations

import io
import posixpath
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import IO, Protocol, cast

from podbuild.errors import VerificationError
from podbuild.oci.store import BlobSource
from podbuild.system.records import JSONValue

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_PLUMBING = ".wh..wh."  # aufs kept its own files under such names; they are nobody's
_GZIP = b"\x1f\x8b"
_GZIP_BITS = 31  # zlib(3), inflateInit2: a gzip header and trailer, checked
_ZSTD = (b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18")  # a frame, and the skippable one of zstd:chunked
_PIECE = 1024 * 1024  # bytes
_HEADER_CAP = 16 * 1024 * 1024  # bytes of one tar header with all that stands in it
_MOST_ENTRIES = 5_000_000  # of one layer


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


class _Content:
    """The bytes of the file that the stream stands at; the part that was read is kept."""

    def __init__(self, stream: _Forward, size: int) -> None:
        self._stream = stream
        self._end = stream.tell() + size
        self._seen = b""

    def head(self, count: int) -> bytes:
        missing = min(count - len(self._seen), self._end - self._stream.tell())
        if missing > 0:
            self._seen += self._stream.exactly(missing)
        return self._seen[:count]

    def chunks(self) -> Iterator[bytes]:
        if self._seen:
            yield self._seen
        while left := self._end - self._stream.tell():
            yield self._stream.exactly(min(_PIECE, left))


class _Forward:
    """Pieces as a stream for tarfile that goes forward only and gives no header of any length."""

    def __init__(self, pieces: Iterator[bytes], what: str) -> None:
        self._pieces = pieces
        self._what = what
        self._rest = memoryview(b"")
        self._position = 0

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


def read_entries(source: BlobSource, what: str = "layer") -> Iterator[LayerEntry]:
    """Give what a layer holds, in its own order: plain tar, gzip or zstd, known by its bytes.

    The blob is read to its end, which checks it. Raises VerificationError for what is no layer.
    """
    forward = _Forward(_unpacked(source.chunks()), what)
    try:
        yield from _entries(forward)
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


def _entries(stream: _Forward) -> Iterator[LayerEntry]:
    if not (first := stream.read(1)):
        return  # nothing at all: an empty layer of some builders
    with tarfile.open(fileobj=cast("IO[bytes]", _Begun(stream, first)), mode="r:") as archive:
        for _ in range(_MOST_ENTRIES):
            member = archive.next()
            if member is None:
                return
            archive.members.clear()  # type: ignore[attr-defined]  # it keeps them all
            entry = _entry(member)
            if entry is not None:
                size = entry.size if entry.kind is EntryKind.FILE else 0
                yield LayerEntry(entry, _Content(stream, size))
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


def _unpacked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    begun = b""
    while len(begun) < len(_ZSTD[0]) and (piece := next(pieces, None)) is not None:
        begun += piece
    whole = chain((begun,), pieces)
    if begun.startswith(_GZIP):
        return _inflated(whole)
    if begun.startswith(_ZSTD) or (begun[1:4] == _ZSTD[1][1:] and begun[:1] >= b"\x50"):
        return _expanded(whole)
    return whole


def _inflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Unpack gzip (RFC 1952), several members too; the standard library's file takes 8 KB a turn.

    Raises EOFError, ValueError, zlib.error.
    """
    member, rest = zlib.decompressobj(_GZIP_BITS), b""
    for piece in pieces:
        rest = piece
        while rest:
            if member.eof:
                rest = rest.lstrip(b"\0")  # padding
                member = zlib.decompressobj(_GZIP_BITS) if rest else member
                continue
            if found := member.decompress(rest, _PIECE):
                yield found
            rest = member.unconsumed_tail or member.unused_data
    if not member.eof:
        raise EOFError("it ends before its end")


def _expanded(pieces: Iterator[bytes]) -> Iterator[bytes]:
    with _zstd().ZstdFile(io.BufferedReader(_Raw(pieces), _PIECE)) as expanded:
        while piece := expanded.read(_PIECE):
            yield piece


class _Raw(io.RawIOBase):
    """Pieces as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        target = memoryview(cast("bytearray", buffer))
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


if sys.version_info >= (3, 14):

    def _zstd() -> Zstd:
        from compression import zstd  # noqa: PLC0415  # seldom needed

        return zstd
else:

    def _zstd() -> Zstd:
        from backports import zstd  # noqa: PLC0415  # seldom needed

        return cast("Zstd", zstd)


class Zstd(Protocol):
    """What is used of the standard library's module."""

    ZstdFile: Callable[[IO[bytes]], IO[bytes]]
