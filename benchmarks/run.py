"""Measure podbuild against what users would pick instead; prints tables of medians and ratios.

run.py [--rounds N] [--only CONTESTANT,...]      all on tmpfs, contestants in alternation
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from contestants import Contestant, Spent, contestants, remove, why_no_buildkit
from servers import Server, Traffic, registries, traffic
from small import small_measures
from workload import make_project, root_archives

from podbuild.folders import find_folders
from podbuild.run import Runner
from podbuild.toolchain import find

SCRIPTS = Path(__file__).parents[1] / "scripts"
MEMORY = Path("/dev/shm")  # noqa: S108  # tmpfs on every Linux
SCENARIOS = ("cold", "unchanged", "one image changed")
TARGETS = {
    "cold": {"shell": 0.55, "buildkit": 0.95},
    "unchanged": {"shell": 0.1, "buildkit": 0.4},
    "one image changed": {"shell": 0.3, "buildkit": 0.9},
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One measured run."""

    contestant: str
    scenario: str
    spent: Spent
    sent: Traffic


def measure(
    contestant: Contestant, servers: tuple[Server, ...], scenario: str, version: str
) -> Run:
    """Let a contestant release once."""
    before = traffic(servers)
    spent = contestant.release(version)
    sent = traffic(servers) - before
    print(f"{contestant.name:<10} {scenario:<18} {spent.seconds:7.2f} s", file=sys.stderr)
    return Run(contestant=contestant.name, scenario=scenario, spent=spent, sent=sent)


def one_round(work: Path, number: int, only: frozenset[str]) -> Iterator[Run]:
    """Give all scenarios of every contestant, each with empty registries and a project anew."""
    roots = root_archives(SCRIPTS)
    for name in rotated(("podbuild", "shell", "buildkit"), number):
        if name not in only:
            continue
        place = work / f"{number}-{name}"
        with registries(place / "servers", 2) as servers:
            hosts = tuple(server.host for server in servers)
            project = make_project(place / "project", hosts, roots)
            with contestants(project, place) as found:
                for contestant in (each for each in found if each.name == name):
                    contestant.forget()
                    yield measure(contestant, servers, "cold", "1.0.0")
                    yield measure(contestant, servers, "unchanged", "1.0.1")
                    project.change("web", number)
                    yield measure(contestant, servers, "one image changed", "1.0.2")
        remove(place)


def rotated(names: tuple[str, ...], turns: int) -> tuple[str, ...]:
    """Give the names in another order each round."""
    first = turns % len(names)
    return names[first:] + names[:first]


def median(runs: list[Run], contestant: str, scenario: str) -> Mapping[str, float]:
    """Give the medians of one contestant in one scenario; nothing where it was not measured."""
    found = [run for run in runs if (run.contestant, run.scenario) == (contestant, scenario)]
    if not found:
        return {}
    columns: dict[str, list[float]] = {
        "seconds": [run.spent.seconds for run in found],
        "CPU s": [run.spent.cpu for run in found],
        "peak MB": [run.spent.memory / 1e6 for run in found],
        "sent MB": [run.sent.received / 1e6 for run in found],
        "requests": [run.sent.requests for run in found],
    }
    return {name: statistics.median(values) for name, values in columns.items()}


def tables(runs: list[Run]) -> Iterator[str]:
    """Give the results as Markdown."""
    names = tuple(dict.fromkeys(run.contestant for run in runs))
    for scenario in SCENARIOS:
        mine = median(runs, "podbuild", scenario)
        yield f"\n## {scenario}\n"
        yield "| | " + " | ".join((*mine, "podbuild takes", "target")) + " |"
        yield "|---|" + "---|" * (len(mine) + 2)
        for name in names:
            values = median(runs, name, scenario)
            shown = [f"{value:.2f}" for value in values.values()]
            ratio = f"{mine['seconds'] / values['seconds']:.2f} x" if mine and values else ""
            target = TARGETS[scenario].get(name)
            yield f"| {name} | " + " | ".join((*shown, ratio, str(target or ""))) + " |"
        yield from phases(runs, scenario)


def phases(runs: list[Run], scenario: str) -> Iterator[str]:
    """Say where podbuild's time goes."""
    found = [run.spent for run in runs if (run.contestant, run.scenario) == ("podbuild", scenario)]
    names = dict.fromkeys(name for spent in found for name in spent.phases)
    shown = ", ".join(
        f"{name} {statistics.median(spent.phases.get(name, 0.0) for spent in found):.2f} s"
        for name in names
    )
    yield f"\npodbuild's phases: {shown}"


def main() -> None:
    """Measure and print."""
    asking = argparse.ArgumentParser(description=__doc__)
    asking.add_argument("--rounds", type=int, default=3)
    asking.add_argument("--only", default="podbuild,shell,buildkit")
    asked = asking.parse_args()
    runs: list[Run] = []
    load = os.getloadavg()[0]
    work = Path(tempfile.mkdtemp(dir=MEMORY, prefix="podbuild-bench-"))
    try:
        for number in range(asked.rounds):
            runs.extend(one_round(work, number, frozenset(asked.only.split(","))))
        small = tuple(small_measures(work, SCRIPTS))
    finally:
        remove(work)
    engine = find(Runner(env=dict(os.environ)), find_folders(os.environ, Path("dist"))).engine
    print(f"# {time.strftime('%Y-%m-%d')}, {engine}, {len(os.sched_getaffinity(0))} CPUs")
    left_out = why_no_buildkit()
    if left_out:
        print(f"\nBuildKit is left out: {left_out}.")
    print(f"\nLoad before: {load:.1f}; after: {os.getloadavg()[0]:.1f}. {asked.rounds} rounds.")
    print("\n".join((*tables(runs), "", *small)))


if __name__ == "__main__":
    main()
