"""The files that recipes are made from, each read once.

An image has a recipe for each platform, and one more for its source hash; the images of a monorepo
share contexts and often a Containerfile. All of them see the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from podbuild.build.inputs.containerfile import Containerfile, read_containerfile
from podbuild.build.inputs.ignore import applicable_ignore_file, ignore_files, parse_ignore
from podbuild.config.image import Image
from podbuild.config.toml import read_source, shown
from podbuild.plan.model import Plan, PlannedImage


def ignored_of_context(image: Image) -> tuple[str, ...]:
    """Give what an image's context leaves out; raises ConfigError with file and line."""
    return _patterns_in(
        applicable_ignore_file(image.context, image.containerfile, image.ignorefile)
    )


def ignored_of_folder(folder: Path) -> tuple[str, ...]:
    """Give what a folder leaves out as an extra context; raises ConfigError with file and line."""
    return _patterns_in(next((file for file in ignore_files(folder) if file.is_file()), None))


def _patterns_in(file: Path | None) -> tuple[str, ...]:
    return parse_ignore(read_source(file), where=shown(file)) if file else ()


class Readings:
    """Keeps what was read of a project, for as long as its recipes are made. Not for threads."""

    def __init__(self) -> None:
        self._containerfiles: dict[Path, tuple[str, Containerfile]] = {}
        self._ignored: dict[tuple[Path, Path, Path | None], tuple[str, ...]] = {}
        self._folders: dict[Path, tuple[str, ...]] = {}
        self._own: dict[Path, tuple[str, ...]] = {}

    def containerfile(self, plan: Plan, planned: PlannedImage) -> tuple[str, Containerfile]:
        """Give an image's Containerfile as text and parsed; raises ConfigError, as all here do."""
        path = planned.image.containerfile
        if path not in self._containerfiles:
            text = read_source(path)
            where = file_of(plan, planned)
            self._containerfiles[path] = text, read_containerfile(text, where=where)
        return self._containerfiles[path]

    def ignored_of_context(self, image: Image) -> tuple[str, ...]:
        """Give what an image's context leaves out."""
        key = image.context, image.containerfile, image.ignorefile
        if key not in self._ignored:
            self._ignored[key] = ignored_of_context(image)
        return self._ignored[key]

    def ignored_of_folder(self, folder: Path) -> tuple[str, ...]:
        """Give what a folder leaves out as an extra context."""
        if folder not in self._folders:
            self._folders[folder] = ignored_of_folder(folder)
        return self._folders[folder]

    def own(self, folder: Path, find: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        """Give the patterns of what podbuild keeps to itself in a folder."""
        if folder not in self._own:
            self._own[folder] = find()
        return self._own[folder]


def file_of(plan: Plan, planned: PlannedImage) -> str:
    """Give how messages name an image's Containerfile: from the project's folder on."""
    path = planned.image.containerfile
    return str(path.relative_to(plan.root) if path.is_relative_to(plan.root) else path)
