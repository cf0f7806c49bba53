"""What images, their tests and checks name: files, images, platforms, looked for before a build."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator

from podbuild.config.choices import FolderContext
from podbuild.config.image import Image
from podbuild.config.keys import Invalid
from podbuild.config.model import Config
from podbuild.config.toml import read_source, shown
from podbuild.errors import ConfigError

Way = tuple[str | int, ...]


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


def check_commands(config: Config) -> None:
    """Raise Invalid where [[checks]] name what is not there, or share one name."""
    images = {each.name: each for each in config.images}
    titles = Counter(each.title for each in config.checks)
    for place, command in enumerate(config.checks):
        way: Way = ("checks", place)
        if titles[command.title] > 1:
            raise Invalid(
                f"two checks are named {command.title!r}",
                hint='give each a name of its own, such as name = "licences"',
                path=(*way, "name" if command.name else "run"),
            )
        for at, name in enumerate(command.images):
            if name not in images:
                near = difflib.get_close_matches(name, images, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(images)}"
                raise Invalid(f"unknown image {name!r}", hint=hint, path=(*way, "images", at))
        chosen = [images[name] for name in command.images or images]
        for at, platform in enumerate(command.platforms):
            if all(platform not in image.platforms for image in chosen):
                raise Invalid(
                    f"none of its images is built for {platform}", path=(*way, "platforms", at)
                )


def check_tests(image: Image) -> None:
    """Raise Invalid for tests of what is not published, or not built for that platform."""
    if image.tests and not image.publish:
        raise Invalid(
            "an image with publish = false is not tried by itself",
            hint="write the test for an image that is built on it",
            path=("images", image.name, "tests"),
        )
    for place, test in enumerate(image.tests):
        for at, platform in enumerate(test.platforms):
            if platform not in image.platforms:
                raise Invalid(
                    f"the image is not built for {platform}",
                    hint=f"it is built for: {', '.join(map(str, image.platforms))}",
                    path=("images", image.name, "tests", place, "platforms", at),
                )
