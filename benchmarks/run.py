"""Measure podbuild against what users would pick instead; prints tables of medians and ratios.

run.py [--rounds N] [--only CONTESTANT,...] [--workload WORKLOAD,...] [--engine FOLDER]
       [--docker FOLDER]

Everything lies on tmpfs; the contestants take turns. The last FOLDER has the programs of Debian's
dockerd, the other a buildah or podman that podbuild and the shell take in place of the toolchain's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from buildkit import try_buildkit
from contestants import contestant
from dockerd import NoDockerError
from servers import Server, Traffic, registries, traffic
from small import small_measures, start_of_engine
from spent import Contestant, Spent, remove, stop_on_signals
from steps import make_monorepo, make_steps
from workload import Project, make_project, root_archives

from podbuild.build.toolchain.emulation import native_architecture
from podbuild.build.toolchain.find import CHOICE, Choice

SCRIPTS = Path(__file__).parents[1] / "scripts"
MEMORY = Path("/dev/shm")  # noqa: S108  # tmpfs on every Linux
NAMES = ("podbuild", "one-registry", "no-layers", "shell", "buildkit")
VARIANTS = ("one-registry", "no-layers")  # of podbuild, measured cold alone
SCENARIOS = ("cold", "unchanged", "one image changed")
FEW, NATIVE, BOTH, MONOREPO = WORKLOADS = ("few-large", "small-native", "small-both", "monorepo")
SMALL_TARGETS: Mapping[str, Mapping[str, float]] = {
    "cold": {"shell": 0.75, "buildkit": 2},
    "unchanged": {"buildkit": 0.6},
    "one image changed": {"buildkit": 1},
}
TARGETS: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    FEW: {
        "cold": {"shell": 0.55, "buildkit": 0.95},
        "unchanged": {"shell": 0.1, "buildkit": 0.6},
        "one image changed": {"shell": 0.3, "buildkit": 0.9},
    },
    NATIVE: SMALL_TARGETS,
    BOTH: SMALL_TARGETS,
    MONOREPO: {},
}
MONOREPO_TARGET = 1.3  # one file of one image changed, of nothing changed
NO_LAYERS_TARGET = 0.8  # of BuildKit's time
SECOND_REGISTRY_TARGET = 0.25  # of the release to the first


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line asks for."""

    rounds: int
    names: tuple[str, ...]
    docker: Path
    workloads: tuple[str, ...] = WORKLOADS
    engine: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One measured run."""

    workload: str
    contestant: str
    scenario: str
    spent: Spent
    sent: Traffic


COLUMNS: Mapping[str, Callable[[Run], float]] = {
    "seconds": lambda run: run.spent.seconds,
    "CPU s": lambda run: run.spent.cpu,
    "peak MB": lambda run: run.spent.memory / 1e6,
    "sent MB": lambda run: run.sent.received / 1e6,
    "requests": lambda run: run.sent.requests,
}


def measure(
    who: Contestant, place: Place, servers: tuple[Server, ...], scenario: str, version: str
) -> Run:
    """Let a contestant release once."""
    before = traffic(servers)
    spent = who.release(version)
    sent = traffic(servers) - before
    print(
        f"{place.workload:<12} {who.name:<12} {scenario:<18} {spent.seconds:7.2f} s",
        file=sys.stderr,
    )
    return Run(
        workload=place.workload,
        contestant=who.name,
        scenario=scenario,
        spent=spent,
        sent=sent,
    )


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one contestant works on one workload in one round."""

    workload: str
    name: str
    folder: Path
    turn: int

    def project(self, hosts: tuple[str, ...]) -> Project:
        """Write the project anew."""
        roots, folder = root_archives(SCRIPTS), self.folder / "project"
        match self.workload:
            case "small-native":
                return make_steps(folder, hosts, roots, architectures=(native_architecture(),))
            case "small-both":
                return make_steps(folder, hosts, roots)
            case "monorepo":
                return make_monorepo(folder, hosts, roots)
            case _:
                return make_project(folder, hosts, roots, layers=self.name != "no-layers")


def contestants_of(workload: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Give who is measured on a workload: variants on the first alone, the last podbuild alone."""
    if workload == FEW:
        return names
    left_out = {*VARIANTS, *(("shell", "buildkit") if workload == MONOREPO else ())}
    return tuple(name for name in names if name not in left_out)


def one_round(work: Path, number: int, asked: Asked) -> Iterator[Run]:
    """Give all scenarios of every contestant, each with empty registries and a project anew."""
    for workload in asked.workloads:
        for name in rotated(contestants_of(workload, asked.names), number):
            folder = work / f"{number}-{workload}-{name}"
            place = Place(workload=workload, name=name, folder=folder, turn=number)
            with registries(folder / "servers", 2) as servers:
                project = place.project(tuple(server.host for server in servers))
                with contestant(name, project, folder, asked.docker) as who:
                    yield from scenarios(who, place, servers, project)
            remove(folder)


def scenarios(
    who: Contestant, place: Place, servers: tuple[Server, ...], project: Project
) -> Iterator[Run]:
    """Give the runs of one contestant in one round."""
    who.forget()
    yield measure(who, place, servers, "cold", "1.0.0")
    if who.name in VARIANTS:
        return
    yield measure(who, place, servers, "unchanged", "1.0.1")
    project.change(place.turn)
    yield measure(who, place, servers, "one image changed", "1.0.2")


def rotated(names: tuple[str, ...], turns: int) -> tuple[str, ...]:
    """Give the names in another order each round."""
    first = turns % max(len(names), 1)
    return names[first:] + names[:first]


def median(runs: list[Run], contestant: str, scenario: str) -> Mapping[str, float]:
    """Give the medians of one contestant in one scenario; nothing where it was not measured."""
    found = [run for run in runs if (run.contestant, run.scenario) == (contestant, scenario)]
    if not found:
        return {}
    return {
        name: statistics.median(column(run) for run in found) for name, column in COLUMNS.items()
    }


def tables(workload: str, runs: list[Run]) -> Iterator[str]:
    """Give a workload's results as Markdown."""
    names = tuple(dict.fromkeys(run.contestant for run in runs))
    for scenario in SCENARIOS:
        mine = median(runs, "podbuild", scenario)
        yield f"\n## {workload}: {scenario}\n"
        yield "| | " + " | ".join((*COLUMNS, "podbuild takes", "by CPU", "target")) + " |"
        yield "|---|" + "---|" * (len(COLUMNS) + 3)
        for name in names:
            values = median(runs, name, scenario)
            if not values:
                continue
            shown = (f"{value:.2f}" for value in values.values())
            ratios = (ratio(mine, values, of) for of in ("seconds", "CPU s"))
            target = TARGETS[workload].get(scenario, {}).get(name)
            yield f"| {name} | " + " | ".join((*shown, *ratios, str(target or ""))) + " |"
        yield from phases(runs, scenario)


def ratio(mine: Mapping[str, float], other: Mapping[str, float], of: str) -> str:
    """Say how podbuild's figure stands to another's; nothing where podbuild was not measured."""
    return f"{mine[of] / other[of]:.2f} x" if mine else ""


def phases(runs: list[Run], scenario: str) -> Iterator[str]:
    """Say where podbuild's time goes."""
    found = [run.spent for run in runs if (run.contestant, run.scenario) == ("podbuild", scenario)]
    names = dict.fromkeys(name for spent in found for name in spent.phases)
    shown = ", ".join(
        f"{name} {statistics.median(spent.phases.get(name, 0.0) for spent in found):.2f} s"
        for name in names
    )
    if shown:
        yield f"\npodbuild's phases: {shown}"


def monorepo(runs: list[Run]) -> Iterator[str]:
    """Compare one changed file of a monorepo with none."""
    nothing, one = (median(runs, "podbuild", SCENARIOS[place]) for place in (1, 2))
    if nothing and one:
        clock, cpu = (ratio(one, nothing, of) for of in ("seconds", "CPU s"))
        yield f"- one file of one image changed takes {clock} nothing changed, {cpu} by CPU "
        yield f"  (target {MONOREPO_TARGET})"


def comparisons(runs: list[Run]) -> Iterator[str]:
    """Compare the variants of a cold release."""
    both, one, single, other = (
        median(runs, name, "cold") for name in ("podbuild", "one-registry", "no-layers", "buildkit")
    )
    if both and one:
        clock, cpu = (f"{both[of] / one[of] - 1:.2f} x" for of in ("seconds", "CPU s"))
        yield (
            f"- a second registry adds {clock} the release to the first, {cpu} by CPU "
            f"(target {SECOND_REGISTRY_TARGET})"
        )
    if single and other:
        clock, cpu = (ratio(single, other, of) for of in ("seconds", "CPU s"))
        yield (
            f"- podbuild with `layers = false` takes {clock} buildkit, {cpu} by CPU "
            f"(target {NO_LAYERS_TARGET})"
        )


def main() -> None:
    """Measure and print."""
    asked = command_line()
    stop_on_signals()
    if asked.engine:
        os.environ["PATH"] = f"{asked.engine}:{os.environ['PATH']}"
        os.environ[CHOICE] = Choice.SYSTEM.value
    runs: list[Run] = []
    load = os.getloadavg()[0]
    work = Path(tempfile.mkdtemp(dir=MEMORY, prefix="podbuild-bench-"))
    try:
        asked, buildkit = with_buildkit(asked, work)
        for number in range(asked.rounds):
            runs.extend(one_round(work, number, asked))
        wanted = "podbuild" in asked.names and FEW in asked.workloads
        small = tuple(small_measures(work, SCRIPTS)) if wanted else ()
    finally:
        remove(work)
    cpus = len(os.sched_getaffinity(0))
    print(f"# {time.strftime('%Y-%m-%d')}, {start_of_engine()}, {cpus} CPUs")
    print(f"\n{buildkit}.")
    print(f"\nLoad before: {load:.1f}; after: {os.getloadavg()[0]:.1f}. {asked.rounds} rounds.")
    for workload in asked.workloads:
        found = [run for run in runs if run.workload == workload]
        print("\n".join((*tables(workload, found), "")))
        more = monorepo(found) if workload == MONOREPO else comparisons(found)
        print("\n".join(more))
    print("\n".join(("", *small)))


def command_line() -> Asked:
    """Read the command line; contestants keep the order of NAMES."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(NAMES))
    parser.add_argument("--workload", default=",".join(WORKLOADS))
    parser.add_argument("--engine", type=Path)
    parser.add_argument("--docker", type=Path, default=Path("nowhere"))
    given = parser.parse_args()
    only = given.only.split(",")
    if unknown := set(only) - set(NAMES):
        parser.error(f"no such contestant: {', '.join(sorted(unknown))}")
    names = tuple(name for name in NAMES if name in only)
    workloads = tuple(given.workload.split(","))
    if unknown := set(workloads) - set(WORKLOADS):
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")
    engine = given.engine.resolve() if given.engine else None
    if engine and not any((engine / name).is_file() for name in ("buildah", "podman")):
        parser.error(f"{engine} has neither buildah nor podman")
    return Asked(
        rounds=given.rounds,
        names=names,
        docker=given.docker,
        workloads=workloads,
        engine=engine,
    )


def with_buildkit(asked: Asked, work: Path) -> tuple[Asked, str]:
    """Leave BuildKit out where it can't run; give its version, or why not."""
    if "buildkit" not in asked.names:
        return asked, "BuildKit was not asked for"
    try:
        version = try_buildkit(asked.docker, work, root_archives(SCRIPTS))
    except NoDockerError as error:
        names = tuple(name for name in asked.names if name != "buildkit")
        print(f"BuildKit is left out: {error}", file=sys.stderr)
        return replace(asked, names=names), f"BuildKit is left out: {error}"
    return asked, f"BuildKit: {version}"


if __name__ == "__main__":
    main()
