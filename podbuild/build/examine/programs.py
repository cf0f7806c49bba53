"""What the layers of an image say of its programs and users, in one pass (elf(5), execve(2))."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from podbuild.oci.examine import Gatherer, Listing, listed
from podbuild.oci.filesystem import Filesystem, Placed, merged
from podbuild.oci.layers import EntryKind, FileEntry, LayerEntry
from podbuild.oci.names import Platform
from podbuild.system.records import JSONValue, string_map

USERS = "etc/passwd"
GROUPS = "etc/group"

_ELF = b"\x7fELF"
_HEADER = 64  # bytes of an ELF64 header
_PROGRAM_HEADERS = 1 << 16  # bytes from the start that hold them
_FARTHEST = 32 << 20  # bytes before the loader's name; patchelf puts it at the end of a program
_LOADER_CAP = 4096  # bytes of a path
_TABLE_CAP = 1 << 20  # bytes of a user database
_FIRST_LINE = 256  # bytes of a `#!` line that the kernel reads (BINPRM_BUF_SIZE)
_EXEC, _DYN = 2, 3  # e_type of what can be started
_PT_INTERP = 3
_CLASS64 = 2
_MACHINES = {  # e_machine by GOARCH
    "386": 3,
    "amd64": 62,
    "arm": 40,
    "arm64": 183,
    "loong64": 258,
    "mips64le": 8,
    "ppc64le": 21,
    "riscv64": 243,
    "s390x": 22,
}


@dataclass(frozen=True, kw_only=True)
class Program:
    """How the kernel would start a file: an ELF program, a script, or neither."""

    machine: int | None = None  # e_machine of an ELF program
    loader: str = ""  # PT_INTERP of an ELF program
    script: str | None = None  # what follows `#!`

    @property
    def architecture(self) -> str:
        """Give the name of an ELF program's architecture, for people."""
        known = {number: name for name, number in _MACHINES.items()}
        return known.get(self.machine or 0, f"e_machine {self.machine}")

    def runs_on(self, platform: Platform) -> bool:
        """Tell whether a processor of this platform understands it; yes where nothing is known."""
        wanted = _MACHINES.get(platform.architecture)
        return None in (self.machine, wanted) or self.machine == wanted

    def to_json(self) -> JSONValue:
        """Give a compact record."""
        return [self.machine, self.loader, self.script]

    @classmethod
    def from_json(cls, value: JSONValue) -> Program:
        """Read what `to_json` gave; raises ValueError for anything else."""
        match value:
            case [int() | None as machine, str(loader), str() | None as script]:
                return cls(machine=machine, loader=loader, script=script)
            case _:
                raise ValueError("not a program")


class ProgramFacts:
    """The analysis that keeps what is a program, and the databases of users and groups."""

    key = "programs-1"

    def gather(self) -> Gatherer:
        """Begin a layer."""
        return _Facts()


@dataclass
class _Facts:
    programs: dict[str, JSONValue] = field(default_factory=dict)
    tables: dict[str, JSONValue] = field(default_factory=dict)

    def see(self, found: LayerEntry) -> None:
        entry = found.entry
        if entry.kind is not EntryKind.FILE:
            return
        if entry.path in (USERS, GROUPS):
            self.tables[entry.path] = found.head(_TABLE_CAP).decode("utf-8", "replace")
        elif entry.size:
            program = read_program(found.head)
            if program is not None:
                self.programs[entry.path] = program.to_json()

    def result(self) -> JSONValue:
        return {"programs": self.programs, "tables": self.tables}


def read_program(head: Callable[[int], bytes]) -> Program | None:
    """Give how a file would be started; None where it is no program. `head` gives first bytes."""
    magic = head(4)
    if magic[:2] == b"#!":
        line = head(_FIRST_LINE).partition(b"\n")[0]
        return Program(script=line[2:].decode("utf-8", "replace").strip(" \t"))
    if magic != _ELF or len(start := head(_HEADER)) < _HEADER:
        return None
    order = "<" if start[5] == 1 else ">"
    kind, machine = struct.unpack_from(f"{order}HH", start, 16)
    if kind not in (_EXEC, _DYN):
        return None
    return Program(machine=machine, loader=_loader(head, order))


def _loader(head: Callable[[int], bytes], order: str) -> str:
    data = head(_PROGRAM_HEADERS)
    wide = data[4] == _CLASS64
    start = struct.unpack_from(f"{order}Q" if wide else f"{order}I", data, 32 if wide else 28)[0]
    size, count = struct.unpack_from(f"{order}HH", data, 54 if wide else 42)
    layout, at_offset, at_size = (f"{order}IIQQQQQQ", 2, 5) if wide else (f"{order}IIIIIIII", 1, 4)
    for index in range(count):
        at = start + index * size
        if at + struct.calcsize(layout) > len(data):
            break
        fields = struct.unpack_from(layout, data, at)
        if fields[0] == _PT_INTERP:
            offset, length = fields[at_offset], fields[at_size]
            if offset > _FARTHEST or length > _LOADER_CAP:
                break
            name = head(offset + length)[offset : offset + length]
            return name.rstrip(b"\0").decode("utf-8", "replace")
    return ""


@dataclass(frozen=True)
class ImageFiles:
    """All visible files of an image, with what is known of its programs and users."""

    tree: Filesystem
    _layers: tuple[Mapping[str, JSONValue], ...] = field(repr=False)

    def program(self, placed: Placed) -> Program | None:
        """Give how a file would be started; None where it is no program."""
        found = self._facts(placed.layer, "programs").get(placed.source)
        return None if found is None else Program.from_json(found)

    def table(self, path: str) -> str | None:
        """Give the text of etc/passwd or etc/group; None where there is none."""
        placed = self.tree.find(path)
        if placed is None:
            return None
        return string_map(self._facts(placed.layer, "tables")).get(placed.source)

    def _facts(self, layer: int, name: str) -> dict[str, JSONValue]:
        found = self._layers[layer].get(name)
        return found if isinstance(found, dict) else {}


ANALYSES = (Listing(), ProgramFacts())


def files_of(answers: Iterable[Mapping[str, JSONValue]]) -> ImageFiles:
    """Make an image's files from the answers of its layers to ANALYSES, the base first."""
    kept = tuple(answers)
    facts = (each[ProgramFacts.key] for each in kept)
    entries: Iterable[Iterable[FileEntry]] = (listed(each[Listing.key]) for each in kept)
    return ImageFiles(merged(entries), tuple(x if isinstance(x, dict) else {} for x in facts))
