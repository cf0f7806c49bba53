"""Which files of its contexts a Containerfile takes, in the stages that a target needs.

What can't be told here counts as everything: a base whose ONBUILD triggers are not known, odd
quoting, a variable of an ONBUILD that both ENV and ARG set (engines and BuildKit differ there).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from podbuild.build.inputs.containerfile import Containerfile, Stage
from podbuild.build.inputs.copying import SymbolicMode, symbolic_mode
from podbuild.build.inputs.instructions import Instruction
from podbuild.build.inputs.mounts import shows_files
from podbuild.build.inputs.patterns import BadPatternError, check_syntax
from podbuild.build.inputs.reach import EVERYTHING, Wanted, WantedFiles, has_wildcard
from podbuild.build.inputs.selected import Selecting
from podbuild.errors import ConfigError

MAIN = ""  # the name of the build context itself
_FETCHED = re.compile(r"https?://|git@|git://|ssh://")
_HEREDOC = re.compile(r"\d*<<")


@dataclass(frozen=True)
class BaseFacts:
    """What an image hands on to those built on it, as far as it tells which files they take."""

    environment: Mapping[str, str] = field(default_factory=dict)
    triggers: tuple[str, ...] = ()  # ONBUILD
    doubtful: frozenset[str] = frozenset()  # variables that it sets, to nobody knows what
    arguments: Mapping[str, str] = field(default_factory=dict)  # what later stages see of ARG
    user: str = ""


# Gives what is known of an image that FROM names: as written, its value, its platform as written.
FactsOf = Callable[[str, str, str | None], BaseFacts | None]


class _UnknownError(Exception):
    """What an instruction takes can't be told."""


def wanted_by(
    parsed: Containerfile,
    target: str | None,
    variables: Mapping[str, str],
    folders: Collection[str],
    facts_of: FactsOf,
) -> WantedFiles:
    """Give what the target takes of the build context, MAIN, and of the folders by their names."""
    walk = _StageWalk(parsed, variables, frozenset(folders), facts_of)
    stages = parsed.needed(target, variables)
    known = None not in [walk.stage(stage) for stage in stages]
    taken = [each for found in walk.lines.values() for each in found]
    return WantedFiles(
        places={
            name: tuple(dict.fromkeys(each for place, each in taken if place == name))
            if known
            else EVERYTHING
            for name in (MAIN, *folders)
        },
        lines={line: tuple(found) for line, found in walk.lines.items()},
        triggered=frozenset(walk.strange),
    )


def selecting_in(
    parsed: Containerfile,
    target: str | None,
    variables: Mapping[str, str],
    folders: Collection[str],
    facts_of: FactsOf,
) -> tuple[Selecting, ...]:
    """Give the copies with --exclude or wildcards in the stages that the target needs.

    Raises ConfigError, with file and line, for an ONBUILD of a base that takes from a stage which
    nothing else needs: the engine would not have built it.
    """
    walk = _StageWalk(parsed, variables, frozenset(folders), facts_of)
    needed = parsed.needed(target, variables)
    for stage in needed:
        walk.stage(stage)
    for stage, name in walk.triggered:
        other = parsed.stage(name, before=stage.index)
        if other is not None and other not in needed:
            raise ConfigError(
                f"{stage.start.place}: an ONBUILD of {stage.base} takes from the stage {name}, "
                "which the engine would not have built",
                hint=f"RUN --mount=from={name},target=/mnt true in this stage lets it be built",
            )
    return tuple(walk.selecting)


def handed_on(
    parsed: Containerfile, target: str | None, variables: Mapping[str, str], facts_of: FactsOf
) -> BaseFacts | None:
    """Give what the target's image hands on; None where that is not known."""
    walk = _StageWalk(parsed, variables, frozenset(), facts_of)
    found = walk.stage(parsed.needed(target, variables)[-1])
    return found and replace(found, arguments={})


def triggers_hide_inputs(
    parsed: Containerfile, target: str | None, variables: Mapping[str, str], facts_of: FactsOf
) -> bool:
    """Tell whether an ONBUILD of a base asks for build arguments, or mounts files.

    The engine's layer cache takes what triggers do for the same step whatever these are.
    """
    walk = _StageWalk(parsed, variables, frozenset(), facts_of)
    for stage in parsed.needed(target, variables):
        walk.stage(stage)
    return walk.asking


def with_bases(
    parsed: Containerfile, target: str | None, variables: Mapping[str, str], facts_of: FactsOf
) -> Containerfile:
    """Give the Containerfile with ENV and USER of bases from outside, where they are known."""
    walk = _StageWalk(parsed, variables, frozenset(), facts_of)
    environments, users = {}, {}
    for stage in parsed.needed(target, variables):
        facts = None if walk.below(stage) else walk.base(stage)
        if facts is not None:
            users[stage.index] = facts.user
        if facts is not None and not facts.doubtful:
            environments[stage.index] = facts.environment
    return replace(parsed, environments=environments, users=users)


class _All(set[str]):
    """Holds every name."""

    def __contains__(self, _name: object) -> bool:
        return True


class _Scope(dict[str, str]):
    """The variables that an instruction sees; asking for a doubtful one raises _UnknownError."""

    def __init__(self, base: BaseFacts, undeclared: Collection[str]) -> None:
        super().__init__({**base.arguments, **base.environment})
        self.user = base.user
        self.environment = dict(base.environment)
        self.unsure = {*base.doubtful}  # what ENV has set to nobody knows what
        self.undeclared = {*undeclared} - base.arguments.keys()
        self.doubtful: set[str] = {*self.undeclared, *base.doubtful} - base.environment.keys()

    def __contains__(self, name: object) -> bool:
        self._be_sure(name)
        return super().__contains__(name)

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        self._be_sure(name)
        return super().get(name, default)

    def _be_sure(self, name: object) -> None:
        if name in self.doubtful:
            raise _UnknownError

    def declare(self, name: str, value: str | None) -> None:
        """Take an ARG; None where its value can't be told."""
        if value is None:
            self.doubtful.add(name)
        else:
            self.doubtful.discard(name)
            self[name] = value

    def set(self, name: str, value: str | None) -> None:
        """Take an ENV; None where its value can't be told."""
        for names in (self.doubtful, self.unsure):
            (names.add if value is None else names.discard)(name)
        if value is None:
            self.environment.pop(name, None)
        else:
            self[name] = self.environment[name] = value

    def handed_on(self, triggers: Collection[str]) -> BaseFacts:
        """Give what those that build on it get."""
        doubtful = self.unsure | (self.doubtful - self.undeclared)
        sure = {name: value for name, value in self.items() if name not in doubtful}
        arguments = {name: sure[name] for name in sure.keys() - self.environment.keys()}
        return BaseFacts(self.environment, (*triggers,), frozenset(doubtful), arguments, self.user)


class _StageWalk:
    def __init__(
        self,
        parsed: Containerfile,
        variables: Mapping[str, str],
        folders: frozenset[str],
        facts_of: FactsOf,
    ) -> None:
        self.parsed = parsed
        self.variables = variables
        self.outer = parsed.global_values(variables)
        self.folders = folders
        self.facts_of = facts_of
        self.lines: dict[int, list[tuple[str, Wanted]]] = {}  # by the instruction's
        self.strange: set[int] = set()
        self.selecting: list[Selecting] = []
        self.triggered: list[tuple[Stage, str]] = []  # what triggers take from what
        self.asking = False  # whether triggers ask for arguments, or mount files
        self._stages: dict[int, BaseFacts | None] = {}

    def stage(self, stage: Stage) -> BaseFacts | None:
        """Take up a stage and those it starts from; give what it hands on."""
        if stage.index not in self._stages:
            found = self._stages[stage.index] = self._stage(stage)
            if found is None:
                self.strange.add(stage.index)
        return self._stages[stage.index]

    def _stage(self, stage: Stage) -> BaseFacts | None:
        below = self.below(stage)
        facts = self.stage(below) if below else self.base(stage)
        if facts is None:
            scope = _Scope(BaseFacts(), ())
            scope.doubtful = _All()
            for instruction in stage.instructions:
                self._copy(instruction, scope)
            return None
        scope = _Scope(facts, self.outer)
        for text in facts.triggers:
            self.strange.add(stage.index)
            trigger = _trigger(stage.start, text)
            if trigger is None:
                return None
            self._take(trigger, scope, trigger=True)
            self.asking |= trigger.word == "ARG" or any(map(shows_files, trigger.mounts))
            taken = (trigger.flag("from"), *(each.get("from") for each in trigger.mounts))
            self.triggered += [(stage, name) for name in taken if name]
            if trigger.word == "ARG":
                declared = {word.partition("=")[0] for word in trigger.words}
                scope.doubtful |= declared & scope.environment.keys()
        triggers = []
        for instruction in stage.instructions:
            if instruction.word == "ONBUILD":
                triggers.append(instruction.text)
                if instruction.heredocs:
                    return None
            self._take(instruction, scope)
        return scope.handed_on(triggers)

    def below(self, stage: Stage) -> Stage | None:
        """Give the stage that a stage starts from; None where it starts from an image."""
        value = stage.start.expand(stage.base, self.outer)
        return self.parsed.stage(value, before=stage.index)

    def base(self, stage: Stage) -> BaseFacts | None:
        """Give what the image that a stage starts from hands on; None where it is not known."""
        value = stage.start.expand(stage.base, self.outer)
        platform = stage.platform
        written = None if platform is None else stage.start.expand(platform, self.outer)
        return self.facts_of(stage.base, value, written)

    def _take(self, instruction: Instruction, scope: _Scope, *, trigger: bool = False) -> None:
        match instruction.word:
            case "ARG" | "ENV":
                self._assign(instruction, scope)
            case "COPY" | "ADD":
                self._copy(instruction, scope, trigger=trigger)
            case "RUN":
                for mount in instruction.mounts:
                    self._mount(instruction, mount)
            case "USER":
                scope.user = _expanded(instruction, instruction.text.strip(), scope) or ""
            case _:
                pass

    def _assign(self, instruction: Instruction, scope: _Scope) -> None:
        words = instruction.words
        if instruction.word == "ENV" and words and "=" not in words[0]:
            rest = instruction.text[len(words[0]) :].strip()
            scope.set(_name(instruction, words[0], scope), _expanded(instruction, rest, scope))
            return
        for word in words:
            name, equals, default = word.partition("=")
            name = _name(instruction, name, scope) if instruction.word == "ENV" else name
            if instruction.word == "ENV":
                scope.set(name, _expanded(instruction, default, scope))
            elif name in self.variables:
                scope.declare(name, self.variables[name])
            elif equals:
                scope.declare(name, _expanded(instruction, default, scope))
            elif name in self.outer:
                scope.declare(name, self.outer[name])

    def _copy(self, instruction: Instruction, scope: _Scope, *, trigger: bool = False) -> None:
        if instruction.word not in ("COPY", "ADD"):
            return
        place = MAIN
        written = instruction.flag("from")
        if written is not None:
            try:
                place = instruction.expand(written, scope)
            except _UnknownError:
                self._everything(instruction, self.folders)
                if instruction.all_flags("exclude"):
                    self.selecting.append(Selecting(instruction, None, None, trigger))
                return
        context = place if place in self.folders or written is None else None
        taken = self._sources(instruction, scope)
        wild = context is not None and taken is not None and any(map(has_wildcard, taken.sources))
        mode = self._mode(instruction, scope)
        if wild or mode or instruction.all_flags("exclude"):
            fetched = self._fetched(instruction, scope) if taken is not None else {}
            selecting = Selecting(instruction, context, taken, trigger, mode, fetched)
            self.selecting.append(selecting)
        if context is not None and taken is None:
            self._everything(instruction, (context,))
        elif context is not None and taken is not None and taken.sources:
            self._add(instruction, context, taken)

    def _mode(self, instruction: Instruction, scope: _Scope) -> SymbolicMode | None:
        try:
            return symbolic_mode(instruction, scope)
        except _UnknownError:
            return None

    def _sources(self, instruction: Instruction, scope: _Scope) -> Wanted | None:
        """Give what is taken; None where that can't be told."""
        try:
            return self._sure_sources(instruction, scope)
        except _UnknownError:
            return None

    def _fetched(self, instruction: Instruction, scope: _Scope) -> Mapping[int, str]:
        """Give what ADD fetches, by the number of its word; heredocs do not count."""
        words = (instruction.words if instruction.array is None else instruction.array)[:-1]
        if instruction.word != "ADD":
            return {}
        others = (each for each in words if not (_HEREDOC.match(each) and instruction.heredocs))
        urls = enumerate(instruction.expand(each, scope) for each in others)
        return {number: url for number, url in urls if _FETCHED.match(url)}

    def _sure_sources(self, instruction: Instruction, scope: _Scope) -> Wanted:
        words = instruction.words if instruction.array is None else instruction.array
        found = []
        for word in words[:-1]:
            if _HEREDOC.match(word) and instruction.heredocs:
                continue
            source = instruction.expand(word, scope)
            if instruction.word == "ADD" and _FETCHED.match(source):
                continue
            if not source or instruction.escape in word or "\\" in source or " " in source:
                raise _UnknownError
            try:
                check_syntax(source)
            except BadPatternError:
                raise _UnknownError from None
            found.append(source)
        names = {flag.partition("=")[0]: flag.partition("=")[2] for flag in instruction.flags}
        parents = names.get("--parents", "false").lower() not in ("false", "0")
        patterns = [instruction.expand(each, scope) for each in instruction.all_flags("exclude")]
        return Wanted(sources=tuple(found), excludes=tuple(patterns), parents=parents)

    def _mount(self, instruction: Instruction, options: Mapping[str, str]) -> None:
        if any("$" in each or '"' in each for each in options.values()):
            self._everything(instruction, (MAIN, *self.folders))
        elif place := options.get("from"):
            if place in self.folders:
                self._mounted(instruction, place, options)
        elif options.get("type", "bind") == "bind":
            self._mounted(instruction, MAIN, options)

    def _mounted(self, instruction: Instruction, place: str, options: Mapping[str, str]) -> None:
        source = options.get("source") or "/"
        self._add(instruction, place, Wanted(sources=(source,), mounted=True))

    def _everything(self, instruction: Instruction, places: Collection[str]) -> None:
        for place in places:
            for each in EVERYTHING:
                self._add(instruction, place, each)

    def _add(self, instruction: Instruction, place: str, wanted: Wanted) -> None:
        self.lines.setdefault(instruction.line, []).append((place, wanted))


def _name(instruction: Instruction, written: str, scope: _Scope) -> str:
    return _expanded(instruction, written, scope) or written


def _expanded(instruction: Instruction, text: str, scope: _Scope) -> str | None:
    try:
        return instruction.expand(text, scope)
    except _UnknownError:
        return None


def _trigger(start: Instruction, text: str) -> Instruction | None:
    """Read what ONBUILD keeps; None for a heredoc, whose text is elsewhere."""
    if "<<" in text:
        return None
    return Instruction(
        line=start.line, last=start.line, word="ONBUILD", text=text, where=start.where
    ).trigger
