"""Build secrets that no environment variable can hold, as files of a context in memory.

Engines copy the file of a secret into their storage, on a disk. A cache mount of a context copies
nothing, and unlike a bind mount leaves no digest of what it holds in the image's history.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from podbuild.build.inputs.instructions import Instruction
from podbuild.errors import ConfigError

_TARGETS = ("target", "dst", "destination")
_KNOWN = frozenset({"type", "id", "required", "mode", "uid", "gid", *_TARGETS})


@dataclass(frozen=True, kw_only=True)
class SecretFile:
    """What one mount needs: a context with a file `value`, its mode and its owner."""

    context: str
    secret: str
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


def bound_secrets(
    instruction: Instruction, large: Collection[str]
) -> tuple[Instruction, tuple[SecretFile, ...]]:
    """Mount secrets of these ids from contexts; raises ConfigError for what can't be read."""
    flags: list[str] = []
    files: list[SecretFile] = []
    for flag in instruction.flags:
        options = _options(flag)
        target = next((options[name] for name in _TARGETS if options.get(name)), "")
        secret = options.get("id") or PurePosixPath(target).name
        if options.get("type") != "secret" or secret not in large or "env" in options:
            flags.append(flag)
            continue
        found = _file(instruction, options, secret, len(files))
        files.append(found)
        place = target or f"/run/secrets/{secret}"
        flags.append(f"--mount=type=cache,from={found.context},source=value,target={place},ro")
    return replace(instruction, flags=tuple(flags)), tuple(files)


def _options(flag: str) -> dict[str, str]:
    name, _, value = flag.partition("=")
    parts = (part.partition("=") for part in value.split(",")) if name == "--mount" else ()
    return {key.strip().lower(): text for key, _, text in parts}


def _file(
    instruction: Instruction, options: dict[str, str], secret: str, number: int
) -> SecretFile:
    if unknown := options.keys() - _KNOWN:
        raise ConfigError(
            f"{instruction.place}: a mount of a build secret has no {min(unknown)!r}",
            hint=f"it has {', '.join(sorted(_KNOWN))}",
        )
    try:
        return SecretFile(
            context=f"podbuild.secret.{instruction.line}.{number}",
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
