"""Foreign architectures: qemu's names, binfmt_misc registrations, programs that prove them.

An ELF file says itself which one it is for, and whether it asks for a dynamic loader (elf(5)).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from podbuild.errors import ToolError
from podbuild.oci.names import Platform

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


EXIT_PROOF = 73  # what the proving program ends with; no shell or loader uses it

_LOAD_ADDRESS = 0x10000
_MACHINE_NAMES = {  # uname -m -> GOARCH, where they differ
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "386",
    "i386": "386",
}


@dataclass(frozen=True, kw_only=True)
class Guest:
    """An architecture that qemu's user mode can run.

    The magic follows qemu's scripts/qemu-binfmt-conf.sh: ELF class, byte order and machine;
    executables and shared objects (e_type 2 and 3), any OS ABI.
    """

    architecture: str  # as in a platform
    qemu: str  # the program's name, without -static
    bits: Literal[32, 64]
    order: Literal["little", "big"]
    machine: int  # e_machine
    flags: int = 0  # e_flags
    code: bytes  # ends the process with EXIT_PROOF

    @property
    def qemu_names(self) -> tuple[str, str]:
        """Give the file names that distributions use; the static build comes first."""
        return (f"{self.qemu}-static", self.qemu)

    @property
    def magic(self) -> bytes:
        """Give the first 20 bytes of this architecture's programs."""
        return self._ident + struct.pack(f"{self._endian}HH", 2, self.machine)

    @property
    def mask(self) -> bytes:
        """Give which bits of the magic count: not the OS ABI, nor program or shared object."""
        ident = b"\xff" * 7 + b"\x00" + b"\xff" * 8
        return ident + struct.pack(f"{self._endian}HH", 0xFFFE, 0xFFFF)

    def registration(self, interpreter: str) -> str:
        r"""Give the line for binfmt_misc's `register`.

        Flags: P keeps argv[0] (a multi-call shell needs it), O and C are for set-user-ID
        programs, F opens the interpreter now, so that it works in any root directory. The
        escapes are the kernel's; a real NUL would cut the magic short and match everything.

        >>> guest_for(Platform("linux", "arm64")).registration("/q")[:40]
        ':podbuild-arm64:M:0:\\x7f\\x45\\x4c\\x46\\x02'
        """
        mark = next(mark for mark in ":,;|#" if mark not in interpreter)
        fields = (
            "",
            f"podbuild-{self.architecture}",
            "M",
            "0",
            _escaped(self.magic),
            _escaped(self.mask),
            interpreter,
            "POCF",
        )
        return mark.join(fields)

    def program(self) -> bytes:
        """Give the smallest static program of this architecture; it exits with EXIT_PROOF."""
        header, segment = (64, 56) if self.bits == 64 else (52, 32)  # noqa: PLR2004  # ELF sizes
        word = "Q" if self.bits == 64 else "I"  # noqa: PLR2004
        start = header + segment
        entry = _LOAD_ADDRESS + start
        size = start + len(self.code)
        head = self._ident + struct.pack(
            f"{self._endian}HHI{word}{word}{word}IHHHHHH",
            *(2, self.machine, 1, entry, header, 0),
            *(self.flags, header, segment, 1, 0, 0, 0),
        )
        if self.bits == 64:  # noqa: PLR2004
            fields = (1, 5, 0, _LOAD_ADDRESS, _LOAD_ADDRESS, size, size, 0x1000)
            load = struct.pack(f"{self._endian}IIQQQQQQ", *fields)
        else:
            fields = (1, 0, _LOAD_ADDRESS, _LOAD_ADDRESS, size, size, 5, 0x1000)
            load = struct.pack(f"{self._endian}IIIIIIII", *fields)
        return head + load + self.code

    @property
    def _endian(self) -> str:
        return "<" if self.order == "little" else ">"

    @property
    def _ident(self) -> bytes:
        kind = 2 if self.bits == 64 else 1  # noqa: PLR2004
        return b"\x7fELF" + bytes((kind, 1 if self.order == "little" else 2, 1)) + bytes(9)


def _escaped(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


GUESTS = (
    Guest(
        architecture="amd64",
        qemu="qemu-x86_64",
        bits=64,
        order="little",
        machine=62,
        # mov edi, 73; mov eax, 60 (exit); syscall
        code=bytes.fromhex("bf49000000 b83c000000 0f05"),
    ),
    Guest(
        architecture="arm64",
        qemu="qemu-aarch64",
        bits=64,
        order="little",
        machine=183,
        # mov x0, 73; mov x8, 93 (exit); svc 0
        code=struct.pack("<III", 0xD2800000 | 73 << 5, 0xD2800008 | 93 << 5, 0xD4000001),
    ),
    Guest(
        architecture="arm",
        qemu="qemu-arm",
        bits=32,
        order="little",
        machine=40,
        flags=0x05000200,  # EABI 5
        # mov r0, 73; mov r7, 1 (exit); svc 0
        code=struct.pack("<III", 0xE3A00000 | 73, 0xE3A07001, 0xEF000000),
    ),
    Guest(
        architecture="386",
        qemu="qemu-i386",
        bits=32,
        order="little",
        machine=3,
        # mov ebx, 73; mov eax, 1 (exit); int 0x80
        code=bytes.fromhex("bb49000000 b801000000 cd80"),
    ),
    Guest(
        architecture="ppc64le",
        qemu="qemu-ppc64le",
        bits=64,
        order="little",
        machine=21,
        flags=2,  # ELF v2
        # li r0, 1 (exit); li r3, 73; sc
        code=struct.pack("<III", 0x38000001, 0x38600000 | 73, 0x44000002),
    ),
    Guest(
        architecture="s390x",
        qemu="qemu-s390x",
        bits=64,
        order="big",
        machine=22,
        # lghi %r2, 73; svc 1 (exit)
        code=bytes.fromhex("a7290049 0a01"),
    ),
    Guest(
        architecture="riscv64",
        qemu="qemu-riscv64",
        bits=64,
        order="little",
        machine=243,
        # li a0, 73; li a7, 93 (exit); ecall
        code=struct.pack("<III", 73 << 20 | 10 << 7 | 0x13, 93 << 20 | 17 << 7 | 0x13, 0x73),
    ),
)


def native_architecture() -> str:
    """Give this machine's architecture as platforms write it."""
    machine = os.uname().machine
    return _MACHINE_NAMES.get(machine, machine)


def guest_for(platform: Platform) -> Guest:
    """Give the guest of a platform; raises ToolError when qemu's user mode has none."""
    for guest in GUESTS:
        if guest.architecture == platform.architecture:
            return guest
    known = ", ".join(guest.architecture for guest in GUESTS)
    raise ToolError(f"{platform}: no emulation for this architecture", hint=f"known: {known}")


def foreign_guests(platforms: Iterable[Platform]) -> tuple[Guest, ...]:
    """Give the guests among some platforms that this machine does not run by itself."""
    native = native_architecture()
    found = {guest_for(platform) for platform in platforms if platform.architecture != native}
    return tuple(sorted(found, key=lambda guest: guest.architecture))


def missing_emulation(architectures: Sequence[str], reason: str) -> ToolError:
    """Give the error for architectures that can't run here; it names the three ways."""
    return ToolError(
        f"linux/{', linux/'.join(architectures)} can't run on this machine: {reason}",
        hint="one of: a machine of that architecture, by ssh ([builders.NAME] host) or joined with "
        "`podbuild release VERSION --from DIR`; as root, `apt-get install qemu-user-binfmt` "
        "(a handler for the whole machine); or Linux 6.7 or newer with "
        "`podbuild toolchain install` (qemu, private to podbuild)",
    )
