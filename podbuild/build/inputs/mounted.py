"""Build secrets that no environment variable can hold, as files of a context in memory.

Engines copy the file of a secret into their storage, on a disk. A cache mount of a context copies
nothing, and unlike a bind mount leaves no digest of what it holds in the image's history.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from podbuild.build.inputs.instructions import Instruction, unquote
from podbuild.build.inputs.mounts import (
    IN_MEMORY,
    is_for_engines,
    mount_options,
    written_mount,
)
from podbuild.errors import ConfigError

_KNOWN = frozenset({"type", "id", "source", "required", "mode", "uid", "gid", "target"})


@dataclass(frozen=True, kw_only=True)
class SecretFile:
    """What one mount needs: a context with a file `value`, its mode and its owner."""

    context: str
    secret: str
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


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


def bound_secrets(
    instruction: Instruction, large: Collection[str]
) -> tuple[Instruction, tuple[SecretFile, ...]]:
    """Mount secrets of these ids from contexts; raises ConfigError for what can't be read."""
    flags: list[str] = []
    files: list[SecretFile] = []
    for flag in instruction.flags:
        options = mount_options(unquote(flag.removeprefix("--mount=")))
        target = options.get("target", "")
        secret = options.get("source") or options.get("id") or PurePosixPath(target).name
        if options.get("type") != "secret" or secret not in large or "env" in options:
            flags.append(flag)
            continue
        found = _file(instruction, options, secret, len(files))
        files.append(found)
        place = target or f"/run/secrets/{secret}"
        flags.append(f"--mount=type=cache,from={found.context},source=value,target={place},ro")
    return replace(instruction, flags=tuple(flags)), tuple(files)


def _file(
    instruction: Instruction, options: Mapping[str, str], secret: str, number: int
) -> SecretFile:
    if unknown := options.keys() - _KNOWN:
        raise ConfigError(
            f"{instruction.place}: a mount of a build secret has no {min(unknown)!r}",
            hint=f"it has {', '.join(sorted(_KNOWN))}",
        )
    try:
        return SecretFile(
            context=f"{IN_MEMORY}{instruction.line}.{number}",
            secret=secret,
            mode=int(options.get("mode") or "400", 8),
            uid=int(options.get("uid") or 0),
            gid=int(options.get("gid") or 0),
        )
    except ValueError:
        raise ConfigError(
            f"{instruction.place}: the mount of the build secret {secret!r} is not understood",
            hint="give mode, uid and gid as numbers",
        ) from None


def with_known_mounts(instruction: Instruction) -> Instruction:
    """Leave out what the engine does not know and what changes no file of the image."""
    flags = (
        f"--mount={_known_mount(flag.removeprefix('--mount='))}"
        if flag.startswith("--mount=")
        else flag
        for flag in instruction.flags
    )
    return replace(instruction, flags=tuple(flags))


def _known_mount(written: str) -> str:
    options = dict(mount_options(unquote(written)))
    changed = dict(options)
    kind = options.get("type", "bind")
    if not changed.get("from", "context"):
        del changed["from"]
    if kind in ("bind", "cache", "tmpfs") and not options.get("target"):
        changed["target"] = "."
    if kind == "tmpfs" and "size" in options:
        changed["tmpfs-size"] = changed.pop("size")
    if kind == "secret" and "source" in options:
        changed["id"] = changed.pop("source")
    if kind == "secret" and "id" not in changed and (target := options.get("target")):
        changed["id"] = PurePosixPath(target).name
    # each image and platform has its own folder, where steps follow each other
    if kind == "cache" and options.get("sharing") == "private":
        del changed["sharing"]
    plain = unquote(written)
    whole = plain != written or " " not in plain  # who changed a mount has taken its quotes
    if changed == options and whole and is_for_engines(plain):
        return written
    text = written_mount(changed)
    return f'"{text}"' if " " in text else text


def with_shown(instruction: Instruction, key: str) -> Instruction | None:
    """Give a RUN whose text says what its mounts show; None where it can't.

    To a layer cache of the engine's a RUN is the same that has the same text and the same files
    in mounts of `type=bind`, if that is written, of stages no files at all. So the text has a
    digest in an option that means nothing (`consistency`, of macOS), and the engine looks at none.
    """
    flags, told = [], False
    for flag in instruction.flags:
        options = dict(mount_options(unquote(flag.removeprefix("--mount="))))
        if not flag.startswith("--mount=") or options.pop("type", "bind") != "bind":
            flags.append(flag)
            continue
        text = written_mount(options if told else {**options, "consistency": key})
        flags.append(f'--mount="{text}"' if " " in text else f"--mount={text}")
        told = True
    return replace(instruction, flags=tuple(flags)) if told else None
