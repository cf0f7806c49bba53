"""The patterns of the ignore files that hold for an image's contexts."""

from __future__ import annotations

from pathlib import Path

from podbuild.build.inputs.ignore import applicable_ignore_file, ignore_files, parse_ignore
from podbuild.config.image import Image
from podbuild.config.toml import read_source, shown


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
