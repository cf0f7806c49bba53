"""What an ELF file says of itself: whether it asks for a dynamic loader (elf(5))."""

from __future__ import annotations

import struct
from pathlib import Path

_PT_INTERP = 3


def interpreter(path: Path) -> str | None:
    """Give the loader that a program asks for; None for a static one, a library or no ELF file."""
    try:
        with path.open("rb") as file:
            data = file.read(1 << 16)
    except OSError:
        return None
    if data[:4] != b"\x7fELF" or len(data) < 64:  # noqa: PLR2004  # ELF header
        return None
    order = "<" if data[5] == 1 else ">"
    for kind, offset, size in _segments(data, order):
        if kind == _PT_INTERP:
            return data[offset : offset + size].rstrip(b"\0").decode(errors="replace")
    return None


def is_static_program(path: Path) -> bool:
    """Tell whether an ELF program runs where no library of its own is."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError:
        return False
    return magic == b"\x7fELF" and interpreter(path) is None


def _segments(data: bytes, order: str) -> list[tuple[int, int, int]]:
    """Give type, offset and size of each program header."""
    if data[4] == 2:  # noqa: PLR2004  # ELFCLASS64
        (start,) = struct.unpack_from(f"{order}Q", data, 32)
        entry, count = struct.unpack_from(f"{order}HH", data, 54)
        layout, picks = f"{order}IIQQQQQQ", (0, 2, 5)
    else:
        (start,) = struct.unpack_from(f"{order}I", data, 28)
        entry, count = struct.unpack_from(f"{order}HH", data, 42)
        layout, picks = f"{order}IIIIIIII", (0, 1, 4)
    found = []
    for index in range(count):
        at = start + index * entry
        if at + struct.calcsize(layout) > len(data):
            break
        fields = struct.unpack_from(layout, data, at)
        found.append((fields[picks[0]], fields[picks[1]], fields[picks[2]]))
    return found
