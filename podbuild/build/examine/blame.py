"""From a layer back to the line of the Containerfile that made it.

An image's history names its steps in order; those of the base stand first. Steps that left a
layer correspond to the layers (image-spec, config.md, "history"). Engines write what is not RUN
behind `#(nop)`, RUN with its ARGs before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from podbuild.build.examine.soundness import Fault
from podbuild.build.inputs.arguments import variables_of
from podbuild.build.inputs.containerfile import (
    Stage,
    read_containerfile,
)
from podbuild.build.inputs.instructions import Instruction
from podbuild.build.inputs.lint import Finding, Level
from podbuild.build.inputs.readings import file_of
from podbuild.config.toml import read_source
from podbuild.errors import VerificationError
from podbuild.oci.names import Platform
from podbuild.plan.model import Job, Plan, PlannedImage
from podbuild.system.records import JSONValue

ALL_STEPS = "all steps"  # of an image with layers = false
_NOP = re.compile(r"#\(nop\)\s+(\w+)")
_LAYERED = frozenset({"RUN", "COPY", "ADD", "WORKDIR"})  # what may leave a layer


@dataclass(frozen=True, kw_only=True)
class Cause:
    """An instruction, by its place and text."""

    file: str
    line: int
    text: str


@dataclass(frozen=True)
class LayerCauses:
    """What made each layer, from the base up; the first `base` of them came with the base."""

    causes: tuple[Cause, ...]
    base: int


@dataclass(frozen=True)
class Steps:
    """The instructions that an image is made by, from its outside base up; FROM is among them."""

    instructions: tuple[Instruction, ...]

    def last(self, words: Sequence[str]) -> Cause:
        """Give the last instruction of these kinds; where there is none, the lowest FROM."""
        found = [each for each in self.instructions if each.word in words]
        return _cause(found[-1] if found else self.instructions[0])

    def final(self, words: Sequence[str]) -> Cause:
        """Give the last instruction of these kinds; where there is none, the last FROM."""
        found = any(each.word in words for each in self.instructions)
        return self.last(words if found else ("FROM",))

    def of_layer(self, config: Mapping[str, JSONValue], layer: int) -> Cause:
        """Give what made a layer: an instruction here, or the FROM that brought it.

        Where all steps make one layer, it is the last FROM that stands for them.
        """
        causes = self.layers(config).causes
        return causes[layer] if layer < len(causes) else self._from

    def layers(self, config: Mapping[str, JSONValue]) -> LayerCauses:
        """Give what made each layer, and which of them are the base's."""
        history = config.get("history")
        entries = [each for each in history if isinstance(each, dict)] if history else []  # type: ignore[union-attr]
        made = _matched(entries, self.instructions)
        layers = [at for at, each in enumerate(entries) if each.get("empty_layer") is not True]
        own = [at for at in made if made[at].word in _LAYERED]
        if any(at not in layers and made[at].word != "WORKDIR" for at in own):  # layers = false
            base = _cause(self.instructions[0])
            causes = (*[base] * (len(layers) - 1), replace(self._from, text=ALL_STEPS))
            return LayerCauses(causes[: len(layers)], max(0, len(layers) - 1))
        first = min(own, default=len(entries))
        return LayerCauses(
            tuple(self._layer(made.get(at)) for at in layers),
            sum(at < first for at in layers),
        )

    def _layer(self, found: Instruction | None) -> Cause:
        if found is None:
            return _cause(self.instructions[0])
        return _cause(found) if found.word in _LAYERED else self._from

    @property
    def _from(self) -> Cause:
        return self.last(("FROM",))


def fault_finding(fault: Fault, steps: Steps, config: Mapping[str, JSONValue], job: Job) -> Finding:
    """Give what is wrong with an image at the line that made it so."""
    if fault.layer is None and not fault.words:
        raise VerificationError(f"a fault without a place: {fault.message}")
    by_layer = fault.layer is not None
    cause = steps.of_layer(config, fault.layer or 0) if by_layer else steps.last(fault.words)
    return Finding(
        level=Level.ERROR,
        file=cause.file,
        line=cause.line,
        message=fault.message,
        hint=fault.hint,
        rule=fault.rule,
        image=job.image,
        platforms=(job.platform,),
        text=cause.text,
    )


def steps_of(plan: Plan, planned: PlannedImage, platform: Platform, build: Platform) -> Steps:
    """Give the steps of an image, those of this project's images below it included.

    Raises ConfigError for a Containerfile that can't be read.
    """
    return Steps(tuple(_steps(plan, planned, platform, build)))


def _steps(
    plan: Plan, planned: PlannedImage, platform: Platform, build: Platform
) -> Iterator[Instruction]:
    image = planned.image
    where = file_of(plan, planned)
    parsed = read_containerfile(read_source(image.containerfile), where=where)
    variables = variables_of(planned, parsed, platform, build)
    stage: Stage | None = parsed.needed(image.target, variables)[-1]
    chain: list[Stage] = []
    while stage is not None:
        chain.insert(0, stage)
        base = next(parsed.uses(stage, variables))
        stage = parsed.earlier(stage, base)
    base = next(parsed.uses(chain[0], variables))
    inner = next((image.inner[x] for x in (base.text, base.value) if x in image.inner), None)
    if inner is not None:
        yield from _steps(plan, plan.image(inner), platform, build)
    for each in chain:
        yield each.start
        yield from each.instructions


def _matched(
    entries: Sequence[Mapping[str, JSONValue]], instructions: Sequence[Instruction]
) -> Mapping[int, Instruction]:
    """Give the instruction of each history entry, from the end on.

    Some instructions leave no entry, and triggers of a base leave entries without instruction.
    """
    left = [each for each in instructions if each.word != "FROM"]
    found: dict[int, Instruction] = {}
    for at in range(len(entries) - 1, -1, -1):
        text = str(entries[at].get("created_by", ""))
        named = _NOP.search(text)
        word = named[1].upper() if named else "RUN"
        skipped = len(left)
        while skipped and left[skipped - 1].word != word and left[skipped - 1].word not in _LAYERED:
            skipped -= 1
        if skipped and left[skipped - 1].word == word:
            found[at] = left[skipped - 1]
            del left[skipped - 1 :]
    return found


def _cause(instruction: Instruction) -> Cause:
    return Cause(file=instruction.where, line=instruction.line, text=str(instruction))
