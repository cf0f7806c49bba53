"""What was measured, as tables of medians, and how it stands to the targets."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from servers import Traffic
from spent import Spent

from podbuild.build.toolchain.find import SLOW_START

SCENARIOS = COLD, UNCHANGED, EDITED = ("cold", "unchanged", "one image changed")
FEW, NATIVE, BOTH, MONOREPO = ("few-large", "small-native", "small-both", "monorepo")
VARIANTS = ONE_REGISTRY, NO_LAYERS = ("one-registry", "no-layers")  # of podbuild, cold alone
PODBUILD, SHELL, BUILDKIT = "podbuild", "shell", "buildkit"
SMALL_TARGETS: Mapping[str, Mapping[str, float]] = {
    COLD: {SHELL: 0.75, BUILDKIT: 2},
    UNCHANGED: {BUILDKIT: 0.6},
    EDITED: {BUILDKIT: 1},
}
TARGETS: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    FEW: {
        COLD: {SHELL: 0.55, BUILDKIT: 0.95},
        UNCHANGED: {SHELL: 0.1, BUILDKIT: 0.6},
        EDITED: {SHELL: 0.3, BUILDKIT: 0.9},
    },
    NATIVE: SMALL_TARGETS,
    BOTH: SMALL_TARGETS,
    MONOREPO: {},
}
MONOREPO_TARGET = 1.3  # one file of one image changed, of nothing changed
NO_LAYERS_TARGET = 0.8  # of BuildKit's time
SECOND_REGISTRY_TARGET = 0.25  # of the release to the first
REQUESTS_TARGET = 15  # for an image and a registry, nothing changed


@dataclass(frozen=True, kw_only=True)
class Run:
    """One measured run; `engine` is the label of the one that built, empty for BuildKit."""

    workload: str
    contestant: str
    engine: str
    scenario: str
    spent: Spent
    sent: Traffic
    places: int  # images x registries


COLUMNS: Mapping[str, Callable[[Run], float]] = {
    "seconds": lambda run: run.spent.seconds,
    "CPU s": lambda run: run.spent.cpu,
    "peak MB": lambda run: run.spent.memory / 1e6,
    "sent MB": lambda run: run.sent.received / 1e6,
    "requests": lambda run: run.sent.requests,
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How one figure stands to a target; `ratio` is by the clock unless it is a count."""

    what: str
    engine: str
    ratio: float
    by_cpu: float | None
    target: float

    @property
    def row(self) -> str:
        """Give it as a row of Markdown."""
        cpu = "" if self.by_cpu is None else f"{self.by_cpu:.2f}"
        met = "met" if self.ratio <= self.target else "missed"
        return (
            f"| {self.what} | {self.engine} | {self.ratio:.2f} | {cpu} | {self.target:g} | {met} |"
        )


@dataclass(frozen=True, kw_only=True)
class Results:
    """All runs; `starts` has what a start of each engine costs, in CPU seconds, by its label."""

    runs: Sequence[Run]
    starts: Mapping[str, float]

    def median(
        self, workload: str, contestant: str, engine: str, scenario: str
    ) -> Mapping[str, float]:
        """Give the medians of one contestant in one scenario; nothing where not measured."""
        asked = (workload, contestant, engine, scenario)
        found = [
            run
            for run in self.runs
            if (run.workload, run.contestant, run.engine, run.scenario) == asked
        ]
        if not found:
            return {}
        return {
            name: statistics.median(column(run) for run in found)
            for name, column in COLUMNS.items()
        }

    def tables(self, workload: str) -> Iterator[str]:
        """Give a workload's results as Markdown."""
        who = dict.fromkeys(
            (run.contestant, run.engine) for run in self.runs if run.workload == workload
        )
        for scenario in SCENARIOS:
            yield f"\n## {workload}: {scenario}\n"
            yield "| | engine | " + " | ".join(COLUMNS) + " |"
            yield "|---|---|" + "---|" * len(COLUMNS)
            for contestant, engine in who:
                values = self.median(workload, contestant, engine, scenario)
                if values:
                    shown = " | ".join(f"{value:.2f}" for value in values.values())
                    yield f"| {contestant} | {engine} | {shown} |"
            for engine in self.starts:
                yield from self._phases(workload, engine, scenario)

    def _phases(self, workload: str, engine: str, scenario: str) -> Iterator[str]:
        """Say where podbuild's time goes."""
        asked = (workload, PODBUILD, engine, scenario)
        found = [
            run.spent
            for run in self.runs
            if (run.workload, run.contestant, run.engine, run.scenario) == asked
        ]
        names = dict.fromkeys(name for spent in found for name in spent.phases)
        shown = ", ".join(
            f"{name} {statistics.median(spent.phases.get(name, 0.0) for spent in found):.2f} s"
            for name in names
        )
        if shown:
            yield f"\npodbuild's phases with {engine}: {shown}"

    def summary(self) -> Iterator[str]:
        """Give every ratio that has a target, with what became of it, as Markdown."""
        verdicts = tuple(self._verdicts())
        if not verdicts:
            return
        met = sum(verdict.ratio <= verdict.target for verdict in verdicts)
        yield f"\n## Targets: {met} of {len(verdicts)} met\n"
        yield "| podbuild's time against | engine | by the clock | by CPU | target | |"
        yield "|---|---|---|---|---|---|"
        yield from (verdict.row for verdict in verdicts)
        slow = [name for name, cost in self.starts.items() if cost > SLOW_START]
        if slow:
            yield (
                "\nTargets against BuildKit are for an engine that starts in 12 ms of CPU (here: "
                f"{SLOW_START * 1000:.0f}, as machines differ); what {' and '.join(slow)} takes "
                "there is in the tables above."
            )

    def _verdicts(self) -> Iterator[Verdict]:
        for workload in TARGETS:
            for engine in self.starts:
                for scenario in SCENARIOS:
                    yield from self._against_others(workload, engine, scenario)
                yield from self._against_itself(workload, engine)
                yield from self._requests(workload, engine)

    def _against_others(self, workload: str, engine: str, scenario: str) -> Iterator[Verdict]:
        mine = self.median(workload, PODBUILD, engine, scenario)
        for other, target in TARGETS[workload].get(scenario, {}).items():
            built_by = "" if other == BUILDKIT else engine
            theirs = self.median(workload, other, built_by, scenario)
            if other == BUILDKIT and self.starts[engine] > SLOW_START:
                continue
            yield from _ratio(f"{workload}: {scenario}, {other}", engine, mine, theirs, target)

    def _against_itself(self, workload: str, engine: str) -> Iterator[Verdict]:
        if workload == MONOREPO:
            nothing, one = (
                self.median(workload, PODBUILD, engine, scenario)
                for scenario in (UNCHANGED, EDITED)
            )
            what = f"{workload}: one file changed, nothing changed"
            yield from _ratio(what, engine, one, nothing, MONOREPO_TARGET)
        both, one, single = (
            self.median(workload, name, engine, COLD) for name in (PODBUILD, *VARIANTS)
        )
        more = {name: both[name] - one[name] for name in both} if both and one else {}
        what = f"{workload}: the second registry, {ONE_REGISTRY}"
        yield from _ratio(what, engine, more, one, SECOND_REGISTRY_TARGET)
        buildkit = self.median(workload, BUILDKIT, "", COLD)
        if self.starts[engine] <= SLOW_START:
            what = f"{workload}: {COLD} with `layers = false`, {BUILDKIT}"
            yield from _ratio(what, engine, single, buildkit, NO_LAYERS_TARGET)

    def _requests(self, workload: str, engine: str) -> Iterator[Verdict]:
        """Say how many requests an image takes at a registry where nothing changed."""
        found = self.median(workload, PODBUILD, engine, UNCHANGED)
        if found:
            places = next(run.places for run in self.runs if run.workload == workload)
            yield Verdict(
                what=f"{workload}: {UNCHANGED}, requests for an image and a registry",
                engine=engine,
                ratio=found["requests"] / places,
                by_cpu=None,
                target=REQUESTS_TARGET,
            )


def _ratio(
    what: str, engine: str, mine: Mapping[str, float], other: Mapping[str, float], target: float
) -> Iterator[Verdict]:
    """Judge one ratio; nothing where one of both was not measured."""
    if mine and other:
        yield Verdict(
            what=what,
            engine=engine,
            ratio=mine["seconds"] / other["seconds"],
            by_cpu=mine["CPU s"] / other["CPU s"],
            target=target,
        )
