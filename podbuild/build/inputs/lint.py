"""What a Containerfile and its image's configuration say of each other.

What a check says: how bad, where, what, and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain

from podbuild.build.inputs.arguments import build_variables, own_arguments
from podbuild.build.inputs.containerfile import Containerfile, OutsideImage
from podbuild.build.inputs.readings import ignored_of_context
from podbuild.build.inputs.recipe import refusals_of
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.config.choices import Rule, Timestamp
from podbuild.config.image import Image
from podbuild.config.model import Config
from podbuild.config.template import VERSION_NAMES, Placeholders
from podbuild.errors import PodbuildError
from podbuild.oci.names import Platform

_PLACE = re.compile(r"(?P<file>[^\s:][^:]*):(?P<line>\d+): (?P<rest>.*)", re.DOTALL)


class Level(StrEnum):
    """How much a finding matters: an error ends a release, a warning needs a decision."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a check found; `line` counts from 1, None: the file as a whole.

    What was found in an image has the name of its `rule`, its image and platforms, and what it
    costs there. `text` is the instruction's, which stays the same where lines are renumbered, and
    `subject` what tells it from others of the same rule there. `related` are other lines that the
    cause has.
    """

    level: Level
    file: str
    line: int | None = None
    message: str
    hint: str = ""
    rule: str = ""
    image: str = ""
    platforms: tuple[Platform, ...] = ()
    bytes: int = 0
    text: str = ""
    subject: str = ""
    related: tuple[tuple[str, int], ...] = ()  # file and line

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        where = f"{self.image} {', '.join(map(str, self.platforms))}: " if self.image else ""
        rule = f" [{self.rule}]" if self.rule else ""
        return f"{place}: {where}{self.message}{rule}"


def finding_of(error: PodbuildError, file: str) -> Finding:
    """Give an error as a finding, at the place that its message begins with, else in `file`."""
    found = _PLACE.fullmatch(error.message)
    return Finding(
        level=Level.ERROR,
        file=found["file"] if found else file,
        line=int(found["line"]) if found else None,
        message=found["rest"] if found else error.message.removeprefix(f"{file}: "),
        hint=error.hint,
    )


ETAG_SERVERS = ("nginx", "httpd", "caddy")  # their ETag is made of a file's time and size
_CHANGING = VERSION_NAMES | {"sha", "branch"}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An image, its Containerfile as read, and how messages name that file."""

    config: Config
    image: Image
    containerfile: Containerfile
    file: str

    @property
    def variables(self) -> dict[str, str]:
        """Give what ARG sees on the image's first platform, with a version made up."""
        return self.variables_on(self.image.platforms[0], self.image.platforms[0])

    def variables_on(self, platform: Platform, build: Platform) -> dict[str, str]:
        """Give what ARG sees on one platform, with a version made up."""
        values = Placeholders(
            project=self.config.project.name,
            image=self.image.name,
            version=self.config.project.scheme.first,
            sha="0" * 7,
            branch="main",
            env=self.config.env,
        )
        known = {
            name: template.expand(values)
            for name, template in self.image.build_args.items()
            if template.variables <= self.config.env.keys()
        }
        own = own_arguments(self.containerfile, self.image.target, platform, build)
        return build_variables(self.containerfile, own, known, self.image.target)

    def warn(self, line: int | None, message: str, hint: str) -> Finding:
        """Give a warning in the Containerfile."""
        return Finding(level=Level.WARNING, file=self.file, line=line, message=message, hint=hint)


def check_containerfile(subject: Subject) -> Iterator[Finding]:
    """Give what is worth a word about one image; raises ConfigError for an unknown target."""
    outside = subject.containerfile.outside(subject.variables, target=subject.image.target)
    yield from _refused(subject)
    yield from _contexts(subject, outside)
    yield from _etags(subject, outside)
    yield from _unpinned(subject)
    yield from _arguments(subject)
    yield from _secrets(subject)
    yield from _agents(subject)


def _refused(subject: Subject) -> Iterator[Finding]:
    """Find what ends every build, or what the engine would do in another way."""
    image, ignored = subject.image, ignored_of_context(subject.image)
    for platform in image.platforms:
        build = Platform("linux", native_architecture())
        variables = subject.variables_on(platform, build)
        for refusal in refusals_of(image, subject.containerfile, variables, ignored):
            yield finding_of(refusal.error, subject.file)


def _contexts(subject: Subject, outside: tuple[OutsideImage, ...]) -> Iterator[Finding]:
    """Find contexts that nothing uses, and images that are meant but not in `contexts`."""
    image, used = subject.image, {reference.value for reference in outside}
    for name in image.contexts:
        if name not in used:
            yield subject.warn(
                None,
                f"the context {name!r} of {image.name!r} is not used",
                f"FROM {name}, or COPY --from={name}",
            )
    names = {each.name for each in subject.config.images} - {image.name}
    for reference in outside:
        if reference.value in names and reference.value not in image.contexts:
            yield subject.warn(
                reference.line,
                f"{reference.value} comes from a registry, though an image has this name",
                f'contexts = {{ {reference.value} = "image:{reference.value}" }} if it is meant',
            )


def _etags(subject: Subject, outside: tuple[OutsideImage, ...]) -> Iterator[Finding]:
    if subject.image.timestamp is Timestamp.COMMIT:
        return
    for reference in outside:
        name = reference.value.rpartition("/")[2].partition("@")[0].partition(":")[0]
        server = next((each for each in ETAG_SERVERS if name.startswith(each)), None)
        if server:
            yield Finding(
                level=Level.NOTE,
                file=subject.file,
                line=reference.line,
                message=f"{server} makes ETags of file times, which are the same in every release",
                hint='timestamp = "commit" gives files the time of the commit',
            )


def _unpinned(subject: Subject) -> Iterator[Finding]:
    image = subject.image
    for instruction in subject.containerfile.unpinned(subject.variables, target=image.target):
        yield subject.warn(
            instruction.line,
            f"this ADD may bring other bytes each time, so {image.name!r} is built every time",
            "ADD --checksum=sha256:... URL, or a git URL with #<commit>",
        )


def _arguments(subject: Subject) -> Iterator[Finding]:
    containerfile, image = subject.containerfile, subject.image
    every = (*containerfile.arguments, *containerfile.instructions)
    declared = {
        word.partition("=")[0]
        for instruction in every
        if instruction.word == "ARG"
        for word in instruction.words
    }
    for name in image.build_args:
        if name not in declared:
            yield subject.warn(
                None, f"no ARG takes the build argument {name} of {image.name!r}", f"ARG {name}"
            )


def _secrets(subject: Subject) -> Iterator[Finding]:
    """Find secrets that RUN asks for and the configuration does not name."""
    known = {secret.id for secret in subject.image.secrets}
    stages = subject.containerfile.needed(subject.image.target, subject.variables)
    walked = (subject.containerfile.walk(stage, subject.variables) for stage in stages)
    for instruction, _ in chain.from_iterable(walked):
        for options in instruction.mounts:
            name = options.get("source") or options.get("id", "")
            if options.get("type") == "secret" and name and name not in known:
                yield subject.warn(
                    instruction.line,
                    f"the secret {name!r} is not in the configuration of {subject.image.name!r}",
                    f'secrets = [{{ id = "{name}", env = "..." }}]',
                )


def _agents(subject: Subject) -> Iterator[Finding]:
    """Find SSH agents that RUN asks for and the configuration does not name: no engine mounts them.

    A build goes on without, unless the mount is required.
    """
    known = {entry.partition("=")[0] for entry in subject.image.ssh}
    stages = subject.containerfile.needed(subject.image.target, subject.variables)
    walked = (subject.containerfile.walk(stage, subject.variables) for stage in stages)
    for instruction, _ in chain.from_iterable(walked):
        for options in instruction.mounts:
            name = options.get("id") or "default"
            if options.get("type") != "ssh" or name in known:
                continue
            required = options.get("required") == "true"
            yield Finding(
                level=Level.ERROR if required else Level.WARNING,
                file=subject.file,
                line=instruction.line,
                message=f"the SSH agent {name!r} is not in the configuration of "
                f"{subject.image.name!r}",
                hint=f'ssh = ["{name}"]',
            )


@dataclass(frozen=True)
class ConfigRemark:
    """A warning about a key of podbuild.toml: the way to it, what, and what to do."""

    way: tuple[str, str, str, str]
    message: str
    hint: str


def check_texts(image: Image) -> Iterator[ConfigRemark]:
    """Give the texts of an image that change with each release."""
    tables = {"build-args": image.build_args, "labels": image.labels}
    for table, texts in tables.items():
        for name, template in texts.items():
            way = ("images", image.name, table, name)
            changing = sorted(template.names & _CHANGING)
            if changing:
                yield ConfigRemark(
                    way,
                    f"{{{changing[0]}}} changes, so {image.name!r} is built again for each release",
                    "leave it out: version and revision stand on the index anyway; or "
                    f'[audit] ignore = ["{image.name}:{Rule.CHANGING_INPUT}"] if it is meant',
                )
