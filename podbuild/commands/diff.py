"""`podbuild diff A [B]`: two versions of the images, by package, file and layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from podbuild.build.examine.difference import Difference
from podbuild.commands.looked import Looked, Looking
from podbuild.oci.names import Platform
from podbuild.plan.model import Job
from podbuild.workspace import Services


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One platform's image in two versions; one that only one of them has is `alone`."""

    references: tuple[str, str]
    difference: Difference


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that was compared, and the jobs that only the older or only the newer version has."""

    compared: tuple[Compared, ...]
    gone: tuple[Job, ...]
    new: tuple[Job, ...]


def compare(
    services: Services,
    images: tuple[str, ...],
    versions: tuple[str, str],
    platforms: tuple[Platform, ...],
) -> Comparison:
    """Compare two versions, the older one first; an empty one is what is staged here.

    Raises as `Looking` does, and VerificationError for a layer that can't be read.
    """
    looking = Looking.at(services, images)
    old, new = (_by_job(looking.images(each, platforms)) for each in versions)
    both = [job for job in new if job in old]
    with services.ui.step("compare"):
        compared = tuple(
            Compared(
                references=(old[job].reference, new[job].reference),
                difference=Difference(looking.anatomy(old[job]), looking.anatomy(new[job])),
            )
            for job in both
        )
    return Comparison(
        compared=compared,
        gone=tuple(job for job in old if job not in new),
        new=tuple(job for job in new if job not in old),
    )


def _by_job(looked: tuple[Looked, ...]) -> Mapping[Job, Looked]:
    return {each.job: each for each in looked}
