"""What a toolchain is: an engine with its helpers, qemu, and where they came from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from packaging.version import Version as PythonVersion

from podbuild.errors import ToolError

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
