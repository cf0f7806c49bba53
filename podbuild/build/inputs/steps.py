"""What each step of a build rests on, by a key: what rests on the same need not be done again.

An engine with a layer cache of its own still does every cached COPY anew, to know what it brings:
seven starts of its program for each. Where the image is at hand that a stage came to after some of
its steps, the engine's copy of the file starts from that image instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from podbuild.build.inputs.across import name_across
from podbuild.build.inputs.containerfile import SCRATCH, Containerfile, Stage, read_containerfile
from podbuild.build.inputs.hash import hashed
from podbuild.build.inputs.instructions import Instruction
from podbuild.build.inputs.merged import reaching
from podbuild.build.inputs.mounts import IN_MEMORY, shows_files
from podbuild.build.inputs.reach import Wanted
from podbuild.build.inputs.recipe import Recipe
from podbuild.build.inputs.rewrite import Rewritten
from podbuild.errors import ConfigError
from podbuild.system.records import JSONValue

_SCHEMA = 1
# What has its effect in the image's files and configuration alone, so that one can start from it.
_HELD = frozenset(
    ("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "LABEL", "RUN", "SHELL", "USER")
) | {"WORKDIR"}
_NUMBERED = re.compile(r"\bpodbuild\.([a-z]+)\.\d+")  # contexts that are called by a line

# Gives the digest of what is taken of a context of files; None where that can't be told.
ContentOf = Callable[[str, Wanted], str | None]


@dataclass(frozen=True, kw_only=True)
class Step:
    """What an engine does for one instruction of the file, or for several that it does in one.

    `given` is what it is given for those that are `written`: one entry of the history each. The
    `key` is that of all up to here, empty where it can't be told what this rests on; `shown` is
    that of what mounts show alone, empty where nothing is, None where that can't be told.
    """

    written: tuple[Instruction, ...]
    given: tuple[Instruction, ...]
    key: str
    shown: str | None = ""


@dataclass(frozen=True, kw_only=True)
class StageSteps:
    """One stage that the target needs, as the engine's copy has it.

    `index` is its number there and `start` its FROM. It starts from the stage `below` (a number
    of the file), or from `base`: the engine's name of an image, empty for none. `reaches`: its
    history is the image's.
    """

    stage: Stage
    index: int
    start: Instruction
    reaches: bool
    below: int | None
    base: str | None
    steps: tuple[Step, ...]

    @property
    def key(self) -> str:
        """Give the key of the whole stage; empty where it has none."""
        return self.steps[-1].key if self.steps else ""


def engine_steps(
    recipe: Recipe,
    parsed: Containerfile,
    found: Rewritten,
    images: Mapping[str, str],
    content: ContentOf,
) -> tuple[StageSteps, ...]:
    """Give the stages that a target needs, in order, with what their steps rest on.

    `parsed` is what `found` was written from, `images` say which image of the engine's storage a
    name of this project means. Nothing is given where the copy has not the steps that it should.
    """
    try:
        copy = read_containerfile(found.text)
    except ConfigError:
        return ()
    reader = _StageReader(recipe, parsed, found, copy, images, content)
    stages = parsed.needed(recipe.target, recipe.variables)
    read = [reader.stage(stage) for stage in stages]
    return tuple(each for each in read if each) if all(read) else ()


@dataclass(frozen=True)
class _StageReader:
    recipe: Recipe
    parsed: Containerfile
    found: Rewritten
    copy: Containerfile
    images: Mapping[str, str]
    content: ContentOf
    known: dict[int, StageSteps] = field(default_factory=dict)  # by the number in the copy

    @cached_property
    def reaching(self) -> frozenset[int]:
        return reaching(self.parsed, self.recipe.target, self.recipe.variables)

    @cached_property
    def changing(self) -> frozenset[int]:
        """Give the lines that fetch what may change."""
        recipe = self.recipe
        found = self.parsed.unpinned(recipe.variables, target=recipe.target)
        return frozenset(each.line for each in found)

    def stage(self, stage: Stage) -> StageSteps | None:
        """Read one stage, those before it first; None where the copy has other steps."""
        index = stage.index + sum(each <= stage.index for each in self.found.added)
        given = self.copy.stages[index] if index < len(self.copy.stages) else None
        groups = _grouped(stage, given, self.found) if given else None
        if given is None or groups is None:
            return None
        use = next(self.parsed.uses(stage, self.recipe.variables))
        below = self.parsed.earlier(stage, use)
        base = None
        if below is None:
            names = (name_across(stage.index), use.text, use.value)
            base = "" if use.value == SCRATCH else next(filter(None, map(self._image, names)), None)
        start = self._start(stage, below, base, use.platform)
        steps = tuple(self._keyed(groups, index, start))
        self.known[index] = StageSteps(
            stage=stage,
            index=index,
            start=given.start,
            reaches=stage.index in self.reaching,
            below=None if below is None else below.index,
            base=base,
            steps=steps,
        )
        return self.known[index]

    def _start(
        self, stage: Stage, below: Stage | None, base: str | None, platform: str | None
    ) -> str:
        """Give the key that a stage begins with; empty where it can't be told."""
        recipe = self.recipe
        under = base
        if below is not None:
            found = next(each for each in self.known.values() if each.stage is below)
            under = found.key or (None if found.steps else self._start_of(found))
        if under is None or stage.index in recipe.files.triggered:
            return ""
        return hashed(
            {
                "schema": _SCHEMA,
                "base": under,
                "inner": stage.index not in self.reaching,
                "platform": [str(recipe.job.platform), platform or ""],
                "network": [recipe.network.value, recipe.isolation.value],
                "instant": recipe.instant,
                "secrets": [*sorted(secret.id for secret in recipe.secrets)],
                "ssh": [*sorted(entry.partition("=")[0] for entry in recipe.ssh)],
            }
        )

    def _start_of(self, found: StageSteps) -> str | None:
        """Give what a stage without steps stands for."""
        if found.below is None:
            return found.base
        below = next(each for each in self.known.values() if each.stage.index == found.below)
        return below.key or (None if below.steps else self._start_of(below))

    def _keyed(
        self,
        groups: tuple[tuple[tuple[Instruction, ...], tuple[Instruction, ...]], ...],
        index: int,
        key: str,
    ) -> Iterator[Step]:
        for written, given in groups:
            taken = self._taken(written, given, index)
            rests = self._rests_on(written, given, taken) if key else None
            key = "" if rests is None else hashed([key, rests])
            yield Step(written=written, given=given, key=key, shown=_shown(given, taken))

    def _taken(
        self, written: tuple[Instruction, ...], given: tuple[Instruction, ...], index: int
    ) -> list[JSONValue] | None:
        """Give what is copied or mounted from elsewhere; None where that can't be told."""
        lines = self.recipe.files.lines
        sources = [self._source(name, index) for each in given for name in _sources(each)]
        files = [self.content(*taken) for each in written for taken in lines.get(each.line, ())]
        return None if None in sources or None in files else [sources, [*files]]

    def _rests_on(
        self,
        written: tuple[Instruction, ...],
        given: tuple[Instruction, ...],
        taken: list[JSONValue] | None,
    ) -> JSONValue:
        """Give what a step's result depends on besides the one before; None: can't be told."""
        if taken is None or any(each.line in self.changing for each in written):
            return None
        if any(each.word not in _HELD for each in given):
            return None
        return [*taken, *([*_text(each), *self._values(each)] for each in given)]

    def _values(self, given: Instruction) -> Iterator[JSONValue]:
        """Give what arguments are worth that are told from outside the file."""
        if given.word == "ARG":
            for word in given.words:
                name = word.partition("=")[0]
                yield [name, self.recipe.variables.get(name)]

    def _source(self, name: str, index: int) -> JSONValue:
        """Give what an instruction takes files from; None where that can't be told."""
        if "$" in name:
            return None
        stage = self.copy.stage(name, before=index)
        if stage is not None:
            found = self.known.get(stage.index)
            return (found and found.key) or None
        if name in self.found.contexts:
            return [dict(self.found.contexts[name]), name in self.found.programs]
        if name.startswith(IN_MEMORY):
            return "a secret"  # whatever it is, as in any builder
        if name in self.recipe.extras:
            return "files"  # which are among those that the line takes
        return self._image(name)

    def _image(self, name: str) -> str | None:
        return self._images.get(name)

    @cached_property
    def _images(self) -> Mapping[str, str]:
        found = {**self.recipe.pins, **self.images}
        for use in self.parsed.outside(self.recipe.variables, target=self.recipe.target):
            if use.text in found:
                found.setdefault(use.value, found[use.text])
        return found


def _grouped(
    stage: Stage, given: Stage, found: Rewritten
) -> tuple[tuple[tuple[Instruction, ...], tuple[Instruction, ...]], ...] | None:
    """Give what is written and what stands for it; None where the copy has other steps."""
    groups: list[tuple[list[Instruction], tuple[Instruction, ...]]] = []
    left = list(given.instructions)
    for each in (stage.start, *stage.instructions):
        count = 1 + found.more.count(each.line) - found.fewer.count(each.line)
        count -= each is stage.start  # FROM itself
        taken, left = left[:count], left[count:]
        if len(taken) < count:
            return None
        if taken:
            groups.append(([each], tuple(taken)))
        elif each is not stage.start and groups:
            groups[-1][0].append(each)
        elif each is not stage.start:
            return None
    return None if left else tuple((tuple(written), lines) for written, lines in groups)


def _shown(given: tuple[Instruction, ...], taken: list[JSONValue] | None) -> str | None:
    """Give the key of what mounts show, which is not in the text that engines compare."""
    if not any(shows_files(mount) for each in given for mount in each.mounts):
        return ""
    return None if taken is None else hashed(taken)


def _sources(given: Instruction) -> Iterator[str]:
    if given.word in ("COPY", "ADD") and (name := given.flag("from")):
        yield name
    for mount in given.mounts:
        if any("$" in each for each in mount.values()):
            yield "$"
        elif name := mount.get("from"):
            yield name


def _text(given: Instruction) -> Iterator[JSONValue]:
    yield given.word
    yield [_NUMBERED.sub(r"podbuild.\1", flag) for flag in given.flags]
    yield given.text
    for each in given.heredocs:
        yield [each.name, each.body, each.literal]
