"""A copy of a Containerfile that means to the engine what the file means to BuildKit.

Instructions stay on their lines. What the engine reads in another way is written so that it
can't: texts of heredocs lie in build contexts of their own, with their variables put in.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from podbuild.build.inputs.arguments import arguments_with_values, lines_of_arguments
from podbuild.build.inputs.containerfile import Containerfile, Stage
from podbuild.build.inputs.copying import symbolic_mode, unpacked, with_octal
from podbuild.build.inputs.instructions import Instruction, lines_of, parse_heredoc, unquote
from podbuild.build.inputs.linked import linked_destinations, with_destination
from podbuild.build.inputs.merged import merged_steps, reaching
from podbuild.build.inputs.mounted import (
    SecretFile,
    SecretVariable,
    bound_secrets,
    with_known_mounts,
)
from podbuild.build.inputs.mounts import mount_options, written_mount
from podbuild.build.inputs.selected import SelectedCopies, as_selected, for_engines
from podbuild.build.inputs.values import (
    NOTHING,
    OPERATED,
    argument_names,
    engine_line,
    filled_flags,
    hides_values,
    plain_for_engines,
    run_for_engines,
    text_lines,
    text_with_values,
    with_values,
)
from podbuild.build.inputs.worded import unread_words
from podbuild.build.inputs.workdirs import EMPTY, unmade_folders
from podbuild.errors import ConfigError

_BLANKS = re.compile(r"[\t\v\f\r ]+")
_NAME = re.compile(r"[\w.-]+")
_OF_TEXTS, _MOUNTED = 0o644, "/run/podbuild-heredoc"  # mode of a heredoc's file, and its place
_SCRIPT = "/run/secrets/podbuild-env"


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """The copy, the files of contexts that it needs (context -> name -> text), and more.

    `programs` are the contexts whose files can be run. `target` is what the target is called,
    `more` are the lines of instructions, once for each step beyond their first, `fewer` of those
    that have none, `added` the stages before which the engine has one more. `uncached`: its layer
    cache would take steps for the same that are not.
    """

    text: str
    target: str | None
    contexts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    programs: frozenset[str] = frozenset()
    variables: tuple[SecretVariable, ...] = ()
    more: tuple[int, ...] = ()
    files: tuple[SecretFile, ...] = ()
    added: tuple[int, ...] = ()
    fewer: tuple[int, ...] = ()
    uncached: bool = False


def rewrite_containerfile(
    parsed: Containerfile,
    text: str,
    *,
    target: str | None,
    variables: Mapping[str, str],
    secrets: Collection[str] = (),
    selected: Mapping[int, SelectedCopies] | None = None,
    large: Collection[str] = (),
    across: Mapping[int, str] | None = None,
) -> Rewritten:
    """Give the copy for a target; `secrets` are the ids that there are, `large` those in files.

    `selected` are the copies that the engine is given for some, by line. `across` says what
    stages start from, by their index, where the name that is written means another platform's.
    Raises ConfigError with file and line for what can't be made to mean the same.
    """
    for each in unread_words(parsed, target, variables):
        raise each.error
    writer = _Rewriter(parsed, variables, secrets, selected or {})
    writer.large = large
    writer.across = across or {}
    kept = reaching(parsed, target, variables)
    for stage in parsed.needed(target, variables):
        writer.stage(stage)
        if stage.index not in kept:
            writer.merge(stage)
    wanted = None if target is None else parsed.stage(target)
    return Rewritten(
        text=writer.applied(text),
        target=target if wanted is None else writer.name_of(wanted),
        contexts=writer.contexts,
        programs=frozenset(writer.programs),
        variables=tuple(dict.fromkeys(writer.variables)),
        more=tuple(writer.more),
        files=tuple(writer.files),
        added=tuple(writer.added),
        fewer=tuple(writer.fewer),
        uncached=writer.uncached,
    )


class _Rewriter:
    """Collects what replaces which lines."""

    def __init__(
        self,
        parsed: Containerfile,
        variables: Mapping[str, str],
        secrets: Collection[str],
        selected: Mapping[int, SelectedCopies],
    ) -> None:
        self.replaced: dict[int, tuple[int, list[str]]] = {}
        self.contexts: dict[str, Mapping[str, str]] = {}
        self.programs: list[str] = []
        self.more: list[int] = []
        self.added: list[int] = []
        self.fewer: list[int] = []
        self.uncached = False
        self.inserted: dict[int, list[str]] = {}  # by the line that they stand before
        self.across: Mapping[int, str] = {}
        self.variables: list[SecretVariable] = []
        self.files: list[SecretFile] = []
        self.large: Collection[str] = ()
        self._parsed = parsed
        self._values = variables
        self._secrets = secrets
        self._selected = selected
        self._arguments = argument_names(parsed)

    def applied(self, text: str) -> str:
        """Give the file's text with what is written anew."""
        lines = lines_of(text)
        for at, (last, new) in self.replaced.items():
            lines[at - 1 : last] = [*new, *[""] * (last - at + 1 - len(new))]
        escape = self._parsed.stages[0].start.escape
        if escape != "\\":  # the engine knows it on the first line alone
            lines[next(at for at, line in enumerate(lines) if "escape" in line.lower())] = "#"
            lines[0] = f"# escape={escape}"
        for at in sorted(self.inserted, reverse=True):
            lines[at - 1 : at - 1] = self.inserted[at]
        return "".join(f"{line}\n" for line in lines)

    def stage(self, stage: Stage) -> None:
        """Write one stage."""
        self._from(stage)
        self._folders(stage)
        written = {each.line: each for each in stage.instructions}
        linked = linked_destinations(self._parsed, stage, self._values)
        for instruction, known in self._parsed.walk(stage, self._values):
            new = self._stage_names(stage, unpacked(instruction), known)
            if new.word in ("COPY", "ADD"):
                new = with_destination(new, linked.get(instruction.line))
                self._copy(stage, instruction, new, known)
            elif new.word == "RUN":
                self._run(written[new.line], new.with_mount_values(known, all_known=True))
            elif (new := plain_for_engines(new, known, self._arguments)) != instruction:
                self._put(instruction, [engine_line(new)])
            _, lines = self.replaced.get(instruction.line, (0, [engine_line(instruction)]))
            lines = [*lines, *self.inserted.get(instruction.last + 1, ())]
            self.uncached |= hides_values(instruction, lines, known, self._arguments)
        for each in arguments_with_values(self._parsed, stage, self._values):
            self._put(each, [engine_line(each)])
        for each, line in lines_of_arguments(self._parsed, stage, self._values):
            self._insert(each, each.last + 1, line)

    def merge(self, stage: Stage) -> None:
        """Let one step do what several instructions say that stay as they are written."""
        changed = self.replaced.keys() | self.inserted.keys()
        for first, rest in merged_steps(stage, frozenset(changed)):
            self._put(first, [engine_line(first)])
            for each in rest:
                self._put(each, [])
                self.fewer.append(each.line)

    def name_of(self, stage: Stage) -> str:
        """Give what the engine, which compares letter by letter, calls a stage."""
        number = stage.index + sum(each <= stage.index for each in self.added)
        name = (stage.name or str(number)).lower()
        later = self._parsed.stages[stage.index + 1 :]
        again = any((each.name or "").lower() == name for each in later)
        return f"{name}.podbuild{stage.index}" if again else name

    def _put(self, instruction: Instruction, new: list[str]) -> None:
        self.replaced[instruction.line] = (instruction.last, new)

    def _from(self, stage: Stage) -> None:
        reference = next(self._parsed.uses(stage, self._values))
        below = self._parsed.earlier(stage, reference)
        base = stage.base if below is None else self.name_of(below)
        if below is None and OPERATED.search(base):
            base = reference.value
        base = self.across.get(stage.index, base)
        name = stage.name and self.name_of(stage)
        written = stage.start.flags if stage.platform else ()  # an empty one says nothing
        flags = tuple(each if "$" in each else each.lower() for each in written)
        if (base, name, flags) != (stage.base, stage.name, stage.start.flags):
            text = f"{base} AS {name}" if name else base
            start = replace(stage.start, flags=flags, text=text)
            self._put(stage.start, [engine_line(start)])

    def _folders(self, stage: Stage) -> None:
        """Make the folders of WORKDIR that the engine would not make."""
        for instruction, steps in unmade_folders(self._parsed, stage, self._values):
            self.contexts[EMPTY] = {}
            self._insert(instruction, instruction.line, *steps.before)
            self._insert(instruction, instruction.last + 1, *steps.after)

    def _insert(self, instruction: Instruction, at: int, *new: str) -> None:
        for each in new:
            self.inserted.setdefault(at, []).append(each)
            self.more.append(instruction.line)

    def _copy(
        self, stage: Stage, instruction: Instruction, new: Instruction, known: Mapping[str, str]
    ) -> None:
        """Copy the texts of heredocs from a context of their own, what is selected beside them."""
        new = replace(new, flags=filled_flags(new, known, self._arguments))
        new, texts = self._texts(new, known) if new.heredocs else (new, None)
        copies = [new] if (new.array or new.words)[1:] else []
        if copies and (found := self._selected.get(instruction.line)):
            copies = self._selecting(stage, new, found)
        copies = [replace(each, text=with_values(each, known, self._arguments)) for each in copies]
        copies += [texts] if texts else []
        lines = [engine_line(for_engines(each, known)) for each in copies]
        if lines == [engine_line(instruction)]:
            return
        self._put(instruction, lines[:1] or [f"ARG {NOTHING}"])
        self.inserted.setdefault(instruction.last + 1, [])[:0] = lines[1:]
        self.more += [instruction.line] * (len(lines) - 1)

    def _selecting(
        self, stage: Stage, instruction: Instruction, found: SelectedCopies
    ) -> list[Instruction]:
        """Give the copies that stand for one; from a stage, what links led to is copied first."""
        flags = [flag for flag in instruction.flags if not flag.startswith("--exclude=")]
        word = instruction.word
        if found.changed:
            dropped = ("--chmod=", "--from=")
            flags = [flag for flag in flags if not flag.startswith(dropped)]
            flags.append(f"--from={found.changed.name(instruction.line)}")
            word = "COPY"
        elif found.mode is not None:
            flags = with_octal(flags, found.mode)
        if found.places:
            name = f"podbuild.copy.{instruction.line}"
            origin = next(flag for flag in flags if flag.startswith("--from="))
            copies = (f"COPY {origin} /{source} {place}" for source, place in found.places)
            self.inserted.setdefault(stage.line, []).extend((f"FROM scratch AS {name}", *copies))
            self.added.append(stage.index)
            flags = [f"--from={name}" if flag == origin else flag for flag in flags]
        new = replace(instruction, word=word, flags=tuple(flags))
        return as_selected(new, found)

    def _stage_names(
        self, stage: Stage, instruction: Instruction, known: Mapping[str, str]
    ) -> Instruction:
        """Give the instruction with each stage's own name."""
        flags = []
        for flag in instruction.flags:
            name, equals, value = flag.partition("=")
            if name == "--from":
                value = self._stage_name(stage, instruction, value, known)
            elif name == "--mount":
                value = self._from_stage(stage, instruction, value, known)
            if value or not equals:
                flags.append(f"{name}{equals}{value}")
        return replace(instruction, flags=tuple(flags))

    def _from_stage(
        self, stage: Stage, instruction: Instruction, mount: str, known: Mapping[str, str]
    ) -> str:
        options = mount_options(unquote(mount))
        written = options.get("from", "")
        name = self._stage_name(stage, instruction, written, known) if written else ""
        return mount if name == written else written_mount({**options, "from": name})

    def _stage_name(
        self, stage: Stage, instruction: Instruction, text: str, known: Mapping[str, str]
    ) -> str:
        found = self._parsed.stage(instruction.expand(text, known), before=stage.index)
        return text if found is None else self.name_of(found)

    def _texts(
        self, instruction: Instruction, known: Mapping[str, str]
    ) -> tuple[Instruction, Instruction]:
        """Give the instruction without its heredocs, and the copy of their texts."""
        *sources, destination = _BLANKS.split(instruction.text.strip())
        names = [found[0] for each in sources if (found := parse_heredoc(each))]
        others = [each for each in sources if not parse_heredoc(each)]
        texts = {each.name: each for each in instruction.heredocs}
        for name in names:
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"{instruction.place}: a file can't be called {name[:40]!r} here",
                    hint="name the heredoc by letters, digits, `.`, `_` and `-`",
                )
        context = f"podbuild.heredoc.{instruction.line}"
        self.contexts[context] = {
            name: text_with_values(instruction, texts[name].body, known)
            if not texts[name].literal
            else texts[name].body
            for name in names
        }
        kept = [each for each in instruction.flags if each.startswith(("--ch", "--link"))]
        kept = [each for each in kept if not each.startswith("--checksum")]
        if mode := symbolic_mode(instruction, known):
            kept = with_octal(kept, mode.apply(_OF_TEXTS, is_folder=False))
        copy = replace(
            instruction,
            word="COPY",
            flags=(f"--from={context}", *kept),
            text=" ".join((*dict.fromkeys(names), destination)),
            heredocs=(),
        )
        return replace(instruction, text=" ".join((*others, destination)), heredocs=()), copy

    def _run(self, instruction: Instruction, new: Instruction) -> None:
        new, setting = self._secret_variables(new)
        new, files = bound_secrets(new, self.large)
        self.files += files
        new = with_known_mounts(new)
        first = instruction.heredocs[0] if instruction.heredocs else None
        alone = len(instruction.heredocs) == 1 and parse_heredoc(new.text.strip()) is not None
        program = first if first and alone and first.body.startswith("#!") else None
        if program and program.dedented:  # to BuildKit a text for the shell
            new = replace(new, heredocs=(replace(program, body=f" {program.body}"),))
        elif program:
            context = f"podbuild.heredoc.{instruction.line}"
            self.contexts[context] = {program.name: program.body}
            self.programs.append(context)
            flags = (*new.flags, f"--mount=type=bind,from={context},target={_MOUNTED}")
            new = replace(new, flags=flags, text=f"{_MOUNTED}/{program.name}", heredocs=())
        if setting and new.array is not None:
            raise ConfigError(
                f"{new.place}: only a shell can have a secret in a variable here",
                hint="write the command without [ ], or read the secret's file",
            )
        if any("\r" in each.body for each in new.heredocs):
            new, alone = self._in_a_file(new, alone=alone), False
        documents = [line for each in new.heredocs for line in text_lines(each)]
        if setting and alone and new.heredocs:
            documents[0] = f"{setting}{documents[0]}"
        elif setting:
            new = replace(new, text=f"{setting}{new.text}")
        new = run_for_engines(new)
        if new != instruction:
            self._put(instruction, [engine_line(new), *documents])

    def _in_a_file(self, instruction: Instruction, *, alone: bool) -> Instruction:
        """Let a shell read from a file what the engine would read without carriage returns."""
        bodies = instruction.heredocs
        documents = [line for each in bodies for line in text_lines(each)]
        script = bodies[0].body if alone else "\n".join((instruction.text, *documents))
        context = f"podbuild.heredoc.{instruction.line}"
        self.contexts[context] = {"script": f"{script}\n"}
        mount = f"--mount=type=bind,from={context},target={_MOUNTED}"
        return replace(
            instruction,
            flags=(*instruction.flags, mount),
            text=f". {_MOUNTED}/script",
            heredocs=(),
        )

    def _secret_variables(self, instruction: Instruction) -> tuple[Instruction, str]:
        """Give secrets in variables to a shell that reads them from files."""
        flags, setting = [], ""
        for flag in instruction.flags:
            name, _, value = flag.partition("=")
            options = mount_options(unquote(value))
            variable = options.get("env")
            if name != "--mount" or options.get("type") != "secret" or not variable:
                flags.append(flag)
                continue
            secret = options.get("source") or options.get("id") or variable
            if secret not in self._secrets and options.get("required", "false") == "false":
                setting += f"export {variable}=; "  # empty, as for BuildKit
                continue
            found = SecretVariable(secret=secret, variable=variable)
            self.variables.append(found)
            place = f"{_SCRIPT}{len(flags)}"
            flags.append(f"--mount=type=secret,id={found.id},target={place},mode=0444")
            setting += f". {place}; "
            if target := options.get("target"):
                flags.append(f"--mount=type=secret,id={secret},target={target}")
        return replace(instruction, flags=tuple(flags)), setting
