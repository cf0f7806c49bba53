"""What an ELF file says of itself: whether it asks for a dynamic loader (elf(5))."""

from __future__ import annotations

import struct
from pathlib import Path

_PT_INTERP = 3
_HEAD = 1 << 16  # bytes that hold the program headers


def interpreter(path: Path) -> str | None:
    """Give the loader that a program asks for; None for a static one, a library or no ELF file."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            if head[:4] != b"\x7fELF" or len(head) < 64:  # noqa: PLR2004  # ELF header
                return None
            for kind, offset, size in _segments(head):
                if kind == _PT_INTERP:
                    file.seek(offset)  # patchelf puts it far behind
                    return file.read(size).rstrip(b"\0").decode(errors="replace")
    except OSError:
        return None
    return None


def is_static_program(path: Path) -> bool:
    """Tell whether an ELF program runs where no library of its own is."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError:
        return False
    return magic == b"\x7fELF" and interpreter(path) is None


def _segments(data: bytes) -> list[tuple[int, int, int]]:
    """Give type, offset and size of each program header."""
    order = "<" if data[5] == 1 else ">"
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
