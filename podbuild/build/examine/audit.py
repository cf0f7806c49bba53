"""All findings of images: what keeps them from starting, and what they hold that they should not.

What several platforms share is one finding with all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from podbuild.build.examine.anatomy import Anatomy
from podbuild.build.examine.blame import fault_finding
from podbuild.build.examine.soundness import faults_of
from podbuild.build.examine.waste import waste_of
from podbuild.build.inputs.lint import Finding, Level
from podbuild.config.choices import Rule
from podbuild.plan.model import Job

IMAGE_RULES = frozenset(
    {
        Rule.FOREIGN,
        Rule.NO_ENTRYPOINT,
        Rule.NOT_EXECUTABLE,
        Rule.EMPTY,
        Rule.NO_INTERPRETER,
        Rule.UNKNOWN_USER,
        Rule.SECRET,
        Rule.GIT,
        Rule.PACKAGE_LISTS,
        Rule.PACKAGE_CACHE,
        Rule.LANGUAGE_CACHE,
        Rule.BUILD_TOOLS,
        Rule.DEV_DEPENDENCIES,
        Rule.HIDDEN,
        Rule.ROOT_USER,
        Rule.SETUID,
        Rule.DOCS,
        Rule.PYC,
        Rule.DUPLICATES,
        Rule.BASE,
    }
)


def audit_findings(images: Iterable[Anatomy]) -> tuple[Finding, ...]:
    """Give what is found in images, worst first: by level, then by bytes."""
    found: dict[tuple[object, ...], Finding] = {}
    for image in images:
        for each in (*_unsound(image), *waste_of(image)):
            key = (each.rule, each.image, each.file, each.line, each.text, each.subject)
            known = found.get(key)
            if known is not None:
                larger = each if each.bytes > known.bytes else known
                platforms = tuple(dict.fromkeys((*known.platforms, *each.platforms)))
                found[key] = replace(larger, platforms=platforms)
            else:
                found[key] = each
    return worst_first(found.values())


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Order findings: errors, then what costs most bytes."""
    levels = [*Level]
    return tuple(
        sorted(
            findings,
            key=lambda each: (
                levels.index(each.level),
                -each.bytes,
                each.file,
                each.line or 0,
                each.rule,
                each.image,
            ),
        )
    )


def _unsound(image: Anatomy) -> Iterator[Finding]:
    job = Job(image.image, image.platform)
    for fault in faults_of(image.files, image.inner, image.platform):
        yield fault_finding(fault, image.steps, image.config, job)
