"""`podbuild pin`: deployment files name the images of a version or tag by digest."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from podbuild.commands.borders import Borders
from podbuild.commands.released import (
    asked_version,
    lock_from,
    released_tag,
    released_version,
)
from podbuild.commands.relocate import plan_of
from podbuild.config.following import Deployment
from podbuild.config.output import ReportFile
from podbuild.config.toml import shown
from podbuild.errors import ConfigError, VersionError
from podbuild.oci.names import RegistryKind, Repository, Tag
from podbuild.plan.model import Request
from podbuild.report.json import Lock, read_lock
from podbuild.report.lists import ImageList, ListedImage
from podbuild.report.pins import Names, PinnedText, pin_text
from podbuild.semver import Version
from podbuild.system.files import write_atomically
from podbuild.workspace import Services


@dataclass(frozen=True, kw_only=True)
class PinTask:
    """Files, and the version or tag that they shall name."""

    files: tuple[Path, ...]
    wanted: Version | Tag


@dataclass(frozen=True, kw_only=True)
class PinnedFile:
    """A file as it should be."""

    path: Path
    wanted: str
    pinned: PinnedText

    @property
    def is_stale(self) -> bool:
        """Tell whether the file says something else."""
        return bool(self.pinned.changes)


def split_arguments(
    services: Services, given: Iterable[str], folder: Path
) -> tuple[Version | Tag | None, tuple[Path, ...]]:
    """Tell what `[VERSION] [FILE...]` are: what exists is a file, else the first is a version.

    A tag will do as well. Raises ConfigError for a file that is not there.
    """
    names = list(given)
    wanted: Version | Tag | None = None
    if names and not (folder / names[0]).exists():
        first = names.pop(0)
        version = services.config.project.form.find(first)
        if version is None and ("/" in first or Path(first).suffix in (".yaml", ".yml", ".env")):
            raise ConfigError(f"{first}: no such file")
        wanted = version or _tag(first)
    missing = [each for each in names if not (folder / each).is_file()]
    if missing:
        raise ConfigError(f"{missing[0]}: no such file", hint="VERSION comes before the files")
    return wanted, tuple(folder / each for each in names)


def _tag(text: str) -> Tag:
    try:
        return Tag(text)
    except VersionError as error:
        raise ConfigError(f"{text}: no such file, and {error.message}") from None


def pin_tasks(
    services: Services,
    wanted: Version | Tag | None,
    files: tuple[Path, ...],
    deployments: Iterable[Deployment],
    borders: Borders,
) -> tuple[PinTask, ...]:
    """Give what is to be pinned: the named files, else those of the deployments."""
    if files:
        return (PinTask(files=files, wanted=wanted or asked_version(services, None).version),)
    tasks = tuple(
        PinTask(
            files=tuple(_files_of(services, each, borders)),
            wanted=wanted_of(services, each, wanted),
        )
        for each in deployments
    )
    seen: dict[Path, Version | Tag] = {}
    for task in tasks:
        for path in task.files:
            if seen.setdefault(path.resolve(), task.wanted) != task.wanted:
                raise ConfigError(
                    f"{shown(path)} shall name both {seen[path.resolve()]} and {task.wanted}",
                    hint="a file belongs to one [deploy.NAME]; --deploy chooses one",
                )
    if not tasks:
        raise ConfigError(
            "there is no file to pin",
            hint='name files, or write [deploy.production] with files = ["deploy/*.yaml"]',
        )
    return tasks


def chosen_deployments(services: Services, names: Iterable[str]) -> tuple[Deployment, ...]:
    """Give the named deployments, all by default; raises ConfigError for an unknown one."""
    known = {each.name: each for each in services.config.deploy}
    for name in names:
        if name not in known:
            hint = f"the configuration has: {', '.join(known) or 'none'}"
            raise ConfigError(f"unknown deployment {name!r}", hint=hint)
    return tuple(known[name] for name in names) or services.config.deploy


def wanted_of(
    services: Services, each: Deployment | None, wanted: Version | Tag | None
) -> Version | Tag:
    """Give what a deployment shall name: what it follows, what is asked for, its tag, HEAD's."""
    if each and each.follow:
        return Tag(each.follow)
    if wanted is not None:
        return wanted
    return Tag(each.tag) if each and each.tag else asked_version(services, None).version


def _files_of(services: Services, each: Deployment, borders: Borders) -> Iterator[Path]:
    for pattern in each.files:
        whole = os.path.join(services.config.root, pattern)  # noqa: PTH118  # a pattern, no path
        found = [
            path
            for name in sorted(glob.glob(whole, recursive=True))  # noqa: PTH207  # also absolute
            if (path := Path(name)).is_file()
        ]
        if not found:
            raise ConfigError(f"[deploy.{each.name}] files: {pattern} names no file")
        for path in found:
            borders.check(path)
            yield path


def lock_for(services: Services, wanted: Version | Tag, request: Request) -> Lock:
    """Give the images of a version or tag: as the release here left them, else from registries.

    Raises VersionError where no registry has it, and what required registries raise.
    """
    project = services.config.project.name
    if isinstance(wanted, Tag):
        return lock_from(project, "", released_tag(services, wanted, request))
    here = read_lock(services.config.output / ReportFile.LOCK)
    if here and (here.project, here.version) == (project, str(wanted)) and not request.images:
        places = {(each.image, each.registry.name) for each in plan_of(services, request).targets}
        if places <= {(each.name, name) for each in here.images for name in each.repositories}:
            return here
    return lock_from(project, str(wanted), released_version(services, wanted, request))


def names_of(services: Services, lock: Lock, images: tuple[str, ...]) -> Names:
    """Give which repositories are ours (all of them, or these images'), on whatever registry."""
    found = {}
    for target in plan_of(services, Request(images=images)).targets:
        if target.registry.kind is not RegistryKind.LAYOUT:
            repository = str(Repository.parse(target.place))
            found[repository] = (target.image, lock.image(target.image))
    return Names(found)


def pin_files(services: Services, tasks: Iterable[PinTask], request: Request) -> list[PinnedFile]:
    """Give every file as it should be; what can't be done by text is warned of."""
    done: list[PinnedFile] = []
    names: dict[str, Names] = {}
    for task in tasks:
        wanted = str(task.wanted)
        if wanted not in names:
            lock = lock_for(services, task.wanted, request)
            names[wanted] = names_of(services, lock, request.images)
        for path in task.files:
            text = _read(path)
            each = PinnedFile(path=path, wanted=wanted, pinned=pin_text(text, path, names[wanted]))
            _warn(services, each)
            done.append(each)
    return done


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ConfigError(f"{shown(path)}: can't be read: {error.strerror}") from None


def _warn(services: Services, each: PinnedFile) -> None:
    file, pinned = shown(each.path), each.pinned
    for line, image in pinned.unlocked:
        services.ui.warn(f"{image} has no {each.wanted}, so this stays", file=file, line=line)
    for line in pinned.unread:
        services.ui.warn(
            "names one of this project's images in a way that `podbuild pin` does not change",
            file=file,
            line=line,
        )
    if not (pinned.found or pinned.unread):
        services.ui.warn(f"{file} names none of this project's images")


def write_pins(files: Iterable[PinnedFile]) -> None:
    """Write the files that are to change, through links, with the mode that they have."""
    for each in files:
        if each.is_stale:
            path = each.path.resolve()
            mode = stat.S_IMODE(path.stat().st_mode)
            write_atomically(path, each.pinned.text.encode("utf-8", "surrogateescape"), mode=mode)
            path.chmod(mode)


def image_list(
    services: Services, lock: Lock, registries: tuple[str, ...], names: Mapping[str, str]
) -> ImageList:
    """Give the images by the names of the first registry that has them, of those named or all.

    Raises ConfigError where no registry can be named.
    """
    config = services.config
    kinds = {each.name: each.kind for each in config.registries}
    remote = [name for name, kind in kinds.items() if kind is not RegistryKind.LAYOUT]
    chosen = registries or remote
    images = []
    for each in lock.images:
        place = next((each.repositories[name] for name in chosen if name in each.repositories), "")
        if not place:
            raise ConfigError(
                f"{each.name} is on no registry whose names a deployment can use",
                hint="a layout is a folder; name a registry with --registry",
            )
        images.append(
            ListedImage(name=each.name, repository=place, tag=each.tag, digest=each.digest)
        )
    return ImageList(images=tuple(images), services=names)
