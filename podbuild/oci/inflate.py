"""A layer's bytes as they were before compression: plain tar, gzip or zstd, known by its bytes."""

from __future__ import annotations

import io
import sys
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from typing import IO, Protocol, cast

_GZIP = b"\x1f\x8b"
_GZIP_BITS = 31  # zlib(3), inflateInit2: a gzip header and trailer, checked
_ZSTD = (b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18")  # a frame, and the skippable one of zstd:chunked
_FED = 32 * 1024  # compressed bytes at a time: as exact as the share of a file is known
_PIECE = 1024 * 1024  # bytes


class Unpacking:
    """What a blob's pieces hold, unpacked once, forwards.

    `consumed` is how many compressed bytes came to what was given so far, about.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.consumed = 0

    def pieces(self) -> Iterator[bytes]:
        """Give the bytes; raises EOFError, OSError, ValueError and what the codecs raise."""
        begun = b""
        while len(begun) < len(_ZSTD[0]) and (piece := next(self._pieces, None)) is not None:
            begun += piece
        whole = self._counted(chain((begun,), self._pieces))
        if begun.startswith(_GZIP):
            return _inflated(whole)
        if begun.startswith(_ZSTD) or (begun[1:4] == _ZSTD[1][1:] and begun[:1] >= b"\x50"):
            return _expanded(whole)
        return whole

    def _counted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            for at in range(0, len(piece), _FED):
                found = piece[at : at + _FED]
                self.consumed += len(found)
                yield found


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
