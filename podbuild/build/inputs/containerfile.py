"""A Containerfile's stages: what each starts from, copies from and fetches, and what it sees."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

from podbuild.build.inputs.copying import may_change
from podbuild.build.inputs.instructions import Instruction, read_instructions
from podbuild.errors import ConfigError
from podbuild.oci.names import Platform

SCRATCH = "scratch"
TARGET_STAGE = "TARGETSTAGE"
_SIDES = ("TARGET", "BUILD")
_PARTS = ("PLATFORM", "OS", "ARCH", "VARIANT")
SET_BY_BUILDERS = (TARGET_STAGE, *(f"{side}{part}" for side in _SIDES for part in _PARTS))
# What engines give an image from scratch to find programs by.
USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Use(Enum):
    """How an instruction uses another image."""

    FROM = "FROM"
    COPY = "COPY --from"
    MOUNT = "RUN --mount=from"


@dataclass(frozen=True, kw_only=True)
class OutsideImage:
    """An image that comes from outside the Containerfile.

    `text` is what stands there: the key by which engines let it be replaced. `value` is what it
    means with these build arguments. `platform` is as written, with values put in.
    """

    text: str
    value: str
    line: int
    use: Use
    platform: str | None = None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One FROM and what follows it."""

    index: int
    name: str | None
    base: str  # as written
    platform: str | None  # as written
    start: Instruction  # FROM itself
    instructions: tuple[Instruction, ...]

    @property
    def line(self) -> int:
        """Give the line of FROM."""
        return self.start.line


@dataclass(frozen=True)
class Variables:
    """The variables at one place, and those of them that stay in the image: its ENV."""

    values: Mapping[str, str]
    environment: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Containerfile:
    """A Containerfile: the arguments before its first FROM, and its stages.

    `environments` and `users` hold ENV and USER of outside bases by the index of the stage, where
    they are known; `where` names the file in errors.
    """

    arguments: tuple[Instruction, ...]
    stages: tuple[Stage, ...]
    environments: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    users: Mapping[int, str] = field(default_factory=dict)
    where: str = field(default="Containerfile", compare=False)

    @property
    def instructions(self) -> Iterator[Instruction]:
        """Give every instruction after the first FROM, in order."""
        return (instruction for stage in self.stages for instruction in stage.instructions)

    def stage(self, name: str, *, before: int | None = None) -> Stage | None:
        """Find a stage by name or number, of those before a number; later stages win."""
        stages = self.stages[:before]
        for stage in reversed(stages):
            if stage.name is not None and stage.name.lower() == name.lower():
                return stage
        number = int(name) if name.isascii() and name.isdecimal() else len(stages)
        return stages[number] if number < len(stages) else None

    def needed(self, target: str | None, variables: Mapping[str, str]) -> tuple[Stage, ...]:
        """Give the stages that the target (the last one where it is None) is made from.

        Raises ConfigError when there is no such stage.
        """
        key = target, frozenset(variables.items())
        if key not in self._found:  # asked for a dozen times for each image
            self._found[key] = self._find_needed(target, variables)
        return self._found[key]

    @cached_property
    def _found(self) -> dict[tuple[str | None, frozenset[tuple[str, str]]], tuple[Stage, ...]]:
        return {}

    def _find_needed(self, target: str | None, variables: Mapping[str, str]) -> tuple[Stage, ...]:
        last = self.stages[-1] if target is None else self.stage(target)
        if last is None:
            known = ", ".join(stage.name for stage in self.stages if stage.name) or "none is named"
            raise ConfigError(f"{self.where}: no stage {target!r}", hint=f"stages: {known}")
        found: dict[int, Stage] = {}
        waiting = [last]
        while waiting:
            stage = waiting.pop()
            if stage.index in found:
                continue
            found[stage.index] = stage
            uses = self.uses(stage, variables)
            waiting.extend(s for s in (self.earlier(stage, use) for use in uses) if s)
        return tuple(found[index] for index in sorted(found))

    def outside(
        self, variables: Mapping[str, str], *, target: str | None = None
    ) -> tuple[OutsideImage, ...]:
        """Give the images from outside that the target needs, each text once.

        `variables` are the build arguments and the platform's own (`platform_arguments`).
        """
        found: dict[str, OutsideImage] = {}
        for stage in self.needed(target, variables):
            for reference in self.uses(stage, variables):
                if reference.value != SCRATCH and self.earlier(stage, reference) is None:
                    found.setdefault(reference.text, reference)
        return tuple(found.values())

    def global_values(self, variables: Mapping[str, str]) -> Mapping[str, str]:
        """Give what the arguments before the first FROM are worth."""
        known = dict(variables)
        for instruction in self.arguments:
            known |= _assigned(instruction, known, variables)
        return known

    def declares(self, name: str) -> bool:
        """Tell whether an ARG asks for a value."""
        every = (*self.arguments, *self.instructions)
        words = (word for each in every if each.word == "ARG" for word in each.words)
        return any(word.partition("=")[0] == name for word in words)

    def mounts_context(self, target: str | None, variables: Mapping[str, str]) -> bool:
        """Tell whether a RUN looks into the build context itself."""
        return any(
            mount.get("type", "bind") == "bind" and not mount.get("from")
            for stage in self.needed(target, variables)
            for instruction, _ in self.walk(stage, variables)
            for mount in instruction.mounts
        )

    def unpinned(
        self, variables: Mapping[str, str], *, target: str | None = None
    ) -> tuple[Instruction, ...]:
        """Give the ADD instructions whose bytes may change: a URL, or git without a commit.

        ONBUILD ADD counts too: it does so in every image that builds on this one.
        """
        return tuple(
            instruction
            for stage in self.needed(target, variables)
            for instruction, known in self.walk(stage, variables)
            if may_change(instruction.trigger or instruction, known)
        )

    def final_base(self, target: str | None, variables: Mapping[str, str]) -> OutsideImage:
        """Give the image that the target's stage, or the stages below it, starts from."""
        return self.base_of(self.needed(target, variables)[-1], variables)

    def base_of(self, stage: Stage, variables: Mapping[str, str]) -> OutsideImage:
        """Give the image that a stage, or the stages below it, starts from."""
        while below := self.stage_below(stage, variables):
            stage = below
        return next(self.uses(stage, variables))

    def adds_nothing(self, target: str | None) -> bool:
        """Tell whether the target's stage is its base and no more."""
        return not self.needed(target, {})[-1].instructions

    def final_instructions(
        self, target: str | None, variables: Mapping[str, str]
    ) -> tuple[Instruction, ...]:
        """Give what the target's stage is made with, in order, stages below it first."""
        stage = self.needed(target, variables)[-1]
        return (*self.below(stage, variables), *stage.instructions)

    def below(self, stage: Stage, variables: Mapping[str, str]) -> tuple[Instruction, ...]:
        """Give the instructions of the stages that a stage starts from, in order."""
        found: tuple[Instruction, ...] = ()
        while below := self.stage_below(stage, variables):
            found, stage = (*below.instructions, *found), below
        return found

    def stage_below(self, stage: Stage, variables: Mapping[str, str]) -> Stage | None:
        """Give the stage that a stage starts from; None where it starts from an image."""
        value = stage.start.expand(stage.base, self.global_values(variables))
        return self.stage(value, before=stage.index)

    def label_keys(self, target: str | None, variables: Mapping[str, str]) -> frozenset[str]:
        """Give the keys that LABEL sets in the target's stage and those that it starts from."""
        found: set[str] = set()
        stage: Stage | None = self.needed(target, variables)[-1]
        while stage is not None:
            for instruction, known in self.walk(stage, variables):
                if instruction.word == "LABEL":
                    found |= _label_keys(instruction, known)
            stage = self.stage_below(stage, variables)
        return frozenset(found)

    def uses(self, stage: Stage, variables: Mapping[str, str]) -> Iterator[OutsideImage]:
        """Give what a stage starts from, first of all, and copies or mounts from."""
        known = self.global_values(variables)
        yield OutsideImage(
            text=stage.base,
            value=stage.start.expand(stage.base, known),
            line=stage.line,
            use=Use.FROM,
            platform=stage.start.expand(stage.platform, known) if stage.platform else None,
        )
        for instruction, values in self.walk(stage, variables):
            for text, use in _named_images(instruction):
                yield OutsideImage(
                    text=text,
                    value=instruction.expand(text, values),
                    line=instruction.line,
                    use=use,
                )

    def walk(
        self, stage: Stage, variables: Mapping[str, str]
    ) -> Iterator[tuple[Instruction, Mapping[str, str]]]:
        """Give a stage's instructions with the variables that each of them sees."""
        for found, before, _ in self.steps(stage, variables):
            yield found.with_mount_values(before.values), before.values

    def steps(
        self, stage: Stage, variables: Mapping[str, str]
    ) -> Iterator[tuple[Instruction, Variables, Variables]]:
        """Give a stage's instructions with what is seen before and after each of them.

        What stands last holds, be it ARG or ENV.
        """
        outer = self.global_values(variables)
        seen = self.inherited(stage, variables)
        for instruction in stage.instructions:
            before = seen
            if instruction.word == "ARG":
                found = _assigned(instruction, seen.values, variables, outer)
                seen = Variables({**seen.values, **found}, seen.environment)
            elif instruction.word == "ENV":
                found = _assigned(instruction, seen.values, {})
                seen = Variables({**seen.values, **found}, {**seen.environment, **found})
            yield instruction, before, seen

    def inherited(self, stage: Stage, variables: Mapping[str, str]) -> Variables:
        """Give what a stage begins with: ENV of what it starts from, and arguments of stages."""
        below = self.stage_below(stage, variables)
        if below is None:
            known = dict(self.environments.get(stage.index, {}))
            return Variables(known, known)
        seen = self.at_the_end(below, variables)
        return Variables({**seen.values, **seen.environment}, seen.environment)

    def at_the_end(self, stage: Stage, variables: Mapping[str, str]) -> Variables:
        """Give what a stage leaves."""
        steps = tuple(self.steps(stage, variables))
        return steps[-1][2] if steps else self.inherited(stage, variables)

    def earlier(self, stage: Stage, reference: OutsideImage) -> Stage | None:
        """Give the stage that a reference means; only those before can be meant."""
        return self.stage(reference.value, before=stage.index)


def platform_arguments(
    target: Platform, build: Platform, stage: str | None = None
) -> Mapping[str, str]:
    """Give the arguments that builders set by themselves: of the platforms, and the target's name.

    Engines know no TARGETSTAGE; it is handed over where it is asked for.
    """
    return {TARGET_STAGE: stage or "default"} | {
        f"{side}{key}": value
        for side, platform in (("TARGET", target), ("BUILD", build))
        for key, value in (
            ("PLATFORM", str(platform)),
            ("OS", platform.os),
            ("ARCH", platform.architecture),
            ("VARIANT", platform.variant),
        )
    }


def written_platform(text: str) -> Platform:
    """Read what FROM --platform says; raises ConfigError.

    >>> written_platform("arm64")
    Platform(os='linux', architecture='arm64', variant='')
    """
    text = text.lower()
    return Platform.parse(text if "/" in text else f"linux/{text}")


def _assigned(
    instruction: Instruction,
    known: Mapping[str, str],
    given: Mapping[str, str],
    outer: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Give what ARG or ENV sets: given values win over defaults, which may use what is known."""
    found: dict[str, str] = {}
    words = instruction.words
    if instruction.word == "ENV" and words and "=" not in words[0]:
        rest = instruction.text[len(words[0]) :].strip()
        return {instruction.expand(words[0], known): instruction.expand(rest, known)}
    for word in words:
        name, equals, default = word.partition("=")
        values = {**known, **found} if instruction.word == "ARG" else known
        name = name if instruction.word == "ARG" else instruction.expand(name, values)
        value = given.get(name, instruction.expand(default, values) if equals else None)
        if value is None and outer is not None:
            value = outer.get(name)
        if value is not None:
            found[name] = value
    return found


def _label_keys(instruction: Instruction, known: Mapping[str, str]) -> set[str]:
    words = instruction.words
    named = words if words and "=" in words[0] else words[:1]
    return {instruction.expand(word.partition("=")[0], known) for word in named}


def _named_images(instruction: Instruction) -> Iterator[tuple[str, Use]]:
    if instruction.word in ("COPY", "ADD") and (name := instruction.flag("from")):
        yield name, Use.COPY
    yield from ((name, Use.MOUNT) for each in instruction.mounts if (name := each.get("from")))


def read_containerfile(text: str, *, where: str = "Containerfile") -> Containerfile:
    r"""Read a Containerfile; `where` names it in errors.

    Raises ConfigError, with the line, for a FROM without an image, an instruction before the
    first FROM, a heredoc without its end, and a file without any FROM.

    >>> read_containerfile("FROM debian:trixie AS a\nFROM a").outside({})[0].value
    'debian:trixie'
    """
    _, instructions = read_instructions(text, where=where)
    starts = [at for at, found in enumerate(instructions) if found.word == "FROM"]
    before = instructions[: starts[0]] if starts else instructions
    if wrong := next((each for each in before if each.word != "ARG"), None):
        raise ConfigError(
            f"{where}:{wrong.line}: {wrong.word[:40]} before the first FROM",
            hint="only ARG may stand there",
        )
    if not starts:
        raise ConfigError(f"{where}: no FROM instruction", hint="start with FROM IMAGE")
    ends = [*starts[1:], len(instructions)]
    stages = tuple(
        _stage(index, instructions[start], instructions[start + 1 : end], where)
        for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    )
    return Containerfile(arguments=before, stages=stages, where=where)


def _stage(
    index: int, start: Instruction, instructions: Collection[Instruction], where: str
) -> Stage:
    match start.words:
        case [base]:
            name = None
        case [base, word, name] if word.upper() == "AS":
            pass
        case _:
            raise ConfigError(
                f"{where}:{start.line}: bad FROM",
                hint="write it as FROM IMAGE or FROM IMAGE AS NAME",
            )
    return Stage(
        index=index,
        name=name,
        base=base,
        platform=start.flag("platform"),
        start=start,
        instructions=tuple(instructions),
    )
