"""Whether an image can start at all: its program, what that needs, and its user.

Judged as the kernel and runc would, without running anything: execve(2), image-spec config.md
(Entrypoint, Cmd, Env, User, WorkingDir). Pure: files and config in, faults out.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from podbuild.build.examine.programs import GROUPS, USERS, ImageFiles, Program
from podbuild.build.inputs.containerfile import USUAL_PATH
from podbuild.config.choices import Rule
from podbuild.oci.filesystem import Placed
from podbuild.oci.layers import EntryKind
from podbuild.oci.names import Platform
from podbuild.system.records import JSONValue

FORM = 2  # of the verdicts: raised where the same image may be judged otherwise

_SHELLS = frozenset({"sh", "ash", "bash", "dash"})
_INITS = frozenset({"tini", "tini-static", "dumb-init", "catatonit"})
_PLAIN_NAME = re.compile(r"(?:exec\s+)?((?:\.{0,2}/)?\w[\w./+-]*)(?:\s[^|&;]*)?")
_MOST_INTERPRETERS = 4  # the kernel follows as many
_HINTS = {
    "foreign": "build it for $TARGETARCH, or copy it from a stage without --platform",
    "mode": "COPY --chmod=755, or chmod +x and git update-index --chmod=+x",
}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Why an image can't start. The step that made it so put `layer`, or is of one of `words`."""

    rule: Rule
    message: str
    hint: str = ""
    layer: int | None = None
    words: tuple[str, ...] = ()  # of the Containerfile's instructions

    def to_json(self) -> dict[str, JSONValue]:
        """Give a record."""
        return {
            "rule": self.rule.value,
            "message": self.message,
            "hint": self.hint,
            "layer": self.layer,
            "words": [*self.words],
        }

    @classmethod
    def from_json(cls, value: JSONValue) -> Fault:
        """Read what `to_json` gave; raises ValueError for anything else."""
        match value:
            case {
                "rule": str(rule),
                "message": str(message),
                "hint": str(hint),
                "layer": int() | None as layer,
                "words": list(words),
            }:
                return cls(
                    rule=Rule(rule),
                    message=message,
                    hint=hint,
                    layer=layer,
                    words=tuple(map(str, words)),
                )
            case _:
                raise ValueError("not a fault")


def faults_of(
    files: ImageFiles, config: Mapping[str, JSONValue], platform: Platform
) -> tuple[Fault, ...]:
    """Give all that keeps an image from starting on its platform; `config` is its inner config."""
    if platform.os != "linux":
        return ()
    judge = _Judge(files, config, platform)
    found = (*judge.users(), *judge.entry())
    known = {each.layer for each in found if each.rule is Rule.FOREIGN}
    return (*found, *(each for each in judge.on_path() if each.layer not in known))


@dataclass(frozen=True)
class _Judge:
    files: ImageFiles
    config: Mapping[str, JSONValue]
    platform: Platform

    # Users.

    def users(self) -> Iterator[Fault]:
        """Names must stand in the image's own databases; numbers need not."""
        user, _, group = self._text("User").partition(":")
        for name, table, kind in ((user, USERS, "user"), (group, GROUPS, "group")):
            if name and not name.isdecimal() and self._row(table, name) is None:
                where = "no" if self.files.table(table) is None else "not in"
                yield Fault(
                    rule=Rule.UNKNOWN_USER,
                    message=f"{kind} {name!r} does not exist: {where} /{table}",
                    hint=f"make the {kind} in the final stage, or write its number",
                    words=("USER",),
                )

    @cached_property
    def _ids(self) -> tuple[int, frozenset[int]]:
        """Give the ids that the program runs with; root's where they are not known."""
        user, _, group = self._text("User").partition(":")
        if not user:
            return 0, frozenset({0})
        row = self._row(USERS, user) or []
        uid = _number(user) or _number("".join(row[2:3]))
        named = (self._row(GROUPS, group) or [])[2:3] if group else row[3:4]
        gid = _number(group) or _number("".join(named))
        more = {
            _number(fields[2])
            for fields in self._rows(GROUPS)
            if len(fields) > 3 and row and row[0] in fields[3].split(",")  # noqa: PLR2004
        }
        return uid, frozenset({gid} | more)

    def _row(self, table: str, name: str) -> list[str] | None:
        """Give the line of a name or a number."""
        at = 2 if name.isdecimal() else 0
        return next((row for row in self._rows(table) if row[at : at + 1] == [name]), None)

    def _rows(self, table: str) -> Iterator[list[str]]:
        return (line.split(":") for line in (self.files.table(table) or "").splitlines())

    # The program.

    def entry(self) -> Iterator[Fault]:
        """Follow what is started: the entrypoint, what it hands over to, and interpreters."""
        argv = [*self._list("Entrypoint"), *self._list("Cmd")]
        words = ("ENTRYPOINT",) if self._list("Entrypoint") else ("CMD",)
        by_shell = False
        while argv:
            if not argv[0]:
                return
            faults = tuple(self._start(argv[0], words, by_shell=by_shell))
            yield from faults
            if faults:
                return
            argv, by_shell = _handed_over(argv)
            if by_shell and "/" not in argv[0] and self._find(argv[0]) == (None, ""):
                return  # a builtin, or an applet that busybox's shell has inside

    def _start(
        self, name: str, words: tuple[str, ...], depth: int = 0, *, by_shell: bool = False
    ) -> Iterator[Fault]:
        placed, blocked = self._find(name)
        if placed is None:
            what = f"{name} is not in the image" if "/" in name else f"{name} is not on PATH"
            yield Fault(
                rule=Rule.NO_ENTRYPOINT,
                message=what + (f": /{blocked} leads nowhere" if blocked else ""),
                hint="is it copied from the right stage? in exec form, no shell looks for it",
                words=words,
            )
            return
        if fault := self._unusable(name, placed):
            yield fault
            return
        program = self.files.program(placed)
        if program is None and by_shell:  # a shell reads what the kernel refuses
            return
        if program is None:
            yield self._at(
                placed,
                Rule.NO_INTERPRETER,
                f"{name} is neither a program nor a script that begins with #!",
                'begin it with a line such as "#!/bin/sh"',
            )
            return
        yield from self._needs(name, placed, program, depth)

    def _unusable(self, name: str, placed: Placed) -> Fault | None:
        """Give why a file that is there can't be started, whatever it holds."""
        entry = placed.entry
        if entry.kind is not EntryKind.FILE:
            return self._at(placed, Rule.NOT_EXECUTABLE, f"{name} is a {entry.kind}", "")
        if not entry.size:
            return self._at(
                placed,
                Rule.EMPTY,
                f"{name} is empty",
                "did the step that makes it fail without a word?",
            )
        if not entry.mode & 0o111:
            message = f"{name} is not executable: its mode is {entry.mode:04o}"
            return self._at(placed, Rule.NOT_EXECUTABLE, message, _HINTS["mode"])
        folder = next((each for each in self._folders(placed) if not self._may(each, 1)), None)
        user = self._text("User")
        if folder is not None or not self._may(placed, 1):
            closed = placed if folder is None else folder
            message = (
                f"{name} is not executable for USER {user}: /{closed.entry.path} has the mode "
                f"{closed.entry.mode:04o} and belongs to {closed.entry.uid}:{closed.entry.gid}"
            )
            return self._at(closed, Rule.NOT_EXECUTABLE, message, "COPY --chmod, or --chown")
        return None

    def _needs(self, name: str, placed: Placed, program: Program, depth: int) -> Iterator[Fault]:
        if not program.runs_on(self.platform):
            if not self._tolerated(program):
                message = f"{name} is a program for {program.architecture}, not {self.platform}"
                yield self._at(placed, Rule.FOREIGN, message, _HINTS["foreign"])
            return
        if program.loader and self.files.tree.find(program.loader) is None:
            yield self._at(
                placed,
                Rule.NO_INTERPRETER,
                f"{name} needs the loader {program.loader}, which is not in the image",
                "was it made for another libc? link it statically, or build it on this base",
            )
        if program.script is not None and depth < _MOST_INTERPRETERS:
            yield from self._script(name, placed, program.script, depth)

    def _script(self, name: str, placed: Placed, line: str, depth: int) -> Iterator[Fault]:
        wanted, _, rest = line.replace("\t", " ").partition(" ")
        if line.endswith("\r"):
            yield self._at(
                placed,
                Rule.NO_INTERPRETER,
                f"{name} has Windows line ends, so that {wanted.rstrip()!r} ends with a "
                "carriage return and is not found",
                "save it with LF; *.sh text eol=lf in .gitattributes keeps it so",
            )
            return
        needed = [wanted]
        if posixpath.basename(wanted) == "env" and (asked := _asked_of_env(rest)):
            needed.append(asked)
        for each in needed:
            faults = tuple(self._start(each, (), depth + 1)) if each else ()
            for fault in faults[:1]:
                missing = fault.rule is Rule.NO_ENTRYPOINT
                yield self._at(
                    placed,
                    Rule.NO_INTERPRETER if missing else fault.rule,
                    f"{name} begins with #!{line}: {fault.message}",
                    "" if missing else fault.hint,
                    layer=placed.layer if missing else fault.layer,
                )
            if faults:
                return

    # Foreign programs anywhere on PATH.

    def on_path(self) -> Iterator[Fault]:
        """Give the foreign programs that a shell would find, one fault for each layer."""
        found: dict[int, dict[str, Program]] = {}
        for folder in self._path:
            for path, placed in self._inside(folder):
                program = self.files.program(placed)
                if program is None or program.runs_on(self.platform) or self._tolerated(program):
                    continue
                if placed.entry.mode & 0o111:
                    found.setdefault(placed.layer, {}).setdefault(path, program)
        for layer, programs in sorted(found.items()):
            names, first = sorted(programs), next(iter(programs.values()))
            shown = ", ".join(f"/{name}" for name in names[:3])
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""  # noqa: PLR2004
            many = len(names) > 1
            yield Fault(
                rule=Rule.FOREIGN,
                message=f"{shown}{more} {'are programs' if many else 'is a program'} for "
                f"{first.architecture}, not {self.platform}",
                hint=_HINTS["foreign"],
                layer=layer,
            )

    def _inside(self, folder: str) -> Iterator[tuple[str, Placed]]:
        """Give what stands in a folder, links followed, by the path that it is found by."""
        real = self.files.tree.find(folder)
        at = real.entry.path if real is not None else folder.strip("/")
        for name in self._names.get(at, ()):
            path = posixpath.join(at, name)
            placed = self.files.tree.find(path)
            if placed is not None and placed.entry.kind is EntryKind.FILE:
                yield path, placed

    @cached_property
    def _names(self) -> Mapping[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path in self.files.tree.paths:
            folder, name = posixpath.split(path)
            found.setdefault(folder, []).append(name)
        return found

    def _tolerated(self, program: Program) -> bool:
        """64-bit x86 runs 32-bit programs."""
        return (self.platform.architecture, program.architecture) == ("amd64", "386")

    # Looking things up.

    @cached_property
    def _path(self) -> tuple[str, ...]:
        pairs = (text.partition("=") for text in self._list("Env"))
        given = next((value for name, _, value in pairs if name == "PATH"), "")
        return tuple(dict.fromkeys(filter(None, (given or USUAL_PATH).split(":"))))

    def _find(self, name: str) -> tuple[Placed | None, str]:
        """Give the file that a name starts, and a link on the way that leads nowhere."""
        if "/" in name:
            places = [posixpath.join("/", self._text("WorkingDir"), name)]
        else:
            places = [posixpath.join("/", folder, name) for folder in self._path]
        dangling, unfit = "", None
        for place in places:
            placed = self.files.tree.find(place)
            if placed is not None and (len(places) == 1 or self._startable(placed)):
                return placed, ""
            unfit = unfit or placed
            if placed is None and place.strip("/") in self.files.tree.paths:
                dangling = place.strip("/")
        return unfit, dangling

    def _startable(self, placed: Placed) -> bool:
        return placed.entry.kind is EntryKind.FILE and bool(placed.entry.mode & 0o111)

    def _folders(self, placed: Placed) -> Iterator[Placed]:
        folder = posixpath.dirname(placed.entry.path)
        while folder:
            if found := self.files.tree.paths.get(folder):
                yield found
            folder = posixpath.dirname(folder)

    def _may(self, placed: Placed, bit: int) -> bool:
        """Tell whether the image's user has a right to a file or folder (1: to start or enter)."""
        uid, gids = self._ids
        entry = placed.entry
        if uid == 0:
            return entry.kind is EntryKind.DIRECTORY or bool(entry.mode & 0o111 * bit)
        shift = 6 if entry.uid == uid else 3 if entry.gid in gids else 0
        return bool(entry.mode >> shift & bit)

    def _at(
        self, placed: Placed, rule: Rule, message: str, hint: str, layer: int | None = None
    ) -> Fault:
        return Fault(
            rule=rule,
            message=message,
            hint=hint,
            layer=placed.layer if layer is None else layer,
        )

    def _text(self, key: str) -> str:
        value = self.config.get(key)
        return value if isinstance(value, str) else ""

    def _list(self, key: str) -> tuple[str, ...]:
        value = self.config.get(key)
        return tuple(map(str, value)) if isinstance(value, list) else ()


def _handed_over(argv: list[str]) -> tuple[list[str], bool]:
    """Give what an init or a shell is told to start, where that is plain, and if a shell does."""
    name, rest = posixpath.basename(argv[0]), argv[1:]
    if name == "busybox" and rest:
        name, rest = rest[0], rest[1:]
    if name in _INITS:
        while rest and rest[0].startswith("-"):
            if rest.pop(0) == "--":
                break
        return rest, False
    if name in _SHELLS and len(rest) > 1 and rest[0] == "-c":
        found = _PLAIN_NAME.fullmatch(rest[1].strip())
        return ([found[1]], True) if found else ([], False)
    return [], False


def _asked_of_env(text: str) -> str:
    """Give the program that `#!/usr/bin/env` is to find (env(1), -S)."""
    words = text.split()
    while words and (words[0].startswith("-") or "=" in words[0]):
        words.pop(0)
    return words[0] if words else ""


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0
