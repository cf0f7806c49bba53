"""`podbuild toolchain install`: one private toolchain, whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache, partial
from pathlib import Path

from podbuild.build.toolchain import debian, podman_static
from podbuild.build.toolchain.download import UnreachableError
from podbuild.build.toolchain.find import probe_version
from podbuild.build.toolchain.model import (
    EngineKind,
    Installation,
    ToolVersion,
    file_digests,
    read_record,
    select,
    toolchain_folder,
    write_record,
)
from podbuild.build.toolchain.workshop import PROGRAMS, Fetched, Workshop
from podbuild.errors import ToolError
from podbuild.system.files import move
from podbuild.system.locks import lock_when_free
from podbuild.system.process import CommandError

_NEW = ".new-"


class ToolchainSource(StrEnum):
    """Where a private toolchain comes from."""

    AUTO = "auto"  # the first that serves
    PODMAN_STATIC = "podman-static"
    DEBIAN = "debian"


@dataclass(frozen=True, kw_only=True)
class InstallRequest:
    """What to install. `mirror` is PODBUILD_TOOLCHAIN_URL: for podman-static's archive."""

    source: ToolchainSource = ToolchainSource.AUTO
    mirror: str = ""
    release: podman_static.Release = field(default=podman_static.PINNED)


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """What was fetched: the engines, and qemu where it comes separately."""

    source: ToolchainSource
    engines: Fetched
    emulator: Fetched | None = None
    notes: tuple[str, ...] = ()

    @property
    def digests(self) -> Mapping[str, str]:
        return {**self.engines.digests, **(self.emulator.digests if self.emulator else {})}

    @property
    def name(self) -> str:
        """Give the folder's name: the same files are the same toolchain."""
        text = "".join(f"{name} {digest}\n" for name, digest in sorted(self.digests.items()))
        return f"{self.source}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def install(workshop: Workshop, request: InstallRequest) -> Installation:
    """Give the record of a working private toolchain, installing it where there is none yet.

    A second call changes nothing. Killed at any point, it leaves the one in use as it was, and
    the next call continues with what is downloaded.

    Raises ToolError: no source serves (UnreachableError), a wrong checksum, a tool missing.
    """
    try:
        return _install(workshop, request, toolchain_folder(workshop.folders))
    except CommandError as error:
        raise ToolError(
            f"the toolchain can't be installed: {error}", details=error.details
        ) from None
    except OSError as error:
        raise ToolError(f"the toolchain can't be installed: {error}") from None


def _install(workshop: Workshop, request: InstallRequest, base: Path) -> Installation:
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    workshop.downloads.mkdir(mode=0o700, parents=True, exist_ok=True)
    locks = (base / ".lock", workshop.downloads / ".lock")
    with _locked(locks[0], workshop), _locked(locks[1], workshop):
        record = read_record(workshop.folders)
        if record is not None and _serves(workshop, record, request):
            workshop.note(f"{record.source} is installed in {record.folder}")
            return record
        before = () if record is None else (record.name,)
        _sweep(base, before)
        installed = _put(workshop, base, _fetch(workshop, request))
        _sweep(base, (*before, installed.name))  # a run may still use the one before
        return installed


def _serves(workshop: Workshop, record: Installation, request: InstallRequest) -> bool:
    if request.source not in (ToolchainSource.AUTO, record.source):
        return False
    if record.notes and debian.can_fetch(workshop.runner):
        return False  # what was missing can be had now
    changed = record.changed_files()
    if changed:
        workshop.note(f"{len(changed)} files of {record.folder} are damaged ({changed[0]})")
    return not changed


def _fetch(workshop: Workshop, request: InstallRequest) -> _Parts:
    """Fetch from the source asked for, or the first that answers."""
    match request.source:
        case ToolchainSource.PODMAN_STATIC:
            return _fetch_podman_static(workshop, request)
        case ToolchainSource.DEBIAN:
            return _fetch_debian(workshop)
        case ToolchainSource.AUTO:
            try:
                return _fetch_podman_static(workshop, request)
            except UnreachableError as error:
                workshop.note(f"podman-static: {error}; trying Debian's packages")
                first = str(error)
            try:
                return _fetch_debian(workshop)
            except ToolError as error:
                raise ToolError(
                    f"no source of a toolchain serves: {first}; {error}",
                    hint=error.hint or "PODBUILD_TOOLCHAIN_URL can name a mirror or a file",
                    details=error.details,
                ) from None


def _fetch_podman_static(workshop: Workshop, request: InstallRequest) -> _Parts:
    engines = podman_static.fetch_release(workshop, request.release, request.mirror)
    try:
        emulator = debian.fetch_packages(workshop, debian.EMULATOR)
    except ToolError as error:
        note = f"no qemu for foreign architectures: {error}"
        workshop.note(note)
        return _Parts(source=ToolchainSource.PODMAN_STATIC, engines=engines, notes=(note,))
    return _Parts(source=ToolchainSource.PODMAN_STATIC, engines=engines, emulator=emulator)


def _fetch_debian(workshop: Workshop) -> _Parts:
    packages = (*debian.ENGINES, *debian.EMULATOR)
    return _Parts(source=ToolchainSource.DEBIAN, engines=debian.fetch_packages(workshop, packages))


def _put(workshop: Workshop, base: Path, parts: _Parts) -> Installation:
    """Unpack beside, rename into place, try it, and only then make it the one in use."""
    final = base / parts.name
    staging = Path(tempfile.mkdtemp(dir=base, prefix=_NEW))
    if parts.source is ToolchainSource.DEBIAN:
        debian.unpack_engines(workshop, parts.engines, staging, final)
    else:
        podman_static.unpack(workshop, parts.engines, staging)
    if parts.emulator is not None:
        debian.unpack_emulator(workshop, parts.emulator, staging)
    files = file_digests(staging)
    if final.exists():
        move(final, Path(tempfile.mkdtemp(dir=base, prefix=_NEW)) / "old")
    move(staging, final)
    record = Installation(
        name=parts.name,
        source=parts.source,
        origin=parts.engines.origin,
        installed=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        folder=final,
        downloads=parts.digests,
        files=files,
        versions=_versions(workshop, final),
        notes=parts.notes,
    )
    write_record(record, final)
    select(workshop.folders, record.name)
    return record


def _versions(workshop: Workshop, folder: Path) -> Mapping[str, str]:
    """Ask every program; raises ToolError when no engine of the folder runs."""
    found: dict[str, ToolVersion] = {}
    runner = workshop.runner.extended(prefix=())
    for name in PROGRAMS:
        path = folder / "bin" / name
        version = probe_version(runner, path) if path.is_file() else None
        if version is not None:
            found[name] = version
    if not any(kind in found for kind in EngineKind):
        raise ToolError(
            f"the engines in {folder} do not run on this machine",
            hint="is that file system mounted noexec? XDG_STATE_HOME can name another one",
        )
    return {name: str(version) for name, version in found.items()}


def _sweep(base: Path, keep: Sequence[str]) -> None:
    """Remove older toolchains and what killed installations left."""
    for path in base.iterdir():
        if path.is_dir() and path.name not in keep:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _locked(path: Path, workshop: Workshop) -> Iterator[None]:
    """Hold the lock of all installations of this user; the kernel frees a dead holder's."""
    with path.open("wb") as file:
        tell = cache(partial(workshop.note, "another installation is at work; waiting for it"))
        lock_when_free(file, workshop.runner.cancel, tell)
        yield
