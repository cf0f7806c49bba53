"""Measure podbuild against what users would pick instead; prints tables of medians and ratios.

run.py [--rounds N] [--only CONTESTANT,...] [--workload WORKLOAD,...] [--engine ENGINE,...]
       [--docker FOLDER]

Everything lies on tmpfs; the contestants take turns. An ENGINE is a folder with a buildah or podman
in it or in its `bin`, which podbuild and the shell take, or `toolchain` for what they find without;
with several, both are measured with each. The last FOLDER has the programs of Debian's dockerd.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from buildkit import try_buildkit
from contestants import contestant
from dockerd import NoDockerError
from results import (
    BOTH,
    BUILDKIT,
    COLD,
    EDITED,
    FEW,
    MONOREPO,
    NATIVE,
    NO_LAYERS,
    PODBUILD,
    SHELL,
    UNCHANGED,
    VARIANTS,
    Results,
    Run,
)
from servers import Server, registries, traffic
from small import Start, small_measures, start_of_engine
from spent import Contestant, remove, stop_on_signals
from steps import make_monorepo, make_steps
from workload import Project, make_project, root_archives

from podbuild.build.toolchain.emulation import native_architecture
from podbuild.build.toolchain.find import CHOICE, Choice

SCRIPTS = Path(__file__).parents[1] / "scripts"
MEMORY = Path("/dev/shm")  # noqa: S108  # tmpfs on every Linux
NAMES = (PODBUILD, *VARIANTS, SHELL, BUILDKIT)
MEASURES = "measures"  # the smaller ones, of podbuild alone
WORKLOADS = (FEW, NATIVE, BOTH, MONOREPO, MEASURES)
TOOLCHAIN = "toolchain"


@dataclass(frozen=True, kw_only=True)
class Side:
    """An engine that podbuild and the shell build with; without a folder it is the toolchain's."""

    label: str
    folder: Path | None = None

    @contextmanager
    def chosen(self) -> Iterator[None]:
        """Let podbuild find this engine while the block runs."""
        before = dict(os.environ)
        if self.folder:
            os.environ["PATH"] = f"{self.folder}:{before['PATH']}"
            os.environ[CHOICE] = Choice.SYSTEM.value
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line asks for."""

    rounds: int
    names: tuple[str, ...]
    docker: Path
    workloads: tuple[str, ...]
    sides: tuple[Side, ...]

    def contestants(self, workload: str) -> tuple[tuple[str, Side], ...]:
        """Give who is measured on a workload, each with every engine, BuildKit once.

        Variants are on the first alone, podbuild is alone on the last.
        """
        left_out: set[str] = set() if workload == FEW else set(VARIANTS)
        if workload == MONOREPO:
            left_out |= {SHELL, BUILDKIT}
        return tuple(
            (name, side)
            for name in self.names
            if name not in left_out
            for side in ((Side(label=""),) if name == BUILDKIT else self.sides)
        )


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one contestant works on one workload in one round."""

    workload: str
    name: str
    engine: str
    folder: Path
    turn: int

    def project(self, hosts: tuple[str, ...]) -> Project:
        """Write the project anew."""
        roots, folder = root_archives(SCRIPTS), self.folder / "project"
        if self.workload == NATIVE:
            return make_steps(folder, hosts, roots, architectures=(native_architecture(),))
        if self.workload == BOTH:
            return make_steps(folder, hosts, roots)
        if self.workload == MONOREPO:
            return make_monorepo(folder, hosts, roots)
        return make_project(folder, hosts, roots, layers=self.name != NO_LAYERS)


@dataclass(frozen=True, kw_only=True)
class Bout:
    """One contestant at work, with the registries that it sends to."""

    who: Contestant
    place: Place
    servers: tuple[Server, ...]
    project: Project

    def runs(self) -> Iterator[Run]:
        """Give what it takes in each scenario."""
        self.who.forget()
        yield self._run(COLD, "1.0.0")
        if self.place.name in VARIANTS:
            return
        yield self._run(UNCHANGED, "1.0.1")
        self.project.change(self.place.turn)
        yield self._run(EDITED, "1.0.2")

    def _run(self, scenario: str, version: str) -> Run:
        before = traffic(self.servers)
        spent = self.who.release(version)
        sent = traffic(self.servers) - before
        place = self.place
        print(
            f"{place.workload:<12} {place.name:<12} {place.engine:<10} {scenario:<18} "
            f"{spent.seconds:7.2f} s {spent.cpu:7.2f} CPU s {sent.requests:6} requests",
            file=sys.stderr,
        )
        return Run(
            workload=place.workload,
            contestant=place.name,
            engine=place.engine,
            scenario=scenario,
            spent=spent,
            sent=sent,
            places=len(self.project.images) * len(self.servers),
        )


def one_round(work: Path, number: int, asked: Asked) -> Iterator[Run]:
    """Give all scenarios of every contestant, each with empty registries and a project anew."""
    for workload in asked.workloads:
        if workload == MEASURES:
            continue
        for name, side in rotated(asked.contestants(workload), number):
            folder = work / f"{number}-{workload}-{name}-{side.label}"
            place = Place(
                workload=workload, name=name, engine=side.label, folder=folder, turn=number
            )
            with side.chosen(), registries(folder / "servers", 2) as servers:
                project = place.project(tuple(server.host for server in servers))
                with contestant(name, project, folder, asked.docker) as who:
                    yield from Bout(who=who, place=place, servers=servers, project=project).runs()
            remove(folder)


def rotated(contestants: tuple[tuple[str, Side], ...], turns: int) -> tuple[tuple[str, Side], ...]:
    """Give the contestants in another order each round."""
    first = turns % max(len(contestants), 1)
    return contestants[first:] + contestants[:first]


def main() -> None:
    """Measure and print."""
    asked = command_line()
    stop_on_signals()
    runs: list[Run] = []
    small: tuple[str, ...] = ()
    load = os.getloadavg()[0]
    starts = {side.label: measured_start(side) for side in asked.sides}
    work = Path(tempfile.mkdtemp(dir=MEMORY, prefix="podbuild-bench-"))
    try:
        asked, buildkit = with_buildkit(asked, work)
        print("\n".join(heading(asked, starts, buildkit)), flush=True)
        for number in range(asked.rounds):
            runs.extend(one_round(work, number, asked))
        if MEASURES in asked.workloads:
            with asked.sides[0].chosen():
                small = tuple(small_measures(work, SCRIPTS))
    finally:
        remove(work)
        results = Results(runs=runs, starts={name: start.cost for name, start in starts.items()})
        print("\n".join(report(asked, results, small)))
        print(f"\nLoad before: {load:.1f}; after: {os.getloadavg()[0]:.1f}.")


def measured_start(side: Side) -> Start:
    """Give which engine it is and what its start costs."""
    with side.chosen():
        return start_of_engine()


def heading(asked: Asked, starts: dict[str, Start], buildkit: str) -> Iterator[str]:
    """Say what is measured, and with what."""
    cpus = len(os.sched_getaffinity(0))
    yield f"# {time.strftime('%Y-%m-%d %H:%M')}, {cpus} CPUs, rounds: {asked.rounds}\n"
    yield from (f"- engine {name}: {start}" for name, start in starts.items())
    yield f"- {buildkit}"


def report(asked: Asked, results: Results, small: Sequence[str]) -> Iterator[str]:
    """Give all tables; what was measured before a failure is not lost."""
    for workload in asked.workloads:
        if any(run.workload == workload for run in results.runs):
            yield from results.tables(workload)
    yield from small
    yield from results.summary()


def command_line() -> Asked:
    """Read the command line; contestants keep the order of NAMES."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(NAMES))
    parser.add_argument("--workload", default=",".join(WORKLOADS))
    parser.add_argument("--engine", default=TOOLCHAIN)
    parser.add_argument("--docker", type=Path, default=Path("nowhere"))
    given = parser.parse_args()
    only = given.only.split(",")
    if unknown := set(only) - set(NAMES):
        parser.error(f"no such contestant: {', '.join(sorted(unknown))}")
    workloads = tuple(given.workload.split(","))
    if unknown := set(workloads) - set(WORKLOADS):
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")
    sides = tuple(side_of(parser, text) for text in given.engine.split(","))
    return Asked(
        rounds=given.rounds,
        names=tuple(name for name in NAMES if name in only),
        docker=given.docker,
        workloads=workloads,
        sides=sides,
    )


def side_of(parser: argparse.ArgumentParser, text: str) -> Side:
    """Give the engine that a word of --engine means; ends the program where there is none."""
    if text == TOOLCHAIN:
        return Side(label=TOOLCHAIN)
    folder = Path(text).resolve()
    programs = folder / "bin" if (folder / "bin").is_dir() else folder
    if not any((programs / name).is_file() for name in ("buildah", "podman")):
        parser.error(f"{programs} has neither buildah nor podman")
    return Side(label=folder.name, folder=programs)


def with_buildkit(asked: Asked, work: Path) -> tuple[Asked, str]:
    """Leave BuildKit out where it can't run; give its version, or why not."""
    if BUILDKIT not in asked.names:
        return asked, "BuildKit was not asked for"
    try:
        version = try_buildkit(asked.docker, work, root_archives(SCRIPTS))
    except NoDockerError as error:
        names = tuple(name for name in asked.names if name != BUILDKIT)
        print(f"BuildKit is left out: {error}", file=sys.stderr)
        return replace(asked, names=names), f"BuildKit is left out: {error}"
    return asked, f"BuildKit: {version}"


if __name__ == "__main__":
    main()
