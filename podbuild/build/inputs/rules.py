"""What is worth a word in a Containerfile, by rules whose names stay the same.

Only what bytes can't tell: of sizes and caches it speaks only in the stages that end in the image,
and where no cache mount covers the folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from podbuild.build.inputs.containerfile import SCRATCH, Containerfile, Stage, Use
from podbuild.build.inputs.installs import installing, leaves_nothing, manifests_of
from podbuild.build.inputs.instructions import REMOTE, Instruction, unquote
from podbuild.build.inputs.lint import Finding, Level, Subject
from podbuild.build.inputs.scripts import Script
from podbuild.config.choices import Rule

CONTAINERFILE_RULES = frozenset(
    {
        Rule.UNPINNED_BASE,
        Rule.LATEST_BASE,
        Rule.ADD_FOR_COPY,
        Rule.SUDO,
        Rule.UPGRADE,
        Rule.UPDATE_ALONE,
        Rule.MISSING_USER,
        Rule.SHELL_FORM,
        Rule.SECRET_IN_ENV,
        Rule.COPY_BEFORE_INSTALL,
        Rule.NO_CACHE_MOUNT,
    }
)
_NOTES = (Rule.UPGRADE, Rule.MISSING_USER, Rule.COPY_BEFORE_INSTALL, Rule.NO_CACHE_MOUNT)
_ARCHIVE = re.compile(r".*\.(tar|tar\.(gz|bz2|xz|zst|lzma|Z)|tgz|tbz2?|txz|tzst)", re.IGNORECASE)
# BuildKit's own rule (frontend/dockerfile/dockerfile2llb, SecretsUsedInArgOrEnv).
_SECRET = re.compile(
    r"(?i)(?:_|^)(?:apikey|auth|credential|credentials|key|password|pword|passwd|secret|token)"
    r"(?:_|$)"
)
_NO_SECRET = re.compile(r"(?i)(?:_|^)(?:public|file|path|dir|url|id|name|user)(?:_|$)")
_DNF = ("dnf", "dnf5", "microdnf", "yum")
_UNPRIVILEGED = re.compile(r"nonroot|rootless|unprivileged", re.IGNORECASE)


def rule_findings(subject: Subject) -> Iterator[Finding]:
    """Give what the rules find in an image's Containerfile; nothing is silenced yet."""
    rules = _Rules(subject)
    yield from rules.bases()
    yield from rules.secrets()
    yield from rules.program()
    for stage in rules.needed:
        for instruction in stage.instructions:
            if instruction.word == "ADD":
                yield from rules.add(stage, instruction)
            elif instruction.word == "RUN":
                yield from rules.run(stage, instruction)


@dataclass(frozen=True)
class _Rules:
    subject: Subject

    @property
    def _file(self) -> Containerfile:
        return self.subject.containerfile

    @cached_property
    def needed(self) -> tuple[Stage, ...]:
        return self._file.needed(self.subject.image.target, self.subject.variables)

    @cached_property
    def _chain(self) -> tuple[Stage, ...]:
        """Give the stages whose layers are the image's, the last one first."""
        stage: Stage | None = self.needed[-1]
        found = []
        while stage is not None:
            found.append(stage)
            stage = self._file.earlier(stage, next(self._file.uses(stage, self.subject.variables)))
        return tuple(found)

    def bases(self) -> Iterator[Finding]:
        target = self.subject.image.target
        for each in self._file.outside(self.subject.variables, target=target):
            value, image = each.value, self.subject.image
            known = {*image.contexts, *image.inner}
            if not value or value == SCRATCH or {value, each.text} & known or "@" in value:
                continue
            _, mark, tag = value.rpartition("/")[2].partition(":")
            at = self._at(each.line, each.use)
            if not mark:
                yield self._found(
                    Rule.UNPINNED_BASE,
                    at,
                    f"{value} has no tag, which means latest: another image some day",
                    f"{value}:VERSION",
                )
            elif tag == "latest":
                yield self._found(
                    Rule.LATEST_BASE,
                    at,
                    f"{value} is another image some day",
                    f"{value.removesuffix(':latest')}:VERSION",
                )

    def _at(self, line: int, use: Use) -> Instruction:
        every = [each for stage in self.needed for each in (stage.start, *stage.instructions)]
        wanted = [each for each in every if each.line == line]
        return wanted[0] if wanted or use is not Use.FROM else self.needed[-1].start

    def secrets(self) -> Iterator[Finding]:
        used = [*self._file.arguments, *(x for stage in self.needed for x in stage.instructions)]
        for instruction in used:
            for name, value in _set_names(instruction):
                if _SECRET.search(name) and not _NO_SECRET.search(name) and value != "":
                    yield self._found(
                        Rule.SECRET_IN_ENV,
                        instruction,
                        f"{instruction.word} {name} stays in the image's config or history, "
                        "which everyone can read",
                        f"RUN --mount=type=secret,id={name.lower()},env={name}, and secrets = "
                        f'[{{ id = "{name.lower()}", env = "{name}" }}]',
                        subject=name,
                    )

    def program(self) -> Iterator[Finding]:
        every = [each for stage in reversed(self._chain) for each in stage.instructions]
        started = [each for each in every if each.word == "ENTRYPOINT"]
        if started and started[-1].array is None and not started[-1].text.startswith("exec "):
            yield self._found(
                Rule.SHELL_FORM,
                started[-1],
                "ENTRYPOINT in shell form: a shell is process 1, so that the program gets no "
                "signal and CMD is not passed to it",
                'ENTRYPOINT ["PROGRAM", "ARGUMENT"]',
            )
        users = [each for each in every if each.word == "USER"]
        base = self._file.base_of(self.needed[-1], self.subject.variables)
        if not users and not (started or any(each.word == "CMD" for each in every)):
            return  # nothing of its own is started: a base of others
        if not users and base.value != SCRATCH and _UNPRIVILEGED.search(base.value):
            return
        if not users or users[-1].text.partition(":")[0] in ("root", "0"):
            at = users[-1] if users else self.needed[-1].start
            what = "the last USER is root" if users else "no USER: it runs as root"
            hint = "USER with a number, such as USER 10001"
            if not users and base.value != SCRATCH:
                what = f"no USER: it runs as root unless {base.value} says otherwise"
            yield self._found(Rule.MISSING_USER, at, what, hint)

    def add(self, stage: Stage, instruction: Instruction) -> Iterator[Finding]:
        values = self._values(stage, instruction)
        words = instruction.array if instruction.array is not None else instruction.words
        sources = [instruction.expand(word, values) for word in words[:-1]]
        if instruction.heredocs or instruction.flag("checksum") or not sources:
            return
        if any("$" in each or REMOTE.match(each) or _ARCHIVE.fullmatch(each) for each in sources):
            return
        if all(sources) and not any("*" in each or "?" in each for each in sources):
            yield self._found(
                Rule.ADD_FOR_COPY,
                instruction,
                "ADD copies plain files as COPY does, and unpacks or fetches what is named so",
                f"COPY {instruction.text}",
            )

    def run(self, stage: Stage, instruction: Instruction) -> Iterator[Finding]:
        script = Script(instruction)
        names = {command.name for command in script.commands}
        if "sudo" in names:
            yield self._found(
                Rule.SUDO,
                instruction,
                "sudo in a build: it needs a terminal and leaves nothing but a set-id program",
                "USER root before the RUN, USER NAME after it",
            )
        yield from self._system(instruction, script)
        yield from self._too_early(stage, instruction, script)
        if stage in self._chain:
            yield from self._caches(stage, instruction, script)

    def _system(self, instruction: Instruction, script: Script) -> Iterator[Finding]:
        apt = [x for x in script.commands if x.name in ("apt-get", "apt", "aptitude")]
        actions = {each.action for each in apt}
        upgrades = actions & {"upgrade", "dist-upgrade", "full-upgrade", "safe-upgrade"}
        others = [
            each
            for each in script.commands
            if (each.name == "apk" and each.action == "upgrade")
            or (
                each.name in ("dnf", "microdnf", "yum")
                and each.operands in (("upgrade",), ("update",))
            )
        ]
        if upgrades or others:
            yield self._found(
                Rule.UPGRADE,
                instruction,
                "an upgrade of all packages is another one each time, and hides the base's files",
                "a newer base; it is pinned by digest for each release",
            )
        lists = ("/var/lib/apt", "/var/lib/apt/lists", "/var/lib")
        kept = any(each in lists for each in script.cached)
        if "update" in actions and not actions - {"update"} and not kept:
            yield self._found(
                Rule.UPDATE_ALONE,
                instruction,
                "package lists in a step of their own are old ones when the next step is built "
                "again, and stay in the image",
                "apt-get update && apt-get install ... in one RUN",
            )

    def _caches(self, stage: Stage, instruction: Instruction, script: Script) -> Iterator[Finding]:
        environment = frozenset(self._environment(stage, instruction))
        said = set()
        for manager, command in installing(script):
            if manager.name in said or leaves_nothing(manager, command, script, environment):
                continue
            said.add(manager.name)
            yield self._found(
                Rule.NO_CACHE_MOUNT,
                instruction,
                f"{command.name} {command.action} leaves {manager.leaves} in the image, and "
                "fetches all of it each time",
                manager.instead,
                subject=manager.name,
            )

    def _too_early(
        self, stage: Stage, instruction: Instruction, script: Script
    ) -> Iterator[Finding]:
        before = [each for each in stage.instructions if each.line < instruction.line]
        whole = next((each for each in before if copies_all(each)), None)
        if whole is None:
            return
        for command in script.commands:
            needed = manifests_of(command, self.subject.image.context)
            if needed is None:
                continue
            files = " ".join(needed.names)
            yield self._found(
                Rule.COPY_BEFORE_INSTALL,
                instruction,
                f"{command.name} {command.action} runs again for every change of any file: "
                f"line {whole.line} copies them all before it",
                f"COPY {files} ./ first, then this RUN, then line {whole.line}",
                subject=command.name,
            )

    def _values(self, stage: Stage, instruction: Instruction) -> Mapping[str, str]:
        steps = self._file.walk(stage, self.subject.variables)
        return next((known for each, known in steps if each is instruction), {})

    def _environment(self, stage: Stage, instruction: Instruction) -> Iterator[str]:
        for each, before, _ in self._file.steps(stage, self.subject.variables):
            if each is instruction:
                yield from before.environment

    def _found(
        self, rule: Rule, at: Instruction, message: str, hint: str, *, subject: str = ""
    ) -> Finding:
        return Finding(
            level=Level.NOTE if rule in _NOTES else Level.WARNING,
            file=self.subject.file,
            line=at.line,
            message=message,
            hint=hint,
            rule=rule,
            text=str(at),
            subject=subject,
        )


def copies_all(instruction: Instruction) -> bool:
    """Tell whether an instruction copies the whole context."""
    if instruction.word not in ("COPY", "ADD") or instruction.flag("from"):
        return False
    words = instruction.array if instruction.array is not None else instruction.words
    return any(unquote(word).strip("/") in ("", ".", "*") for word in words[:-1])


def _set_names(instruction: Instruction) -> Iterator[tuple[str, str | None]]:
    """Give the names that ARG and ENV set, with their values as written; None: none is."""
    words = instruction.words
    if instruction.word == "ENV" and words and "=" not in words[0]:
        yield words[0], " ".join(words[1:])
    elif instruction.word in ("ARG", "ENV"):
        for word in words:
            name, mark, value = word.partition("=")
            yield name, unquote(value) if mark else None
