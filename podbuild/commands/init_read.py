"""What `podbuild init` reads in Containerfiles: the context, other images, secrets, ssh, format.

It guesses: a file that can't be read tells nothing, and `podbuild check` says why.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from podbuild.build.inputs.containerfile import Containerfile, read_containerfile
from podbuild.build.inputs.instructions import Instruction, unquote
from podbuild.errors import PodbuildError
from podbuild.system.files import read_plain

_ELSEWHERE = re.compile(r"(?:https?|git|ssh)://|git@")
_PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True, kw_only=True)
class ReadContainerfile:
    """What one file needs besides itself."""

    context: str = ""  # the folder that holds all its sources; empty: nothing tells it
    bases: tuple[str, ...] = ()  # images that it starts from or copies from, as written
    secrets: tuple[tuple[str, str], ...] = ()  # id, and the variable that its mount names
    ssh: tuple[str, ...] = ()
    healthcheck: bool = False


def read_all(
    folder: Path, files: Iterable[PurePosixPath]
) -> Mapping[PurePosixPath, ReadContainerfile]:
    """Give what is read in each file; those that are no Containerfiles are left out."""
    found = {path: _read(folder, path) for path in files}
    return {path: each for path, each in found.items() if each is not None}


def _read(folder: Path, path: PurePosixPath) -> ReadContainerfile | None:
    text = ""
    try:
        text = read_plain(folder / path).decode("utf-8", "replace")
        parsed = read_containerfile(text)
    except (OSError, PodbuildError):
        # A file of the plain name is meant to be one: `check` says what is wrong with it.
        is_meant = path.name.lower() in ("containerfile", "dockerfile") or not text.strip()
        return ReadContainerfile() if is_meant else None
    mounts = [mount for each in parsed.instructions for mount in _mounts(each)]
    return ReadContainerfile(
        context=_context(folder, path, [*_sources(parsed), *_bound(mounts)]),
        bases=tuple(dict.fromkeys(_bases(parsed, mounts))),
        secrets=tuple(dict.fromkeys(_secrets(mounts))),
        ssh=tuple(dict.fromkeys(m.get("id") or "default" for m in mounts if m["type"] == "ssh")),
        healthcheck=any(
            each.word == "HEALTHCHECK" and each.text.strip().upper() != "NONE"
            for each in parsed.instructions
        ),
    )


def _mounts(instruction: Instruction) -> Iterator[dict[str, str]]:
    for flag in instruction.flags if instruction.word == "RUN" else ():
        name, _, value = flag.partition("=")
        if name == "--mount":
            parts = (part.partition("=") for part in value.split(","))
            yield {"type": "bind", **{key.strip().lower(): text for key, _, text in parts}}


def _secrets(mounts: Iterable[Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    for mount in mounts:
        target = mount.get("target") or mount.get("dst") or mount.get("destination") or ""
        name = mount.get("id") or PurePosixPath(target).name
        if mount["type"] == "secret" and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
            yield name, mount.get("env") or re.sub(r"[^A-Za-z0-9]", "_", name).upper()


def _bound(mounts: Iterable[Mapping[str, str]]) -> Iterator[str]:
    for mount in mounts:
        source = mount.get("source") or mount.get("src") or ""
        if mount["type"] == "bind" and source and not mount.get("from"):
            yield source


def _sources(parsed: Containerfile) -> Iterator[str]:
    """Give what COPY and ADD take from the context, as written."""
    for each in parsed.instructions:
        if each.word not in ("COPY", "ADD") or any(f.startswith("--from=") for f in each.flags):
            continue
        names = each.array or tuple(unquote(word) for word in each.words)
        yield from (name for name in names[:-1] if not name.startswith("<<"))


def _bases(parsed: Containerfile, mounts: Iterable[Mapping[str, str]]) -> Iterator[str]:
    try:
        yield from (each.value for each in parsed.outside({}))
    except PodbuildError:
        return
    stages = {stage.name for stage in parsed.stages}
    for mount in mounts:
        if (name := mount.get("from", "")) and name not in stages:
            yield name


def _context(folder: Path, path: PurePosixPath, sources: Iterable[str]) -> str:
    """Give the nearest folder, from the file's own upwards, that has all sources."""
    wanted = [
        source.lstrip("/")
        for source in sources
        if "$" not in source and not _ELSEWHERE.match(source) and source.strip("/.")
    ]
    if not wanted:
        return ""
    places = (path.parent, *path.parent.parents)
    able = (place for place in places if all(_is_there(folder / place, each) for each in wanted))
    found = next(able, None)
    return "" if found is None else str(found)


def _is_there(place: Path, source: str) -> bool:
    if not _PATTERN.search(source):
        return (place / source).exists()
    try:
        return any(True for _ in place.glob(source))
    except (ValueError, NotImplementedError):
        return False
