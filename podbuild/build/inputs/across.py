"""Which of this project's images an image is built on, and for which platform.

FROM takes what its --platform names, so that a compiler runs at home. COPY --from and mounts take
the platform that is built, whatever their stage's is (BuildKit, dockerfile2llb/convert.go).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from podbuild.build.inputs.arguments import variables_of
from podbuild.build.inputs.containerfile import (
    Containerfile,
    OutsideImage,
    read_containerfile,
    written_platform,
)
from podbuild.config.image import Image
from podbuild.config.model import Config
from podbuild.config.toml import read_source, shown
from podbuild.errors import ConfigError
from podbuild.oci.names import Platform
from podbuild.plan.model import Job, PlannedImage


@dataclass(frozen=True, kw_only=True)
class Inner:
    """The images of this project that one is built on.

    `here` are those for the same platform by the names of their contexts, `across` those for
    another one by the index of the stage that starts from them.
    """

    here: Mapping[str, Job] = field(default_factory=dict)
    across: Mapping[int, Job] = field(default_factory=dict)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Give all of them, each once."""
        return tuple(sorted({*self.here.values(), *self.across.values()}))


def name_across(index: int) -> str:
    """Give the name under which a stage's FROM finds its image for another platform."""
    return f"podbuild.from.{index}"


def inner_images(
    image: Image, parsed: Containerfile, variables: Mapping[str, str], platform: Platform
) -> Inner:
    """Give what an image is built on for one platform; a name that nothing uses counts, too.

    Raises ConfigError with file and line for a --platform that is none.
    """
    across: dict[int, Job] = {}
    elsewhere: set[str] = set()
    here: set[str] = set()
    for stage in parsed.needed(image.target, variables):
        for at, use in enumerate(parsed.uses(stage, variables)):
            name = next((each for each in (use.text, use.value) if each in image.inner), None)
            if name is None or parsed.earlier(stage, use) is not None:
                continue
            wanted = _platform_of(use, stage.start.place) if at == 0 else None
            if wanted is None or wanted == platform:
                here.add(name)
            else:
                elsewhere.add(name)
                across[stage.index] = Job(image.inner[name], wanted)
    names = image.inner.keys() - (elsewhere - here)
    same = {name: Job(other, platform) for name, other in image.inner.items() if name in names}
    return Inner(here=same, across=across)


def _platform_of(use: OutsideImage, place: str) -> Platform | None:
    try:
        return written_platform(use.platform) if use.platform is not None else None
    except ConfigError as error:
        raise ConfigError(f"{place}: {error.message}", hint=error.hint) from None


def bases_of(
    config: Config, build: Platform
) -> Callable[[PlannedImage, Platform], tuple[Job, ...] | None]:
    """Give what tells a plan which images each one is built on, on this machine.

    It gives None where no FROM asks for another platform, or the Containerfile can't be read,
    which is found later, and raises ConfigError where an image is not built for what is asked.
    """

    @functools.cache
    def read(path: Path) -> Containerfile | None:
        try:
            text = read_source(path)
            return read_containerfile(text, where=shown(path)) if "--platform" in text else None
        except ConfigError:
            return None

    def bases(planned: PlannedImage, platform: Platform) -> tuple[Job, ...] | None:
        image = planned.image
        parsed = read(image.containerfile) if image.inner else None
        if parsed is None:
            return None
        variables = variables_of(planned, parsed, platform, build)
        found = inner_images(image, parsed, variables, platform)
        places = {job: parsed.stages[at].start.place for at, job in [*found.across.items()][::-1]}
        for job in found.jobs:
            if job.platform not in config.image(job.image).platforms:
                place = places.get(job, f"image {image.name!r}")
                raise ConfigError(
                    f"{place}: image {job.image!r} is not built for {job.platform}",
                    hint=f"add the platform to {job.image!r}, or start from another image",
                )
        return found.jobs

    return bases
