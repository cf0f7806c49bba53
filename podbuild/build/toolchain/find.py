"""Find the engine that a run uses: the private one, or a good one of the system.

PODBUILD_TOOLCHAIN and PODBUILD_ENGINE choose; what an engine's own start costs is measured here,
as a build starts it dozens of times.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from podbuild.build.toolchain.emulation import GUESTS, is_static_program
from podbuild.build.toolchain.model import (
    FLOORS,
    INSTALL_HINT,
    Engine,
    EngineKind,
    Installation,
    Toolchain,
    ToolVersion,
    read_record,
)
from podbuild.errors import ConfigError, PodbuildError, ToolError
from podbuild.system.folders import Folders
from podbuild.system.process import Runner

_PROBE_SECONDS = 30.0


class Choice(StrEnum):
    """Where the engine may come from (PODBUILD_TOOLCHAIN)."""

    AUTO = "auto"  # the private one if installed, else a good one on PATH
    SYSTEM = "system"
    PRIVATE = "private"


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Engines found in one place; those below the floor are kept for the error alone."""

    engines: tuple[Engine, ...]
    origin: str
    record: Installation | None

    def good(self, kind: EngineKind | None) -> tuple[Engine, ...]:
        return tuple(
            engine for engine in self.engines if engine.good and kind in (None, engine.kind)
        )


def find(
    runner: Runner,
    folders: Folders,
    *,
    choice: Choice = Choice.AUTO,
    kind: EngineKind | None = None,
) -> Toolchain:
    """Give the toolchain to use; buildah comes before podman unless `kind` says which.

    Raises ToolError when no engine reaches the floor; it names the too old ones.
    """
    seen: list[Engine] = []
    record = read_record(folders)
    for place in _places(runner, record, choice):
        good = place.good(kind)
        if good:
            return _toolchain(runner, place, good[0])
        seen.extend(place.engines)
    raise _nothing_good(seen, choice, kind)


def known_engines(runner: Runner, folders: Folders) -> tuple[Engine, ...]:
    """Give every good engine of this machine, whichever one the environment asks for."""
    places = _places(runner, read_record(folders), Choice.AUTO)
    found = {engine.path.resolve(): engine for place in places for engine in place.good(None)}
    return tuple(found.values())


def _places(runner: Runner, record: Installation | None, choice: Choice) -> Iterator[_Place]:
    """Give the places to look at, in order; the system is asked only when it is its turn."""
    if choice is not Choice.SYSTEM and record is not None:
        yield _Place(engines=_recorded_engines(record), origin=record.source, record=record)
    if choice is not Choice.PRIVATE:
        yield _Place(engines=tuple(_system_engines(runner)), origin="system", record=record)


def _recorded_engines(record: Installation) -> tuple[Engine, ...]:
    """Give a private toolchain's engines; their versions were probed when it was installed."""
    return tuple(
        Engine(
            kind=kind,
            path=record.folder / "bin" / kind,
            version=ToolVersion.parse(record.versions[kind]),
        )
        for kind in EngineKind
        if kind in record.versions and (record.folder / "bin" / kind).is_file()
    )


def _system_engines(runner: Runner) -> Iterator[Engine]:
    for kind in EngineKind:
        path = runner.which(kind)
        version = probe_version(runner, path) if path else None
        if path and version:
            yield Engine(kind=kind, path=path, version=version)


def probe_version(runner: Runner, path: Path) -> ToolVersion | None:
    """Give what a program answers to `--version`; None when it doesn't run."""
    try:
        return ToolVersion.parse(runner(str(path), "--version", timeout=_PROBE_SECONDS).out)
    except PodbuildError:
        runner.cancel.check()
        return None


def _toolchain(runner: Runner, place: _Place, engine: Engine) -> Toolchain:
    record = place.record
    qemu = {**_system_qemu(runner), **(_private_qemu(record) if record else {})}
    if record is None or place.origin == "system":
        return Toolchain(
            engine=engine,
            engines=place.good(None),
            origin=place.origin,
            fuse_overlayfs=runner.which("fuse-overlayfs"),
            qemu=qemu,
            skopeo=runner.which("skopeo"),
        )
    programs = record.folder / "bin"
    return Toolchain(
        engine=engine,
        engines=place.good(None),
        origin=place.origin,
        path=(programs,),
        helper_dirs=(record.folder / "helpers",),
        conmon=_existing(programs / "conmon"),
        crun=_existing(programs / "crun"),
        fuse_overlayfs=_existing(programs / "fuse-overlayfs") or runner.which("fuse-overlayfs"),
        # podman-static's netavark defaults to nftables, which breaks DNS: runner-images#14230
        firewall_driver="iptables" if record.source == "podman-static" else "",
        qemu=qemu,
        skopeo=_existing(programs / "skopeo") or runner.which("skopeo"),
    )


def _private_qemu(record: Installation) -> Mapping[str, Path]:
    found = {guest.architecture: record.folder / "qemu" / guest.qemu for guest in GUESTS}
    return {architecture: path for architecture, path in found.items() if path.is_file()}


def _system_qemu(runner: Runner) -> Mapping[str, Path]:
    """Give the system's static builds; a dynamic one would miss its libraries in an image."""
    found: dict[str, Path] = {}
    for guest in GUESTS:
        for path in filter(None, map(runner.which, guest.qemu_names)):
            if guest.architecture not in found and is_static_program(path):
                found[guest.architecture] = path
    return found


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None


def _nothing_good(seen: list[Engine], choice: Choice, kind: EngineKind | None) -> ToolError:
    floors = " or ".join(
        f"{found} {floor}" for found, floor in FLOORS.items() if kind in (None, found)
    )
    where = {
        Choice.AUTO: "",
        Choice.SYSTEM: " on PATH (PODBUILD_TOOLCHAIN=system)",
        Choice.PRIVATE: " in podbuild's own folder (PODBUILD_TOOLCHAIN=private)",
    }[choice]
    old = ", ".join(f"{engine} at {engine.path}" for engine in seen if kind in (None, engine.kind))
    found = f"; too old: {old}" if old else ""
    also = ", and unset PODBUILD_TOOLCHAIN" if choice is Choice.SYSTEM else ""
    return ToolError(f"no {floors} or newer{where}{found}", hint=f"{INSTALL_HINT}{also}")


CHOICE = "PODBUILD_TOOLCHAIN"
ENGINE = "PODBUILD_ENGINE"
E = TypeVar("E", bound=StrEnum)


def find_chosen(runner: Runner, folders: Folders, environment: Mapping[str, str]) -> Toolchain:
    """Give the toolchain that the environment asks for.

    Raises ToolError when there is no good one, ConfigError for a value that is no choice.
    """
    choice = _chosen(environment, CHOICE, Choice) or Choice.AUTO
    return find(runner, folders, choice=choice, kind=_chosen(environment, ENGINE, EngineKind))


def _chosen(environment: Mapping[str, str], name: str, choices: type[E]) -> E | None:
    value = environment.get(name, "")
    if not value:
        return None
    try:
        return choices(value)
    except ValueError:
        raise ConfigError(
            f"{name}={value}: no such choice", hint=f"one of {', '.join(choices)}"
        ) from None


SLOW_START = 0.015  # CPU seconds of `--version` from which doctor says so

_MEASURE = """
import os, resource, sys
child = os.fork()
if child == 0:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.execv(sys.argv[1], [sys.argv[1], "--version"])
os.waitpid(child, 0)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)
"""

_ROUNDS = 3


def start_cost(runner: Runner, engine: Engine) -> float:
    """Give the CPU seconds of `engine --version`, the best of three."""
    argv = (sys.executable, "-I", "-S", "-c", _MEASURE, str(engine.path))
    return min(float(runner(*argv, timeout=60).out) for _ in range(_ROUNDS))


@dataclass(frozen=True, kw_only=True)
class Starts:
    """What a start of each engine of this machine costs, in CPU seconds; `chosen` is in use."""

    chosen: Engine
    costs: Mapping[Engine, float]

    @property
    def cost(self) -> float:
        """Give what a start of the engine in use costs."""
        return self.costs[self.chosen]

    @property
    def faster(self) -> Engine | None:
        """Give the engine that starts fastest, where it takes less than half of the chosen."""
        best = min(self.costs, key=self.costs.__getitem__)
        return best if self.costs[best] * 2 < self.cost else None

    @property
    def advice(self) -> str:
        """Say how to take the faster one; empty where the chosen one is as fast."""
        if (faster := self.faster) is None:
            return ""
        return (
            f"{faster} at {faster.path} takes {self.costs[faster] * 1000:.0f} ms: "
            f"{ENGINE} and {CHOICE} choose"
        )


def start_costs(runner: Runner, folders: Folders, chosen: Engine) -> Starts:
    """Measure a start of every good engine of this machine."""
    engines = {chosen.path.resolve(): chosen}
    engines |= {
        engine.path.resolve(): engine
        for engine in known_engines(runner, folders)
        if engine.path.resolve() not in engines
    }
    costs = {engine: start_cost(runner, engine) for engine in engines.values()}
    return Starts(chosen=chosen, costs=costs)
