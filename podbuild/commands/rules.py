"""What the rules of `podbuild check` find in Containerfiles, and which ignores are for nothing."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from podbuild.build.examine.silence import (
    Ignore,
    project_ignores,
    silenced,
    useless,
    written_ignores,
)
from podbuild.build.inputs.containerfile import read_containerfile
from podbuild.build.inputs.instructions import read_instructions
from podbuild.build.inputs.lint import Finding, Level, Subject
from podbuild.build.inputs.rules import CONTAINERFILE_RULES, rule_findings
from podbuild.config.image import Image
from podbuild.config.model import Config
from podbuild.config.toml import read_source, shown
from podbuild.errors import PodbuildError


def check_rules(config: Config) -> tuple[Finding, ...]:
    """Give what the rules find in the Containerfiles that can be read; ignored ones are left out.

    What is wrong with the others `check_project` says.
    """
    found: list[Finding] = []
    known = [*project_ignores(config)]
    used: set[Ignore] = set()
    for image in config.images:
        with suppress(PodbuildError):
            subject, written = _read(config, image)
            ignores = [*written, *known]
            every = (replace(each, image=image.name) for each in rule_findings(subject))
            left, unused = silenced(every, ignores)
            found += [replace(each, image="") for each in left]
            used |= {*ignores} - {*unused}
            known += [each for each in written if each not in known]
    found += useless([each for each in known if each not in used], CONTAINERFILE_RULES)
    return tuple(dict.fromkeys(sorted(found, key=lambda each: [*Level].index(each.level))))


def _read(config: Config, image: Image) -> tuple[Subject, list[Ignore]]:
    file = shown(image.containerfile)
    text = read_source(image.containerfile)
    containerfile = read_containerfile(text, where=file)
    _, instructions = read_instructions(text, where=file)
    subject = Subject(config=config, image=image, containerfile=containerfile, file=file)
    return subject, [*written_ignores(text, instructions, file)]
