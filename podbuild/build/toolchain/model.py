"""What a toolchain is: an engine with its helpers, qemu, and where they came from.

The private one's folder says what was installed, with hashes, and which one is in use:

toolchain/current             the name of the one in use, replaced atomically
toolchain/<name>/record.json  what it holds
toolchain/<name>/{bin,helpers,lib,qemu}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from packaging.version import Version as PythonVersion

from podbuild.errors import ToolError
from podbuild.system.files import file_digest, write_whole
from podbuild.system.folders import Folders
from podbuild.system.records import JSONValue, json_in, string_map

SCHEMA = 1
RECORD = "record.json"
CURRENT = "current"


@dataclass(frozen=True, kw_only=True)
class Installation:
    """What a private toolchain holds and where it came from."""

    name: str  # its folder's name
    source: str  # "podman-static" or "debian"
    origin: str  # where it was fetched: a URL or a file
    installed: str  # RFC 3339, UTC
    folder: Path
    downloads: Mapping[str, str] = field(hash=False)  # file name -> sha256
    files: Mapping[str, str] = field(hash=False)  # path below the folder -> sha256
    versions: Mapping[str, str] = field(hash=False)  # program -> version
    notes: tuple[str, ...] = ()  # what could not be installed, and why

    def to_json(self) -> dict[str, JSONValue]:
        """Give the object that is stored."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "source": self.source,
            "origin": self.origin,
            "installed": self.installed,
            "folder": str(self.folder),
            "downloads": dict(self.downloads),
            "files": dict(self.files),
            "versions": dict(self.versions),
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, value: JSONValue) -> Installation | None:
        """Read a stored object; None when it is none of this schema."""
        match value:
            case {
                "schema": 1,
                "name": str(name),
                "source": str(source),
                "origin": str(origin),
                "installed": str(installed),
                "folder": str(folder),
                "downloads": dict(downloads),
                "files": dict(files),
                "versions": dict(versions),
                "notes": list(notes),
            }:
                return cls(
                    name=name,
                    source=source,
                    origin=origin,
                    installed=installed,
                    folder=Path(folder),
                    downloads=string_map(downloads),
                    files=string_map(files),
                    versions=string_map(versions),
                    notes=tuple(map(str, notes)),
                )
            case _:
                return None

    def changed_files(self) -> tuple[str, ...]:
        """Give the recorded files that are gone or have other bytes."""
        return tuple(
            name for name, digest in self.files.items() if _digest(self.folder / name) != digest
        )


def toolchain_folder(folders: Folders) -> Path:
    """Give the folder of all private toolchains."""
    return folders.state / "toolchain"


def read_record(folders: Folders) -> Installation | None:
    """Give the record of the private toolchain in use; None when there is none.

    One that was moved is none: its programs name their libraries by absolute path.
    """
    base = toolchain_folder(folders)
    try:
        name = (base / CURRENT).read_text().strip()
        record = Installation.from_json(json_in(base / name / RECORD))
    except (OSError, ValueError):
        return None
    return record if record is not None and record.folder == base / name else None


def write_record(record: Installation, folder: Path) -> None:
    """Store a record in the folder that it describes, or the one that will become it."""
    _replace(folder / RECORD, json.dumps(record.to_json(), indent=1, sort_keys=True) + "\n")


def select(folders: Folders, name: str) -> None:
    """Make an installed toolchain the one in use."""
    _replace(toolchain_folder(folders) / CURRENT, f"{name}\n")


def file_digests(folder: Path) -> Mapping[str, str]:
    """Give the sha256 of every regular file below a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): file_digest(path) for path in paths}


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError:
        return ""


def _replace(path: Path, text: str) -> None:
    try:
        write_whole(path, [text.encode()])
    except OSError as error:
        raise ToolError(f"can't write {path}: {error.strerror}") from None


_LEADING_NUMBER = re.compile(r"\d+(?:\.\d+)+")

INSTALL_HINT = "podbuild toolchain install"


class EngineKind(StrEnum):
    """The two engines; buildah comes first."""

    BUILDAH = "buildah"
    PODMAN = "podman"


@dataclass(frozen=True, order=True)
class ToolVersion:
    """A tool's version by its leading number; suffixes of distributions don't count."""

    release: tuple[int, ...]
    text: str = field(default="", compare=False)

    @classmethod
    def parse(cls, text: str) -> ToolVersion:
        """Read the first dotted number in a text, such as a `--version` line.

        >>> ToolVersion.parse("podman version 4.3.1-rhel") < ToolVersion.parse("5.6")
        True
        >>> str(ToolVersion.parse("buildah version 1.44.0-dev (image-spec 1.1.1)"))
        '1.44.0'
        """
        found = _LEADING_NUMBER.search(text)
        if found is None:
            raise ToolError(f"no version in {text.strip()[:100]!r}")
        return cls(PythonVersion(found[0]).release, found[0])

    def __str__(self) -> str:
        return self.text or ".".join(map(str, self.release))


# buildah 1.41 is what podman 5.6 embeds: right for heredocs, cached and in parallel.
FLOORS: Mapping[EngineKind, ToolVersion] = {
    EngineKind.BUILDAH: ToolVersion((1, 41)),
    EngineKind.PODMAN: ToolVersion((5, 6)),
}


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A program that builds, and its version."""

    kind: EngineKind
    path: Path
    version: ToolVersion

    def __str__(self) -> str:
        return f"{self.kind} {self.version}"

    @property
    def identity(self) -> str:
        """Give what names this engine in caches and journals, such as `buildah-1.43.2`."""
        return f"{self.kind}-{self.version}"

    @property
    def good(self) -> bool:
        """Tell whether the version reaches the floor."""
        return self.version >= FLOORS[self.kind]


@dataclass(frozen=True, kw_only=True)
class Toolchain:
    """An engine and what it needs around it.

    For an engine of the system the helpers are empty: it finds its own. For a private one every
    generated containers.conf must name them, or the system's are found first.
    """

    engine: Engine
    engines: tuple[Engine, ...]  # every good one of this place, the chosen one included
    origin: str  # "system", "podman-static" or "debian"
    path: tuple[Path, ...] = ()  # folders to put before PATH
    helper_dirs: tuple[Path, ...] = ()  # [engine] helper_binaries_dir
    conmon: Path | None = None  # [engine] conmon_path
    crun: Path | None = None  # [engine.runtimes] crun
    fuse_overlayfs: Path | None = None  # mount_program, where native overlay fails
    firewall_driver: str = ""  # [network] firewall_driver; empty leaves the engine's default
    qemu: Mapping[str, Path] = field(default_factory=dict, hash=False)  # architecture -> program
    skopeo: Path | None = None

    @property
    def programs(self) -> tuple[Path, ...]:
        """Give the programs that run, or run beside, the steps of others."""
        found = (self.engine.path, self.conmon, self.crun, self.fuse_overlayfs)
        return (*(program for program in found if program), *self.qemu.values())

    @property
    def identity(self) -> str:
        """Give what names the engine in caches and journals."""
        return self.engine.identity
