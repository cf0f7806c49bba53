"""What is wrong with tests and commands that judge images, as the whole configuration shows it."""

from __future__ import annotations

import difflib
from collections import Counter

from podbuild.config.image import Image
from podbuild.config.keys import Invalid
from podbuild.config.model import Config

Way = tuple[str | int, ...]


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
