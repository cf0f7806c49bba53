"""A copy of a Containerfile that means to the engine what the file means to BuildKit.

Instructions stay on their lines. What the engine reads in another way is written so that it
can't: texts of heredocs lie in build contexts of their own, with their variables put in.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from podbuild.build.inputs.containerfile import Containerfile, Stage
from podbuild.build.inputs.instructions import Instruction, lines_of, parse_heredoc
from podbuild.build.inputs.lexer import Lexer, LexError
from podbuild.build.inputs.mounted import SecretFile, bound_secrets
from podbuild.errors import ConfigError

_BLANKS = re.compile(r"[\t\v\f\r ]+")
_NAME = re.compile(r"[\w.-]+")
_MOUNTED = "/run/podbuild-heredoc"
_SCRIPT = "/run/secrets/podbuild-env"
# What imagebuilder's own reader of variables (1.2) has not.
_OPERATED = re.compile(r"\$\{\w+(?:[-+?]|:[^-+?]|/|[#%])|\$[@*#?$!0-9-]")


@dataclass(frozen=True, kw_only=True)
class SecretVariable:
    """A build secret that a RUN has in a variable: the secret's id and the variable's name."""

    secret: str
    variable: str

    @property
    def id(self) -> str:
        """Give the id under which the engine gets it."""
        return f"podbuild.env.{self.secret}.{self.variable}"

    def script(self, value: str) -> str:
        """Give what a shell reads to set it.

        >>> print(SecretVariable(secret="npm", variable="TOKEN").script("it's"), end="")
        export TOKEN='it'"'"'s'
        """
        return f"export {self.variable}={shlex.quote(value)}\n"


@dataclass(frozen=True, kw_only=True)
class Rewritten:
    """The copy, the files of contexts that it needs (context -> name -> text), and more.

    `programs` are the contexts whose files can be run. `target` is what the target is called,
    `twice` are the lines of instructions that became two.
    """

    text: str
    target: str | None
    contexts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    programs: frozenset[str] = frozenset()
    variables: tuple[SecretVariable, ...] = ()
    twice: frozenset[int] = frozenset()
    files: tuple[SecretFile, ...] = ()


def rewrite_containerfile(
    parsed: Containerfile,
    text: str,
    *,
    target: str | None,
    variables: Mapping[str, str],
    secrets: Collection[str] = (),
    excludes: Mapping[int, tuple[str, ...]] | None = None,
    large: Collection[str] = (),
) -> Rewritten:
    """Give the copy for a target; `secrets` are the ids that there are, `large` those in files.

    `excludes` are the patterns of --exclude that the engine is given, by line.

    Raises ConfigError with file and line for what can't be made to mean the same.
    """
    writer = _Rewriter(parsed, variables, secrets, excludes or {})
    writer.large = large
    for stage in parsed.needed(target, variables):
        writer.stage(stage)
    lines = lines_of(text)
    for at, (last, new) in writer.replaced.items():
        lines[at - 1 : last] = [*new, *[""] * (last - at + 1 - len(new))]
    escape = parsed.stages[0].start.escape
    if escape != "\\":  # the engine knows it on the first line alone
        at = next(at for at, line in enumerate(lines) if "escape" in line.lower())
        lines[at] = "#"
        lines[0] = f"# escape={escape}"
    wanted = None if target is None else parsed.stage(target)
    return Rewritten(
        text="".join(f"{line}\n" for line in lines),
        target=target if wanted is None else writer.name_of(wanted),
        contexts=writer.contexts,
        programs=frozenset(writer.programs),
        variables=tuple(dict.fromkeys(writer.variables)),
        twice=frozenset(writer.twice),
        files=tuple(writer.files),
    )


class _Rewriter:
    """Collects what replaces which lines."""

    def __init__(
        self,
        parsed: Containerfile,
        variables: Mapping[str, str],
        secrets: Collection[str],
        excludes: Mapping[int, tuple[str, ...]],
    ) -> None:
        self.replaced: dict[int, tuple[int, list[str]]] = {}
        self.contexts: dict[str, Mapping[str, str]] = {}
        self.programs: list[str] = []
        self.twice: list[int] = []
        self.variables: list[SecretVariable] = []
        self.files: list[SecretFile] = []
        self.large: Collection[str] = ()
        self._parsed = parsed
        self._values = variables
        self._secrets = secrets
        self._excludes = excludes

    def stage(self, stage: Stage) -> None:
        """Write one stage."""
        self._from(stage)
        for instruction, known in self._parsed.walk(stage, self._values):
            new = self._excluding(self._stage_names(stage, instruction, known))
            if new.word in ("COPY", "ADD") and new.heredocs:
                self._put(instruction, self._files(new, known))
            elif new.word == "RUN":
                self._run(instruction, new)
            elif new.word != "ONBUILD":
                new = replace(new, text=self._text(new, known))
                if new != instruction:
                    self._put(instruction, [_line(new)])

    def name_of(self, stage: Stage) -> str:
        """Give what the engine, which compares letter by letter, calls a stage."""
        name = (stage.name or str(stage.index)).lower()
        later = self._parsed.stages[stage.index + 1 :]
        again = any((each.name or "").lower() == name for each in later)
        return f"{name}.podbuild{stage.index}" if again else name

    def _put(self, instruction: Instruction, new: list[str]) -> None:
        self.replaced[instruction.line] = (instruction.last, new)

    def _from(self, stage: Stage) -> None:
        reference = next(self._parsed.uses(stage, self._values))
        below = self._parsed.earlier(stage, reference)
        base = stage.base if below is None else self.name_of(below)
        if below is None and _OPERATED.search(base):
            base = reference.value
        name = stage.name and self.name_of(stage)
        if (base, name) != (stage.base, stage.name):
            text = f"{base} AS {name}" if name else base
            self._put(stage.start, [_line(replace(stage.start, text=text))])

    def _excluding(self, instruction: Instruction) -> Instruction:
        if instruction.line not in self._excludes:
            return instruction
        kept = [flag for flag in instruction.flags if not flag.startswith("--exclude=")]
        flags = [f"--exclude={pattern}" for pattern in self._excludes[instruction.line]]
        return replace(instruction, flags=(*kept, *flags))

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
                parts = (part.partition("=") for part in value.split(","))
                value = ",".join(
                    f"from={self._stage_name(stage, instruction, found, known)}"
                    if key == "from"
                    else f"{key}{sign}{found}"
                    for key, sign, found in parts
                )
            flags.append(f"{name}{equals}{value}")
        return replace(instruction, flags=tuple(flags))

    def _stage_name(
        self, stage: Stage, instruction: Instruction, text: str, known: Mapping[str, str]
    ) -> str:
        found = self._parsed.stage(instruction.expand(text, known), before=stage.index)
        return text if found is None else self.name_of(found)

    def _files(self, instruction: Instruction, known: Mapping[str, str]) -> list[str]:
        """Copy the texts of heredocs from a context of their own, other sources beside them."""
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
            name: _expanded(instruction, texts[name].body, known)
            if not texts[name].literal
            else texts[name].body
            for name in names
        }
        kept = [each for each in instruction.flags if each.startswith(("--ch", "--link"))]
        kept = [each for each in kept if not each.startswith("--checksum")]
        copy = replace(
            instruction,
            word="COPY",
            flags=(f"--from={context}", *kept),
            text=" ".join((*dict.fromkeys(names), destination)),
        )
        if not others:
            return [_line(copy)]
        self.twice.append(instruction.line)
        rest = replace(instruction, text=" ".join((*others, destination)))
        return [_line(rest), _line(copy)]

    def _run(self, instruction: Instruction, new: Instruction) -> None:
        new, setting = self._secret_variables(new)
        new, files = bound_secrets(new, self.large)
        self.files += files
        new = _with_mounts_known(new)
        bodies = [instruction.heredocs[0].body] if instruction.heredocs else []
        alone = len(instruction.heredocs) == 1 and parse_heredoc(new.text.strip()) is not None
        if alone and bodies[0].startswith("#!"):
            context = f"podbuild.heredoc.{instruction.line}"
            name = instruction.heredocs[0].name
            self.contexts[context] = {name: bodies[0]}
            self.programs.append(context)
            mount = f"--mount=type=bind,from={context},target={_MOUNTED}"
            new = replace(new, flags=(*new.flags, mount), text=f"{_MOUNTED}/{name}", heredocs=())
        if setting and new.array is not None:
            raise ConfigError(
                f"{new.place}: only a shell can have a secret in a variable here",
                hint="write the command without [ ], or read the secret's file",
            )
        if any("\r" in each.body for each in new.heredocs):
            new, alone = self._in_a_file(new, alone=alone), False
        documents = [line for each in new.heredocs for line in _lines(each.body, each.name)]
        if setting and alone and new.heredocs:
            documents[0] = f"{setting}{documents[0]}"
        elif setting:
            new = replace(new, text=f"{setting}{new.text}")
        if new.text.endswith(new.escape) and not new.heredocs:
            new = replace(new, text=f"{new.text} #")  # the engine would go on with the next line
        if new != instruction:
            self._put(instruction, [_line(new), *documents])

    def _in_a_file(self, instruction: Instruction, *, alone: bool) -> Instruction:
        """Let a shell read from a file what the engine would read without carriage returns."""
        bodies = instruction.heredocs
        documents = [line for each in bodies for line in _lines(each.body, each.name)]
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
            options = dict(part.partition("=")[::2] for part in value.split(","))
            variable = options.get("env")
            if name != "--mount" or options.get("type") != "secret" or not variable:
                flags.append(flag)
                continue
            secret = options.get("id") or variable
            if secret not in self._secrets and options.get("required", "false") == "false":
                setting += f"export {variable}=; "  # empty, as for BuildKit
                continue
            found = SecretVariable(secret=secret, variable=variable)
            self.variables.append(found)
            place = f"{_SCRIPT}{len(flags)}"
            flags.append(f"--mount=type=secret,id={found.id},target={place},mode=0444")
            setting += f". {place}; "
            if target := options.get("target") or options.get("dst"):
                flags.append(f"--mount=type=secret,id={secret},target={target}")
        return replace(instruction, flags=tuple(flags)), setting

    def _text(self, instruction: Instruction, known: Mapping[str, str]) -> str:
        """Put values in where the engine's own reader of variables would fail or differ."""
        if instruction.word == "EXPOSE":
            return " ".join(_ports(instruction, known))
        if instruction.word in ("CMD", "ENTRYPOINT", "SHELL", "HEALTHCHECK", "MAINTAINER"):
            return instruction.text
        return _put_in(instruction, known) if _differs(instruction) else instruction.text


def uses_values(instruction: Instruction) -> bool:
    """Tell whether the copy holds values of variables, so that all must be known."""
    if instruction.word in ("COPY", "ADD") and any(
        "$" in each.body and not each.literal for each in instruction.heredocs
    ):
        return True
    return instruction.word != "RUN" and _differs(instruction)


def _differs(instruction: Instruction) -> bool:
    """Tell whether the engine's own reader of words, which knows one escape, would differ."""
    signs = instruction.text if instruction.escape != "\\" else ""
    return bool(_OPERATED.search(instruction.text)) or "\\" in signs or "`" in signs


def _with_mounts_known(instruction: Instruction) -> Instruction:
    """Leave out what the engine does not know and what changes no file of the image."""
    flags = (
        f"--mount={','.join(_mount_options(flag.removeprefix('--mount=').split(',')))}"
        if flag.startswith("--mount=")
        else flag
        for flag in instruction.flags
    )
    return replace(instruction, flags=tuple(flags))


def _mount_options(parts: list[str]) -> Iterator[str]:
    for part in parts:
        if part.startswith("size=") and "type=tmpfs" in parts:
            yield f"tmpfs-{part}"
        # each image and platform has its own folder, where steps follow each other
        elif part != "sharing=private" or "type=cache" not in parts:
            yield part


def _line(instruction: Instruction) -> str:
    return " ".join((instruction.word, *instruction.flags, instruction.text)).rstrip("\r")


def _lines(body: str, name: str) -> list[str]:
    return [*body.split("\n")[:-1], name]


def _expanded(instruction: Instruction, body: str, known: Mapping[str, str]) -> str:
    """Expand a text as BuildKit does: quotes mean nothing, an escape takes the next sign."""
    try:
        return Lexer(plain_quotes=True).word(body, known)
    except LexError as error:
        raise ConfigError(
            f"{instruction.place}: in the text: {error}",
            hint=f'{instruction.word} <<"{instruction.heredocs[0].name}" takes it as it stands',
        ) from None


def _ports(instruction: Instruction, known: Mapping[str, str]) -> Iterator[str]:
    """Give EXPOSE's ports one by one: the engine knows no ranges."""
    for word in instruction.words:
        port = instruction.expand(word, known)
        found = re.fullmatch(r"(\d+)-(\d+)(/\w+)?", port)
        if not found:
            yield port if _OPERATED.search(word) else word
            continue
        yield from (f"{each}{found[3] or ''}" for each in range(int(found[1]), int(found[2]) + 1))


def _put_in(instruction: Instruction, known: Mapping[str, str]) -> str:
    """Give the words with values in the place of variables, quoted for the engine."""
    words = instruction.words
    if instruction.array is not None:
        return instruction.text
    if instruction.word in ("ENV", "LABEL") and words and "=" not in words[0]:
        value = instruction.expand(instruction.text[len(words[0]) :].strip(), known)
        return f"{words[0]}={_quoted(value)}"
    if instruction.word in ("WORKDIR", "USER", "STOPSIGNAL"):
        return _quoted(instruction.expand(instruction.text, known))
    found = []
    for word in words:
        name, equals, value = word.partition("=")
        if instruction.word not in ("ENV", "LABEL", "ARG"):
            name, equals, value = "", "", word
        if _OPERATED.search(value) or instruction.escape != "\\":
            value = _quoted(instruction.expand(value, known))
        found.append(f"{name}{equals}{value}")
    return " ".join(found)


def _quoted(value: str) -> str:
    if re.fullmatch(r"[\w./:@,+=-]*", value):
        return value
    inner = "".join(f"\\{sign}" if sign in '"$\\' else sign for sign in value)
    return f'"{inner}"'
