"""The files and folders that an image names, looked for before anything is built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from podbuild.config.contexts import FolderContext
from podbuild.config.image import Image
from podbuild.config.toml import read_source, shown
from podbuild.errors import ConfigError


def require_inputs(images: Iterable[Image]) -> None:
    """Raise ConfigError for the first file or folder that an image needs and that is missing."""
    for image in images:
        for _, problem in missing_inputs(image):
            raise problem


def missing_inputs(image: Image) -> Iterator[tuple[tuple[str, ...], ConfigError]]:
    """Give what is not there, each with the way from the image's table to the key that names it."""
    name = f"image {image.name!r}"
    if not image.context.is_dir():
        yield (
            ("context",),
            ConfigError(
                f"{name}: there is no folder {shown(image.context)}", hint="context names a folder"
            ),
        )
    files = {"containerfile": image.containerfile, "ignorefile": image.ignorefile}
    hints = {
        "containerfile": "write it, or name another one with containerfile",
        "ignorefile": "ignorefile names a file",
    }
    for key, path in files.items():
        if path is not None and not path.is_file():
            file = shown(path)
            what = f"{file} is a folder, not a file" if path.is_dir() else f"there is no {file}"
            yield (key,), ConfigError(f"{name}: {what}", hint=hints[key])
    for wanted, context in image.contexts.items():
        if isinstance(context, FolderContext) and not context.path.is_dir():
            yield (
                ("contexts", wanted),
                ConfigError(
                    f"{name}: there is no folder {shown(context.path)}, the context {wanted!r}",
                    hint="contexts are folders, image:NAME or docker-image://REFERENCE",
                ),
            )


def names_platforms(image: Image) -> bool:
    """Tell whether FROM may take an image for another platform than the one that is built."""
    try:
        return bool(image.inner) and "--platform" in read_source(image.containerfile)
    except ConfigError:  # told where the file is needed
        return False
