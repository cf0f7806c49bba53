"""An engine's copy of a Containerfile that tells its layer cache what steps rest on.

It leaves out what an earlier build has done: a stage goes on from the image that it came to then.
What is published is the same, byte for byte: that image has the layers, the configuration and the
history of the steps that are left out. The text of a RUN says what its mounts show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from podbuild.build.inputs.containerfile import read_containerfile
from podbuild.build.inputs.instructions import Instruction, lines_of
from podbuild.build.inputs.mounted import with_shown
from podbuild.build.inputs.mounts import shows_files
from podbuild.build.inputs.steps import StageSteps, Step
from podbuild.build.inputs.values import engine_line

_MARK = "podbuild_stage_"
_WORTH_IT = ("ADD", "COPY", "RUN")


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Where a stage goes on: from an `image` that its first `steps` came to.

    `arguments` are what RUN and others still need of the ARG lines among these.
    """

    stage: StageSteps
    steps: int
    image: str
    arguments: tuple[str, ...] = ()

    @property
    def left_out(self) -> tuple[Step, ...]:
        """Give the steps that the engine is not given."""
        return self.stage.steps[: self.steps]

    @property
    def name(self) -> str:
        """Give what the image is called in the copy."""
        return f"podbuild.stage.{self.stage.index}"


@dataclass(frozen=True, kw_only=True)
class Shortened:
    """The copy as the engine is given it, and what it leaves out.

    `images` are those that stages go on from, by name. `skipped` says by the stage's number in
    the copy how many steps later, counted in the file, each step is that follows FROM. `done`
    are the instructions of the file that need not be done, `more` the lines of those that have
    one step more. `marks` are the names by which the image of a stage is found whose history
    reaches no other, by the stage's number in the copy. `uncached`: it can't be told what mounts
    show, and the engine's layer cache would not look.
    """

    text: str
    stages: tuple[StageSteps, ...]
    cuts: Mapping[int, Cut] = field(default_factory=dict)
    marks: Mapping[int, str] = field(default_factory=dict)
    done: tuple[Instruction, ...] = ()
    more: tuple[int, ...] = ()
    uncached: bool = False

    @property
    def images(self) -> Mapping[str, str]:
        """Give the images that stages go on from, by their names in the copy."""
        return {cut.name: cut.image for cut in self.cuts.values()}

    @property
    def used(self) -> Mapping[str, str]:
        """Give the same images by the keys of the steps that came to them."""
        return {cut.left_out[-1].key: cut.image for cut in self.cuts.values()}

    @property
    def skipped(self) -> Mapping[int, int]:
        """Give by how many each later step of a stage is further on in the file."""
        return {at: _steps_in(cut.left_out) - bool(cut.arguments) for at, cut in self.cuts.items()}


# Gives the image that a step with this key came to, if it is there.
ImageOf = Callable[[str], str | None]


def shortened(
    text: str,
    target: str | None,
    variables: Mapping[str, str],
    stages: tuple[StageSteps, ...],
    image_of: ImageOf | None,
) -> Shortened:
    """Give the copy without what `image_of` gives an image for, by the key of the last such step.

    `target` is what the target is called in the copy. Stages whose image can't be found by the
    history of another one end with a mark; without `image_of` nobody will look for it.
    """
    cuts = _Cutter(stages, image_of).cuts() if image_of else {}
    marks = dict(_marks(stages, cuts)) if image_of else {}
    by_index = {each.index: each for each in stages}
    lines = [[line] for line in lines_of(text)]
    told = [_tell_shown(lines, each) for stage in stages for each in stage.steps]
    for index, mark in marks.items():
        lines[by_index[index].steps[-1].given[-1].last - 1].append(f"ARG {mark}=1")
    for cut in cuts.values():
        _leave_out(lines, cut)
    written = "".join(f"{line}\n" for each in lines for line in each)
    needed = {each.index for each in read_containerfile(written).needed(target, variables)}
    return Shortened(
        text=written,
        stages=stages,
        cuts={index: cut for index, cut in cuts.items() if index in needed},
        marks={index: mark for index, mark in marks.items() if index in needed},
        done=tuple(_done(stages, cuts, needed)),
        more=tuple(by_index[index].steps[-1].written[-1].line for index in marks),
        uncached=not all(told),
    )


class _Cutter:
    """Finds where stages can go on from images that are there."""

    def __init__(self, stages: Sequence[StageSteps], image_of: ImageOf) -> None:
        self._stages = stages
        self._by_number = {each.stage.index: each for each in stages}
        self._image_of = image_of
        self._used_later: set[int] = set()  # stages whose arguments are used in later ones

    def cuts(self) -> Mapping[int, Cut]:
        """Give the cuts by the stages' numbers in the copy."""
        found: dict[int, Cut] = {}
        for stage in reversed(self._stages):
            if cut := self._cut(stage):
                found[stage.index] = cut
            elif stage.reaches and stage.below is not None and self._uses(stage, stage.steps):
                self._used_later.add(stage.below)
        return found

    def _cut(self, stage: StageSteps) -> Cut | None:
        """Give the last place; the target keeps a step, so that the engine makes an image of it."""
        for count in range(len(stage.steps) - (stage is self._stages[-1]), 0, -1):
            done, rest = stage.steps[:count], stage.steps[count:]
            if not done[-1].key or not any(each.word in _WORTH_IT for each in _given(done)):
                continue
            arguments = self._arguments(stage, done, rest)
            if arguments is None or not _can_part(done, rest):
                continue
            if image := self._image_of(done[-1].key):
                return Cut(stage=stage, steps=count, image=image, arguments=arguments)
        return None

    def _arguments(
        self, stage: StageSteps, done: Sequence[Step], rest: Sequence[Step]
    ) -> tuple[str, ...] | None:
        """Give the arguments that must be named once more; None where that would be seen.

        They end with FROM, and naming them is an entry of the history.
        """
        if not self._uses(stage, rest):
            return ()
        if stage.reaches:
            return None if self._declares(stage, done) else ()
        declared = [word for each in _given(done) if each.word == "ARG" for word in each.words]
        names = [word.partition("=")[0] for word in declared]
        if len({*names}) < len(names) or any("$" in word for word in declared):
            return None
        return tuple(declared)

    def _uses(self, stage: StageSteps, steps: Sequence[Step]) -> bool:
        """Tell whether a stage's steps, or those of stages that start from it, use arguments."""
        later = stage.reaches and stage.stage.index in self._used_later
        return later or any(map(_sees_arguments, _given(steps)))

    def _declares(self, stage: StageSteps, steps: Sequence[Step]) -> bool:
        """Tell whether there are arguments, of stages below too, which engines hand on."""
        below = None if stage.below is None else self._by_number[stage.below]
        return any(each.word == "ARG" for each in _given(steps)) or (
            below is not None and self._declares(below, below.steps)
        )


def _can_part(done: Sequence[Step], rest: Sequence[Step]) -> bool:
    """Tell whether what follows means the same after FROM.

    ENTRYPOINT takes a CMD away that it finds in its base, and no other.
    """
    before = {each.word for each in _given(done)}
    after = {each.word for each in _given(rest)}
    return not ("CMD" in before and "ENTRYPOINT" in after) and not (
        "SHELL" in before and "RUN" in after
    )


def _sees_arguments(given: Instruction) -> bool:
    """Tell whether an instruction uses arguments; the history of an ARG names all before it."""
    flags = "".join(given.flags)
    return given.word in ("ARG", "RUN") or "$" in f"{flags}{given.text}"


def _marks(stages: Sequence[StageSteps], cuts: Mapping[int, Cut]) -> Iterator[tuple[int, str]]:
    started_from = {each.below for each in stages}
    for stage in stages:
        cut = cuts.get(stage.index)
        whole = cut is not None and cut.steps == len(stage.steps)
        if stage.key and not (stage.reaches or whole or stage.stage.index in started_from):
            yield stage.index, f"{_MARK}{stage.key.rpartition(':')[2][:32]}"


def _tell_shown(lines: list[list[str]], step: Step) -> bool:
    """Write what the mounts of a RUN show into its text; tell whether the layer cache sees it."""
    if not step.shown:
        return step.shown is not None
    for given in step.given:
        if not any(map(shows_files, given.mounts)):
            continue  # what stands beside the RUN, such as an ENV after it
        new = with_shown(given, step.shown.rpartition(":")[2][:32])
        if new is None:
            return False
        end = given.heredocs[0].start if given.heredocs else given.last
        lines[given.line - 1 : end] = [[engine_line(new)], *([] for _ in range(given.line, end))]
    return True


def _leave_out(lines: list[list[str]], cut: Cut) -> None:
    """Blank the lines of what is done: what follows keeps its own."""
    stage, start = cut.stage, cut.stage.start
    for each in _given(cut.left_out):
        for line in range(each.line, each.last + 1):
            lines[line - 1] = [""]
    for line in range(start.line, start.last + 1):
        lines[line - 1] = [""]
    name = start.words[1:]
    lines[start.line - 1] = [" ".join(("FROM", *start.flags, cut.name, *name))]
    if cut.arguments:
        first = stage.steps[0].given[0]
        lines[first.line - 1] = [f"ARG {' '.join(cut.arguments)}"]


def _done(
    stages: Sequence[StageSteps], cuts: Mapping[int, Cut], needed: set[int]
) -> Iterator[Instruction]:
    for stage in stages:
        cut = cuts.get(stage.index)
        steps = stage.steps if stage.index not in needed else cut.left_out if cut else ()
        for step in steps:
            yield from (each for each in step.written if each is not stage.stage.start)


def _given(steps: Sequence[Step]) -> Iterator[Instruction]:
    return (each for step in steps for each in step.given)


def _steps_in(steps: Sequence[Step]) -> int:
    return sum(len(each.given) for each in steps)


# Gives the entries of an image's history; None where the storage has not the image.
HistoryOf = Callable[[str], tuple[str, ...] | None]


def images_made(
    found: Shortened,
    ends: Mapping[int, str],
    history: HistoryOf,
    image: Callable[[str, int], str | None],
) -> Mapping[str, str]:
    """Give which image of the storage each step came to, by the step's key.

    `ends` are the images of stages, by their numbers in the copy: those with a mark, and the
    target's. `image` gives the one that an image was after so many entries of its history.
    """
    made: dict[str, str] = {}
    for index, end in ends.items():
        entries, stage = history(end), next(each for each in found.stages if each.index == index)
        expected = _expected(found, stage, history)
        if entries is None or expected is None or len(entries) != len(expected):
            continue
        if not all(_is_of(entry, word) for entry, (word, _) in zip(entries, expected, strict=True)):
            continue
        for length, (_, key) in enumerate(expected, start=1):
            if key and (there := image(end, length)):
                made[key] = there
    return made


def _expected(
    found: Shortened, stage: StageSteps, history: HistoryOf
) -> list[tuple[str, str]] | None:
    """Give the word of each entry of a stage's history, and the key that its image has."""
    cut = found.cuts.get(stage.index)
    start: list[tuple[str, str]] | None = [] if stage.base == "" else None
    if not cut and stage.below is not None:
        below = next(each for each in found.stages if each.stage.index == stage.below)
        start = _expected(found, below, history)
    elif image := cut.image if cut else stage.base:
        entries = history(image)
        start = None if entries is None else [("", "")] * len(entries)
    if start is None:
        return None
    if cut and cut.arguments:
        start.append(("ARG", ""))
    for step in stage.steps[cut.steps if cut else 0 :]:
        words = [each.word for each in step.given]
        start += [(word, "") for word in words[:-1]]
        start.append((words[-1], step.key))
    if stage.index in found.marks:
        start.append(("ARG", ""))
    return start


def _is_of(entry: str, word: str) -> bool:
    """Tell whether an entry of a history is one of an instruction, as engines write it."""
    if word == "RUN":
        return "#(nop)" not in entry
    return not word or f"#(nop) {word} " in entry
