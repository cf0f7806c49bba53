"""Mounts of RUN that BuildKit refuses, or engines can't give: types, options and their values."""

from __future__ import annotations

import difflib
import posixpath
import re
from collections.abc import Iterator, Mapping

from podbuild.build.inputs.instructions import Instruction
from podbuild.build.inputs.mounts import OF_ENGINES, is_known_switch

_PLACES = ("type", "target")
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "bind": ("source", "from", "rw", "ro", "z", "Z", "relabel", "bind-propagation"),
    "cache": (
        *("id", "source", "from", "sharing", "mode", "uid", "gid", "ro", "rw", "z", "Z", "U"),
    ),
    "tmpfs": ("size", "tmpfs-size", "tmpfs-mode"),
    "secret": ("id", "source", "required", "mode", "uid", "gid", "env"),
    "ssh": ("id", "required", "mode", "uid", "gid"),
}
_SHARING = ("shared", "private", "locked")
_VALUES = {
    "uid": (re.compile(r"\d{1,10}", re.ASCII), "uid=1000"),
    "gid": (re.compile(r"\d{1,10}", re.ASCII), "gid=1000"),
    "mode": (re.compile(r"[0-7]{1,11}"), "mode=0755"),
    # units.RAMInBytes of docker/go-units
    "size": (re.compile(r"\d+(\.\d+)? ?([kmgtpe]i?b?|b)?", re.ASCII | re.IGNORECASE), "size=64m"),
}


def unfit_mounts(instruction: Instruction) -> Iterator[tuple[str, str]]:
    """Give what is wrong with an instruction's mounts and a way out.

    What variables stand for that have no value yet may be right.
    """
    for options in instruction.mounts:
        kind = options.get("type", "bind")
        if "$" in kind:
            continue
        if kind not in _OPTIONS:
            near = difflib.get_close_matches(kind, _OPTIONS, n=1)
            yield f"no mount is of type {kind[:40]!r}", f"type={near[0] if near else 'bind'}"
            continue
        for name, value in options.items():
            if "$" not in value:
                yield from _option(kind, name, value)
        yield from _whole(kind, options, instruction)


def _option(kind: str, name: str, value: str) -> Iterator[tuple[str, str]]:
    if "," in value:
        yield f"{name}={value[:40]}: the engine takes no comma there", "another name"
    if name in OF_ENGINES and value:
        yield f"{name}={value[:40]}: {name} takes no value", name
    if not is_known_switch(name, value):
        yield f"{name}={value[:40]} is neither true nor false", name
    known = (*_PLACES, *_OPTIONS[kind])
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        yield f"a {kind} mount has no option {name[:40]!r}", hint
    elif name in _VALUES and not _VALUES[name][0].fullmatch(value):
        yield f"{name}={value[:40]} is none", _VALUES[name][1]
    elif name == "sharing" and value not in _SHARING:
        yield f"sharing={value[:40]} is not known", f"one of {', '.join(_SHARING)}"


def _whole(
    kind: str, options: Mapping[str, str], instruction: Instruction
) -> Iterator[tuple[str, str]]:
    target = options.get("target", "")
    if kind == "secret":
        if options.get("env") and instruction.array is not None:
            yield (
                "only a shell can have a secret in a variable here",
                "write the command without [ ], or read the secret's file",
            )
        if not any(options.get(name) for name in ("id", "source", "target", "env")):
            yield "a mount of no secret", "--mount=type=secret,id=NAME"
        if options.get("id") and options.get("source"):
            yield "a secret has an id or a source, which mean the same", "id alone"
    elif kind != "ssh" and target.startswith("/") and not posixpath.normpath(target).strip("/"):
        yield f"a {kind} mount can't take the place of /", "target=/x"
