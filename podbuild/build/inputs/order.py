"""What the order of steps costs: how often each runs again, and which could stand higher.

How often a step runs again is the share of the last commits that changed a file that it or a step
before it takes from the context. Advice is given only where a RUN surely does not need what is
copied before it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from podbuild.build.inputs.containerfile import Containerfile, Stage
from podbuild.build.inputs.ignore import Matcher
from podbuild.build.inputs.installs import MANAGERS, installing, manifests_of
from podbuild.build.inputs.instructions import REMOTE, Instruction, unquote
from podbuild.build.inputs.scripts import Script
from podbuild.system.console import text

FEWEST = 10  # commits; with less nothing is said
FLOOR = 5.0  # seconds a commit that are worth a word
_MOST = 3  # pieces of advice an image
# Commands that read nothing of the project beside their arguments.
_HARMLESS = frozenset({"set", "rm", "echo", "true", "mkdir", "export", "printf"})

Commits = frozenset[int]


@dataclass(frozen=True, kw_only=True)
class Churn:
    """The last commits' changed files, by path; what the image's context leaves out is none."""

    context: Path
    matcher: Matcher
    changes: tuple[frozenset[Path], ...]

    @property
    def every(self) -> Commits:
        """Give all commits."""
        return frozenset(range(len(self.changes)))

    def touching(self, sources: Sequence[str]) -> Commits:
        """Give the commits that change what these sources of the context name."""
        return frozenset(
            at for at, changed in enumerate(self.changes) if any(self._taken(changed, sources))
        )

    def _taken(self, changed: frozenset[Path], sources: Sequence[str]) -> Iterator[bool]:
        for path in changed:
            if path.is_relative_to(self.context):
                name = path.relative_to(self.context).as_posix()
                if not self.matcher.excludes(name):
                    yield any(_covers(source, name) for source in sources)


def _covers(source: str, name: str) -> bool:
    """Tell whether a source takes a file.

    >>> _covers("src/", "src/a/b.py"), _covers("*.json", "x.json"), _covers("lib", "library")
    (True, True, False)
    """
    wanted = [part for part in source.split("/") if part not in ("", ".")]
    parts = name.split("/")
    if len(wanted) > len(parts):
        return False
    return all(fnmatchcase(part, pattern) for part, pattern in zip(parts, wanted, strict=False))


@dataclass(frozen=True, kw_only=True)
class Advice:
    """A RUN that could stand above a line: what that saves (share of commits, seconds each)."""

    run: Instruction
    above: Instruction
    first: tuple[str, ...]  # files to copy before it; none: it needs none
    share: float
    seconds: float | None  # a commit; None: no build has told how long it takes


@dataclass(frozen=True, kw_only=True)
class StepOrder:
    """What a commit costs in one image (seconds; None: not known), and what would help."""

    expected: float | None
    whole: float | None
    commits: int
    advice: tuple[Advice, ...]


@dataclass(frozen=True, kw_only=True)
class OrderQuestion:
    """What is asked about: the Containerfile and how long its steps took, by their text."""

    containerfile: Containerfile
    target: str | None
    variables: Mapping[str, str]
    churn: Churn
    seconds: Mapping[str, float]
    changing: frozenset[str] = field(default_factory=frozenset)  # ARGs that each commit changes


def order_of(steps: OrderQuestion) -> StepOrder:
    """Say what the order of steps costs an image."""
    return _OrderWalk(steps).order()


class _OrderWalk:
    def __init__(self, steps: OrderQuestion) -> None:
        self._steps = steps
        self._file = steps.containerfile
        self._ends: dict[int, Commits] = {}

    def order(self) -> StepOrder:
        needed = self._file.needed(self._steps.target, self._steps.variables)
        expected = whole = 0.0
        advice: list[Advice] = []
        for stage in needed:
            for at, (instruction, commits) in enumerate(self._stage(stage)):
                seconds = self._seconds(instruction)
                whole += seconds or 0.0
                expected += (seconds or 0.0) * self._share(commits)
                if instruction.word == "RUN":
                    advice += self._advice(stage, stage.instructions[:at], instruction)
        worth = [x for x in advice if x.seconds is None or x.seconds >= FLOOR]
        best = sorted(worth, key=lambda each: (-(each.seconds or 0.0), -each.share))
        known = bool(self._steps.seconds)
        return StepOrder(
            expected=expected if known else None,
            whole=whole if known else None,
            commits=len(self._steps.churn.changes),
            advice=tuple(best[:_MOST]),
        )

    def _stage(self, stage: Stage) -> list[tuple[Instruction, Commits]]:
        """Give a stage's instructions, each with the commits that make it run again."""
        reference = next(self._file.uses(stage, self._steps.variables))
        below = self._file.earlier(stage, reference)
        seen = self._end(below) if below else frozenset()
        found = []
        for instruction, values in self._file.walk(stage, self._steps.variables):
            seen |= self._own(stage, instruction, values)
            found.append((instruction, seen))
        self._ends[stage.index] = seen
        return found

    def _end(self, stage: Stage) -> Commits:
        if stage.index not in self._ends:
            self._stage(stage)
        return self._ends[stage.index]

    def _own(self, stage: Stage, instruction: Instruction, values: Mapping[str, str]) -> Commits:
        """Give the commits that change what one instruction takes."""
        if instruction.word in ("COPY", "ADD"):
            other = instruction.flag("from")
            if other is None:
                return self._steps.churn.touching(sources_of(instruction, values))
            return self._other(stage, instruction.expand(other, values))
        if instruction.word == "RUN":
            found: Commits = frozenset()
            for mount in instruction.mounts:
                if mount.get("type", "bind") == "bind":
                    source = mount.get("source") or "/"
                    name = mount.get("from")
                    found |= (
                        self._other(stage, name) if name else self._steps.churn.touching([source])
                    )
            return found
        if instruction.word == "ARG":
            names = {word.partition("=")[0] for word in instruction.words}
            return self._steps.churn.every if names & self._steps.changing else frozenset()
        return frozenset()

    def _other(self, stage: Stage, name: str) -> Commits:
        other = self._file.stage(name, before=stage.index)
        return self._end(other) if other else frozenset()

    def _advice(
        self, stage: Stage, before: Sequence[Instruction], run: Instruction
    ) -> Iterator[Advice]:
        copies = [x for x in before if x.word in ("COPY", "ADD") and x.flag("from") is None]
        if not copies or self._own(stage, run, {}):
            return
        script = Script(run)
        with_all = dict(self._stage(stage)).get(run, frozenset())
        for above in copies:
            first = self._needs(script, above, copies)
            if first is None:
                continue
            left = stage.instructions[: stage.instructions.index(above)]
            without = self._without(stage, left, first)
            share = self._share(with_all) - self._share(without)
            if share <= 0:
                return
            seconds = self._seconds(run)
            yield Advice(
                run=run,
                above=above,
                first=first,
                share=share,
                seconds=None if seconds is None else seconds * share,
            )
            return

    def _without(
        self, stage: Stage, left: Sequence[Instruction], first: tuple[str, ...]
    ) -> Commits:
        """Give the commits that make a RUN run again where only these instructions precede it."""
        shorter = replace(stage, instructions=tuple(left))
        steps = self._stage(shorter)
        self._ends.pop(stage.index, None)
        reference = next(self._file.uses(stage, self._steps.variables))
        below = self._file.earlier(stage, reference)
        seen = steps[-1][1] if steps else (self._end(below) if below else frozenset())
        return seen | (self._steps.churn.touching(first) if first else frozenset())

    def _needs(
        self, script: Script, above: Instruction, copies: Sequence[Instruction]
    ) -> tuple[str, ...] | None:
        """Give the files of the context that a RUN needs of what is copied; None: not sure."""
        after = copies[copies.index(above) :]
        installed = [*installing(script)]
        if installed and all(manager.system for manager, _ in installed):
            return () if _is_plain(script, after) else None
        found: list[str] = []
        for command in script.commands:
            if command.name in _HARMLESS:
                continue
            needed = manifests_of(command, self._steps.churn.context)
            if needed is None:
                return None
            found += needed.names
        return tuple(dict.fromkeys(found)) if found else None

    def _share(self, commits: Commits) -> float:
        return len(commits) / max(1, len(self._steps.churn.changes))

    def _seconds(self, instruction: Instruction) -> float | None:
        return self._steps.seconds.get(step_text(instruction))


def step_text(instruction: Instruction) -> str:
    """Give what a step is known by in metrics.json."""
    return text.shortened(text.one_line(str(instruction)))


def sources_of(instruction: Instruction, values: Mapping[str, str]) -> tuple[str, ...]:
    """Give what COPY or ADD takes from the context, from its root on."""
    words = instruction.array if instruction.array is not None else instruction.words
    given = [instruction.expand(word, values) for word in words[:-1]]
    return tuple(
        posixpath.normpath(f"/{unquote(word)}")
        for word in given
        if not REMOTE.match(word) and not word.startswith("<<")
    )


def _is_plain(script: Script, copies: Sequence[Instruction]) -> bool:
    """Tell whether an installation names nothing that was copied before it."""
    systems = {name for manager in MANAGERS if manager.system for name in manager.commands}
    if any(each.name not in systems | _HARMLESS for each in script.commands):
        return False
    if "<" in script.text.replace("<<", "") or "$(" in script.text or "`" in script.text:
        return False
    places = [unquote(each.words[-1]).rstrip("/") for each in copies if each.words]
    words = [word for command in script.commands for word in command.operands]
    # A path below a destination, or one that may be: ./x.deb from WORKDIR.
    return not any(
        word.startswith(("./", "../")) or any(place and word.startswith(place) for place in places)
        for word in words
        if "/" in word and not word.startswith(("/var/lib/apt", "/var/cache"))
    )
