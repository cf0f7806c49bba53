"""Copies of one file to the name of a link, which BuildKit writes through.

Engines put the file in the place of a link to a file, and make a folder of what a link names that
is not there. Where the Containerfile says what the link names, the copy names that itself.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from podbuild.build.inputs.containerfile import Containerfile, Stage
from podbuild.build.inputs.copying import is_linked
from podbuild.build.inputs.instructions import Instruction
from podbuild.build.inputs.lexer import quoted_word
from podbuild.build.inputs.scripts import Command, Script

_MOST = 8  # links that lead to each other
_MAYBE = re.compile(r"\|\||[(){}]|\b(?:if|for|while|until|case)\b")  # a command that may not be run
_OPEN = re.compile(r"[$`*?\[]")  # a word that a shell makes others of
_REMOVING = ("rm", "unlink", "mv")
_FLAGS = re.compile(r"-[sfnv]+|--symbolic|--force")
_ROOT = (
    *("bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "media", "mnt", "opt"),
    *("proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr", "var"),
    *("app", "apps", "config", "data", "src", "work", "workspace"),
)  # of a base


def linked_destinations(
    parsed: Containerfile, stage: Stage, variables: Mapping[str, str]
) -> dict[int, str]:
    """Give what the link that a COPY or ADD names leads to, by the instruction's line."""
    found: dict[int, str] = {}
    seen = _Seen()
    for each in (*_stages_below(parsed, stage, variables), stage):
        for instruction, known in parsed.walk(each, variables):
            if instruction.word == "WORKDIR":
                seen.folder = _join(seen.folder, instruction.expand(instruction.text, known))
                seen.note_folder(seen.folder)
            elif instruction.word == "RUN":
                seen.follow(Script(instruction))
            elif instruction.word in ("COPY", "ADD"):
                path = _destination(instruction, seen.folder, known)
                if each is stage and path in seen.links.keys() - seen.folders:
                    found[instruction.line] = seen.end_of(path)
                seen.note_folder(_folder_made(instruction, seen.folder, known))
    return found


def with_destination(instruction: Instruction, destination: str | None) -> Instruction:
    """Give a copy to another place, where one is given."""
    if destination is None:
        return instruction
    if instruction.array is not None:
        text = json.dumps([*instruction.array[:-1], destination])
    else:
        words = (*instruction.words[:-1], quoted_word(destination, instruction.escape))
        text = " ".join(words)
    return replace(instruction, text=text)


def _stages_below(
    parsed: Containerfile, stage: Stage, variables: Mapping[str, str]
) -> tuple[Stage, ...]:
    found: tuple[Stage, ...] = ()
    while below := parsed.earlier(stage, next(parsed.uses(stage, variables))):
        found, stage = (below, *found), below
    return found


def _destination(instruction: Instruction, folder: str, known: Mapping[str, str]) -> str:
    """Give the absolute path of what may be a file; empty where it can't be, or is not known."""
    words = instruction.array or instruction.words
    parents = any(each.startswith("--parents") for each in instruction.flags)
    special = parents or is_linked(instruction.flags)
    if len(words) != 2 or special:  # noqa: PLR2004
        return ""
    destination = instruction.expand(words[-1], known)
    return (
        ""
        if destination in (".", "..") or destination.endswith(("/", "/.", "/.."))
        else _join(folder, destination)
    )


def _folder_made(instruction: Instruction, folder: str, known: Mapping[str, str]) -> str:
    """Give the folder that is there after a copy; empty where it is not known."""
    destination = instruction.expand((instruction.array or instruction.words or ("",))[-1], known)
    path = _join(folder, destination)
    return path if destination.endswith("/") else posixpath.dirname(path)


@dataclass
class _Seen:
    """What is known at one place of a stage: where it stands, links, and folders."""

    folder: str = ""  # that of the base is not known
    links: dict[str, str] = field(default_factory=dict)
    folders: set[str] = field(default_factory=lambda: {"/"})

    def note_folder(self, path: str) -> None:
        while path and path not in self.folders:
            self.folders.add(path)
            path = posixpath.dirname(path)

    def follow(self, script: Script) -> None:
        """Note the links that a RUN makes and those that it may take away."""
        folder = self.folder
        sure = not _MAYBE.search(script.text)
        for command in script.commands:
            paths = [_join(folder, each) for each in command.operands]
            if command.name == "cd":
                folder = _join(folder, command.action)
            elif command.name == "mkdir":
                for path in paths:
                    self.note_folder(path)
            elif command.name == "ln" and sure:
                self._link(command, folder)
            elif command.name in _REMOVING:
                for link in [each for each in self.links if _is_in(each, paths)]:
                    del self.links[link]

    def end_of(self, path: str) -> str:
        """Give what a link leads to in the end."""
        for _ in range(_MOST):
            path = self.links.get(path, path)
        return path

    def _link(self, command: Command, folder: str) -> None:
        """Note the one link of `ln -s TARGET LINK`."""
        flags = [each for each in command.words if each.startswith("-")]
        if len(command.operands) != 2 or not flags or not all(map(_FLAGS.fullmatch, flags)):  # noqa: PLR2004
            return
        target, link = command.operands
        path = _join(folder, link)
        aim = _join(posixpath.dirname(path), target)
        if path and aim and "s" in "".join(flags) and self._is_no_folder(path, aim):
            self.links[path] = aim

    def _is_no_folder(self, path: str, aim: str) -> bool:
        """Tell whether no folder is there by that name, in which the link would be made."""
        above, name = posixpath.split(path)
        if path in self.folders or name.endswith(".d") or (above == "/" and name in _ROOT):
            return False
        return above in self.folders or name == posixpath.basename(aim) or "." in name[1:]


def _is_in(link: str, gone: list[str]) -> bool:
    return any(link == each or link.startswith(f"{each}/") or not each for each in gone)


def _join(folder: str, path: str) -> str:
    """Give an absolute path without dots; empty where it is not known."""
    if not path or _OPEN.search(path) or not (folder or path.startswith("/")):
        return ""
    return posixpath.normpath(posixpath.join(folder, path))
