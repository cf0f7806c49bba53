"""What an engine prints while it builds: kept for the screen, counted, and timed step by step.

`STEP i/k: TEXT` begins a step, `--> HASH` ends it, or else what comes next (buildah's
stage_executor.go). Lines count when they arrive: engines do not hold them back in a pipe.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from podbuild.build.inputs.instructions import Instruction
from podbuild.build.model import StepTime

_BLOCK_LINES = 2000  # of a job's output that are shown; its log has all
_CACHED = re.compile(r"--> Using cache (?P<image>[0-9a-f]{64})?")
_PULLED = re.compile(r"--> Cache pulled from remote ")
_ENDED = re.compile(r"--> [0-9a-f]{6,64}$")
_COMMIT = re.compile(r"(?:\[\d+/\d+\] )?COMMIT\b")
_STEP = re.compile(
    r"(?:\[(?P<stage>\d+)/\d+\] )?STEP (?P<step>\d+)/\d+: (?P<text>(?P<word>\w+).*)", re.DOTALL
)


@dataclass
class _Step:
    found: re.Match[str]
    began: float
    ended: float | None = None  # a RUN may print such a line too: the last one counts
    over: bool = False
    cached: bool = False
    pulled: bool = False

    def finish(self, now: float) -> None:
        """Take the step for over."""
        if not self.over:
            self.ended, self.over = self.ended or now, True

    def seconds(self, now: float) -> float:
        """Give how long it took; one that is not over has taken until now."""
        return (self.ended or now) - self.began


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a job printed: to its log at once, the last lines kept for the screen."""

    write: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_BLOCK_LINES))
    _steps: list[_Step] = field(default_factory=list)
    _images: list[str] = field(default_factory=list)

    def take(self, line: str) -> None:
        """Take one line."""
        self.write(line)
        self.lines.append(line)
        if step := _STEP.match(line):
            self._end()
            self._steps.append(_Step(step, self.clock()))
        elif _COMMIT.match(line):
            self._end()
        elif self._steps and line.startswith("--> "):
            self._mark(self._steps[-1], line)

    def begin(self) -> None:
        """Forget what an attempt that failed has counted."""
        self._steps.clear()
        self._images.clear()

    @property
    def last(self) -> re.Match[str] | None:
        """Give the `STEP` line of the last step that began."""
        return self._steps[-1].found if self._steps else None

    @property
    def steps(self) -> int:
        """Give how many steps began."""
        return len(self._steps)

    @property
    def cached_images(self) -> tuple[str, ...]:
        """Give the images of steps that the engine says it took from its cache."""
        return tuple(dict.fromkeys(self._images))

    @property
    def cached(self) -> int:
        """Give how many of them the engine took from its cache."""
        return sum(each.cached for each in self._steps)

    def times(self, written: Callable[[re.Match[str]], Instruction | None]) -> tuple[StepTime, ...]:
        """Give what each instruction cost; several steps of one instruction are one.

        `written` gives the instruction that a step stands for; None: no file has it, such as a
        trigger of the base.
        """
        found: dict[str | int, StepTime] = {}
        now = self.clock()
        for step in self._steps:
            instruction = written(step.found)
            key = instruction.place if instruction else id(step)
            known = found.get(key)
            found[key] = StepTime(
                line=instruction.line if instruction else None,
                text=str(instruction) if instruction else step.found["text"],
                seconds=step.seconds(now) + (known.seconds if known else 0.0),
                cached=step.cached and (known is None or known.cached),
                pulled=step.pulled or (known is not None and known.pulled),
            )
        return tuple(found.values())

    def _end(self) -> None:
        for step in self._steps[-1:]:
            step.finish(self.clock())

    def _mark(self, step: _Step, line: str) -> None:
        if found := _CACHED.match(line):
            step.cached = True
            self._images.extend(filter(None, [found["image"]]))
        elif _PULLED.match(line):
            step.pulled = True
        elif _ENDED.match(line) and not step.over:
            step.ended = self.clock()
