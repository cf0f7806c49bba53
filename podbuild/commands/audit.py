"""`podbuild audit`: what is in the images, what it costs, which line caused it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from podbuild.build.examine.anatomy import Anatomy
from podbuild.build.examine.audit import IMAGE_RULES, audit_findings, worst_first
from podbuild.build.examine.silence import (
    Ignore,
    project_ignores,
    silenced,
    useless,
    written_ignores,
)
from podbuild.build.inputs.instructions import read_instructions
from podbuild.build.inputs.lint import Finding
from podbuild.commands.looked import Looked, Looking
from podbuild.config.model import Config
from podbuild.config.toml import read_source
from podbuild.oci.names import Platform
from podbuild.workspace import Services


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was looked into, and what was found, worst first; ignored findings are left out."""

    looked: tuple[tuple[Looked, Anatomy], ...]
    findings: tuple[Finding, ...]
    silenced: int  # findings


def audit_images(
    services: Services, images: tuple[str, ...], tag: str, platforms: tuple[Platform, ...]
) -> Audit:
    """Look into images, all platforms unless some are named.

    Raises as `Looking` does, and VerificationError for a layer that can't be read.
    """
    looking = Looking.at(services, images)
    looked = looking.images(tag, platforms)
    with services.ui.step("audit"):
        read = tuple((each, looking.anatomy(each)) for each in looked)
    found = audit_findings(anatomy for _, anatomy in read)
    ignores = (
        *project_ignores(services.config),
        *image_ignores(services.config, {each.job.image for each in looked}),
    )
    left, unused = silenced(found, ignores)
    whole = not images and not platforms  # an ignore may be for what was not looked into
    notes = useless(unused, IMAGE_RULES if whole else ())
    return Audit(
        looked=read,
        findings=worst_first((*left, *notes)),
        silenced=len(found) - len(left),
    )


def image_ignores(config: Config, names: set[str]) -> Iterator[Ignore]:
    """Give what comments in the Containerfiles of images silence, those of inner ones too."""
    files = {each.containerfile for each in config.images if each.name in names}
    files |= {
        config.image(inner).containerfile
        for each in config.images
        if each.name in names
        for inner in each.inner.values()
    }
    for path in sorted(files):
        file = str(path.relative_to(config.root) if path.is_relative_to(config.root) else path)
        text = read_source(path)
        _, instructions = read_instructions(text, where=file)
        yield from written_ignores(text, instructions, file)
