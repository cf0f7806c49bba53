"""What is published of each image: assembled from what is staged, kept where it is still right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from podbuild.build.assemble import Members, check_index
from podbuild.build.attest import embedded
from podbuild.build.engines import Engines
from podbuild.build.model import Staged
from podbuild.build.staging.area import Staging, repository_name
from podbuild.errors import VerificationError
from podbuild.oci.manifest import Manifest
from podbuild.oci.store import Store
from podbuild.plan.journal import Journal, Section
from podbuild.plan.labels import inputs_of, sources_of
from podbuild.plan.model import Job, Plan, by_image


def assemble_images(
    staged: Staged, engines: Engines, source: Callable[[str], Store]
) -> Mapping[str, Manifest]:
    """Give what is published of each image, staged; an index that was made before is kept.

    `source` is where an image's bytes are.
    """
    beside: Mapping[Job, Manifest] = {}
    if engines.services.config.attest:
        beside = embedded.embedded_attestations(engines, staged, source)
    kept: dict[str, Manifest] = {}
    left = []
    for members in _members(engines.plan, staged, beside):
        before = _assembled_before(members, engines.journal, engines.staging)
        if before is None:
            left.append(members)
        else:
            kept[members.image.name] = before
    images = {**kept, **engines.session.assemble(left)}
    engines.journal.record_all(
        Section.ASSEMBLED, {name: str(manifest.digest) for name, manifest in images.items()}
    )
    return images


def _assembled_before(members: Members, journal: Journal, staging: Staging) -> Manifest | None:
    """Give the index that this release has made before, if it is still right."""
    name = members.image.name
    digest = journal.digest(Section.ASSEMBLED, name)
    if digest is None or not members.image.is_index:
        return None
    store = staging.repository(repository_name(name))
    index = store.manifest(digest)
    if index is None:
        return None
    try:
        check_index(store, index, members)
    except VerificationError:
        return None
    return index


def _members(plan: Plan, staged: Staged, beside: Mapping[Job, Manifest]) -> Iterator[Members]:
    """Give what is assembled: published images that are there for all their platforms."""
    jobs = by_image(staged.images)
    for image in plan.images:
        mine = jobs.get(image.name, ())
        children = {
            job.platform: staged.images[job].manifest
            for job in mine
            if job.platform in image.platforms
        }
        if not image.published or not children.keys() >= {*image.image.platforms}:
            continue
        inputs = {
            inputs_of(job.platform): staged.inputs[job].text
            for job in mine
            if staged.inputs[job].reusable
        }
        sources = {
            sources_of(job.platform): staged.inputs[job].source
            for job in mine
            if staged.inputs[job].source
        }
        texts = {**image.release_annotations, **inputs, **sources}
        attested = {job.platform: beside[job] for job in mine if job in beside}
        yield Members(image=image, children=children, texts=texts, attested=attested)
