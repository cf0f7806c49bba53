"""What an engine would fail at in the middle, or do in another way without a word.

Pure but for the context, of which it is asked what is there. Flags and options are those of
BuildKit's Dockerfile reference (1.20), less what buildah (1.43) has not.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from podbuild.build.inputs.arguments import other_platform_arguments, refused_arguments
from podbuild.build.inputs.containerfile import (
    SCRATCH,
    Containerfile,
    OutsideImage,
    Stage,
    Use,
    written_platform,
)
from podbuild.build.inputs.copying import unfit_unpacking
from podbuild.build.inputs.instructions import REMOTE, Instruction
from podbuild.build.inputs.sources import Shown, unfit_mount_sources, unfit_sources
from podbuild.build.inputs.unfit import (
    SWITCHES,
    unfit_form,
    unfit_healthcheck,
    unfit_mounts,
    unfit_trigger,
    unfit_values,
)
from podbuild.config.choices import Isolation, RunNetwork
from podbuild.errors import ConfigError, PodbuildError
from podbuild.oci.names import Reference, is_registry

INSTRUCTIONS = (
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL"),
    *("MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
)
_FLAGS: Mapping[str, tuple[str, ...]] = {
    "FROM": ("platform",),
    "RUN": ("mount", "network"),
    "COPY": ("from", "chown", "chmod", "link", "parents", "exclude"),
    "ADD": ("chown", "chmod", "link", "checksum", "keep-git-dir", "exclude", "unpack"),
    "HEALTHCHECK": ("interval", "timeout", "start-period", "start-interval", "retries"),
}
_LINES = ("RUN", "CMD", "ENTRYPOINT")  # a list, or a line for a shell
_LISTS = ("COPY", "ADD", "VOLUME", "SHELL")
_NEVER_EMPTY = ("mount", "network")
_REPEATED = ("mount", "exclude")
_WITHOUT = {
    "security": "leave it out: RUN has no more rights than the user who builds",
    "device": "leave it out: RUN has no devices here",
}
_STAGE = re.compile(r"[a-z][a-z0-9_.-]*")
_VARIABLE = re.compile(r"\$\{?(\w+)")
_APART = ("none", "private")  # networks that are not the machine's


@dataclass(frozen=True, kw_only=True)
class Unbuildable:
    """One instruction that can't be built as it is written."""

    instruction: Instruction
    message: str
    hint: str

    @property
    def error(self) -> ConfigError:
        """Give it as an error that names file and line."""
        return ConfigError(f"{self.instruction.place}: {self.message}", hint=self.hint)


def refusals(
    parsed: Containerfile,
    *,
    target: str | None,
    variables: Mapping[str, str],
    given: Mapping[str, object],
    shown: Shown,
    told: Collection[str] = (),
    network: str = "host",
    own_network: bool = False,
) -> Iterator[Unbuildable]:
    """Give everything that can't be built; `given` holds the names of extra contexts.

    `told` are the names of the build arguments that a user sets.
    `network` is what RUN without --network sees; `own_network` tells whether the isolation can
    take the machine's from it.
    """
    for stage in parsed.stages:
        for instruction in (stage.start, *stage.instructions):
            yield from _form(instruction)
        yield from _stage_name(stage, given)
    yield from _bases(parsed, target, variables, given)
    yield from _another_platform(parsed, target, variables)
    yield from _arguments(parsed, target, variables, told)
    for each, message, hint in (
        () if own_network else refused_networks(parsed, target, variables, network)
    ):
        yield Unbuildable(instruction=each, message=message, hint=hint)
    for stage in parsed.needed(target, variables):
        yield from _stage(parsed, stage, variables, given)
        for instruction in refused_arguments(parsed, stage, variables):
            yield Unbuildable(
                instruction=instruction,
                message="a value of several lines after ENV of the same name is not handed over",
                hint="another name for one of them",
            )
        for instruction, known in parsed.walk(stage, variables):
            for message, hint in _unfit(instruction, known, shown):
                yield Unbuildable(instruction=instruction, message=message, hint=hint)


def _unfit(
    instruction: Instruction, known: Mapping[str, str], shown: Shown
) -> Iterator[tuple[str, str]]:
    yield from unfit_values(instruction, known)
    if reason := unfit_unpacking(instruction, known):
        yield reason
    yield from unfit_sources(instruction, known, shown)
    yield from unfit_mounts(instruction)
    yield from unfit_mount_sources(instruction, shown)


def _arguments(
    parsed: Containerfile, target: str | None, variables: Mapping[str, str], told: Collection[str]
) -> Iterator[Unbuildable]:
    for each, name, value in other_platform_arguments(parsed, target, variables, told):
        yield Unbuildable(
            instruction=each,
            message=f"{name} is {variables.get(name, '')!r} here, to BuildKit {value!r} always",
            hint=f"ARG {name}, without a value: builders know it",
        )


def _another_platform(
    parsed: Containerfile, target: str | None, variables: Mapping[str, str]
) -> Iterator[Unbuildable]:
    """Find a --platform by which the image would be another platform's than is ordered."""
    base = parsed.final_base(target, variables)
    if base.platform is None or base.value == SCRATCH:
        return
    start = next(stage.start for stage in parsed.stages if stage.line == base.line)
    try:
        wanted = written_platform(base.platform)
    except ConfigError:
        return  # which is found for every stage
    ordered = variables["TARGETPLATFORM"]
    if str(wanted) != ordered:
        yield Unbuildable(
            instruction=start,
            message=f"the image for {ordered} would be one for {wanted}",
            hint="leave --platform out in the stage that the image is made of",
        )


def _form(instruction: Instruction) -> Iterator[Unbuildable]:
    """Find words, flags and options that there are not."""

    def refuse(message: str, hint: str) -> Unbuildable:
        return Unbuildable(instruction=instruction, message=message, hint=hint)

    for each in (instruction, instruction.trigger):
        if each is None:
            continue
        if each.word not in INSTRUCTIONS:
            near = difflib.get_close_matches(each.word, INSTRUCTIONS, n=1)
            hint = f"did you mean {near[0]}?" if near else "a long line goes on after a \\"
            yield refuse(f"no instruction is called {each.word[:40]}", hint)
            return
        yield from (refuse(*found) for found in _flags(each))
        if each is not instruction:
            yield from (refuse(*found) for found in unfit_mounts(each))
        if each.word == "HEALTHCHECK" and (found := unfit_healthcheck(each)):
            yield refuse(*found)
        yield from (refuse(*found) for found in _list(each, kept=each is not instruction))
        yield from (refuse(*found) for found in unfit_form(each))
        if not each.text and each.word not in ("CMD", "ENTRYPOINT", "RUN"):
            yield refuse(f"{each.word} needs a value", f"write what {each.word} is to set")
        if each.word in ("COPY", "ADD") and len(each.array or each.words) == 1:
            yield refuse(f"{each.word} needs a source and a destination", f"{each.word} SOURCE /x")
    yield from (refuse(*found) for found in _trigger(instruction))


def _list(instruction: Instruction, *, kept: bool) -> Iterator[tuple[str, str]]:
    """Find lists that are none; what ONBUILD has `kept` is the engine's to read."""
    word = instruction.word
    if instruction.is_no_list_of_strings and word in (*_LINES, *_LISTS):
        yield f"{word}: a list holds strings only", 'each in double quotes: ["a", "1"]'
    elif instruction.begins_as_array and (word in _LISTS or (kept and word in _LINES)):
        yield f"{word}: something stands behind the list", "nothing after the last ]"
    elif word == "RUN" and instruction.array == ():
        yield "RUN of nothing", "name the program to run"
    elif word == "SHELL" and instruction.array is None:
        yield "SHELL takes a list", 'SHELL ["/bin/sh", "-c"]'


def _trigger(instruction: Instruction) -> Iterator[tuple[str, str]]:
    """Find what ONBUILD can't keep."""
    trigger = instruction.trigger
    if trigger and trigger.word in ("FROM", "MAINTAINER", "ONBUILD"):
        yield (f"ONBUILD can't keep {trigger.word}", "write it in the images that build on it")
    yield from unfit_trigger(trigger) if trigger else ()
    if trigger and instruction.heredocs:
        yield ("the engine's ONBUILD keeps no heredoc", "copy a script, and ONBUILD RUN it")


def _flags(instruction: Instruction) -> Iterator[tuple[str, str]]:
    known, said = _FLAGS.get(instruction.word, ()), set[str]()
    for flag in instruction.flags:
        name, equals, value = flag.removeprefix("--").partition("=")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = _WITHOUT.get(name) or (f"did you mean --{near[0]}?" if near else "leave it out")
            if instruction.word in ("CMD", "ENTRYPOINT") and not near:
                hint = f'the list keeps it: {instruction.word} ["{flag}", ...]'
            yield f"{instruction.word} has no --{name[:40]} here", hint
        elif name in SWITCHES and value.lower() not in ("true", "false") and equals:
            yield f"--{name}={value[:40]} is neither true nor false", f"--{name}"
        elif name not in SWITCHES and not value and (not equals or name in _NEVER_EMPTY):
            yield f"--{name} has no value", f"--{name}=..."
        elif name not in _REPEATED and name in said:
            yield f"--{name} stands there twice", "one of them"
        said.add(name)
    network = instruction.flag("network")
    if instruction.word == "RUN" and network and network not in ("default", "none", "host"):
        yield f"--network={network[:40]} is not known", "--network=default, none or host"


def _stage(
    parsed: Containerfile, stage: Stage, variables: Mapping[str, str], given: Mapping[str, object]
) -> Iterator[Unbuildable]:
    bases = {next(parsed.uses(each, variables)).value for each in parsed.stages}
    by_line = {each.line: each for each in (stage.start, *stage.instructions)}
    for reference in parsed.uses(stage, variables):
        value, instruction = reference.value, by_line[reference.line]
        is_from = reference.use is Use.FROM
        if reference.text in given or value in given or parsed.earlier(stage, reference):
            continue
        if value.isascii() and value.isdecimal() and not is_from:
            yield Unbuildable(
                instruction=instruction,
                message=f"there is no stage {value} before this one",
                hint=f"stages are counted from 0, this is number {stage.index}",
            )
        if value not in bases - {value if is_from else ""}:
            yield from _nearly_a_stage(parsed, reference, instruction)
        yield from _no_image(reference, instruction)


def _bases(
    parsed: Containerfile,
    target: str | None,
    variables: Mapping[str, str],
    given: Mapping[str, object],
) -> Iterator[Unbuildable]:
    """Find what FROM can't mean in stages that nothing needs: BuildKit reads it there, too."""
    needed = parsed.needed(target, variables)
    for stage in parsed.stages:
        reference = next(parsed.uses(stage, variables))
        known = {reference.text, reference.value} & given.keys()
        if stage not in needed and not known and not parsed.earlier(stage, reference):
            yield from _no_image(reference, stage.start)
        try:
            if reference.platform is not None:
                written_platform(reference.platform)
        except ConfigError as error:
            yield Unbuildable(instruction=stage.start, message=error.message, hint=error.hint)


def _no_image(reference: OutsideImage, instruction: Instruction) -> Iterator[Unbuildable]:
    """Find what no image can be called, for want of a variable's value or altogether."""
    if _may_be_a_name(reference.value):
        yield from _no_reference(reference, instruction)
        return
    unset = _VARIABLE.search(reference.text)
    hint = f"{unset[1]} has no value: a default for ARG, or build-args" if unset else ""
    yield Unbuildable(
        instruction=instruction,
        message=f"{reference.use.value} {reference.text[:60]}: {reference.value!r} names no image",
        hint=hint or "write IMAGE:TAG",
    )


def _stage_name(stage: Stage, given: Mapping[str, object]) -> Iterator[Unbuildable]:
    if stage.name is not None and not _STAGE.fullmatch(stage.name.lower()):
        yield Unbuildable(
            instruction=stage.start,
            message=f"no stage can be called {stage.name[:40]}",
            hint="letters, digits, `-`, `_` and `.`, a letter first, no quotes and no variables",
        )
    if stage.name and stage.name.lower() in {each.lower() for each in given}:
        yield Unbuildable(
            instruction=stage.start,
            message=f"the context {stage.name} would take the place of the stage of that name",
            hint="another name for one of them in [images.*] contexts or after AS",
        )


def _no_reference(reference: OutsideImage, instruction: Instruction) -> Iterator[Unbuildable]:
    """Find what no image can be called."""
    value = reference.value
    registry = "/" in value and is_registry(value.partition("/")[0])
    try:
        if value != SCRATCH:
            Reference.parse(value if registry else f"docker.io/library/{value}")
    except PodbuildError as error:
        what = f"{reference.use.value} {reference.text[:60]}: {error.message}"
        yield Unbuildable(instruction=instruction, message=what, hint=error.hint or "IMAGE:TAG")


def _may_be_a_name(value: str) -> bool:
    """Tell whether a reference is whole, as one with a variable that is worth nothing is not."""
    last = value.rpartition("/")[2]
    ends = (":", "@") if ":" in last else (":", "@", "-", "_", ".")
    return bool(last) and not value.endswith(ends) and value[0] != ":" and "::" not in value


def _nearly_a_stage(
    parsed: Containerfile, reference: OutsideImage, instruction: Instruction
) -> Iterator[Unbuildable]:
    value = reference.value
    names = [each.name.lower() for each in parsed.stages if each.name]
    near = difflib.get_close_matches(value.lower(), names, n=1, cutoff=0.8)
    if near and _STAGE.fullmatch(value.lower()):
        what = "is no stage before this one" if near[0] == value.lower() else "is no stage"
        yield Unbuildable(
            instruction=instruction,
            message=f"{reference.use.value} {value}: {value} {what}",
            hint=f"the stage {near[0]}? An image of that name is docker.io/library/{value}",
        )


def needs_no_network(
    parsed: Containerfile, target: str | None, variables: Mapping[str, str], network: str
) -> bool:
    """Tell whether every RUN is to see no network, and there is one: the engine is run without.

    Chroot isolation shows RUN the engine's own network.
    """
    seen = {_seen(each, network) for each, _ in _walk(parsed, target, variables, "RUN")}
    return seen == {"none"}


def engine_network(isolation: Isolation, network: RunNetwork) -> RunNetwork:
    """Give the network that the engine is told: under chroot isolation it knows its own."""
    return RunNetwork.HOST if isolation is Isolation.CHROOT else network


def refused_networks(
    parsed: Containerfile, target: str | None, variables: Mapping[str, str], network: str
) -> Iterator[tuple[Instruction, str, str]]:
    """Give what chroot isolation can't do: the instruction, why, and a way out."""
    alone = needs_no_network(parsed, target, variables, network)
    for each, _ in _walk(parsed, target, variables, "RUN"):
        seen = _seen(each, network)
        if seen in _APART and not alone:
            yield (
                each,
                "chroot isolation shows RUN the machine's network all the same"
                + (", as another one here sees it" if seen == "none" else ""),
                f'isolation = "oci", or leave network {seen} out',
            )
    for each, known in _walk(parsed, target, variables, "ADD") if alone else ():
        sources = (each.array or each.words)[:-1]
        if any(REMOTE.match(each.expand(source, known)) for source in sources):
            yield (
                each,
                "nothing can be fetched where no RUN sees a network, under chroot isolation",
                'isolation = "oci", or an image of its own for what is fetched',
            )


def _walk(
    parsed: Containerfile, target: str | None, variables: Mapping[str, str], word: str
) -> Iterator[tuple[Instruction, Mapping[str, str]]]:
    for stage in parsed.needed(target, variables):
        yield from (found for found in parsed.walk(stage, variables) if found[0].word == word)


def _seen(instruction: Instruction, network: str) -> str:
    flag = instruction.flag("network")
    return flag if flag in ("none", "host") else network
