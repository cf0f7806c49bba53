"""The images of a release: inputs, then what is staged of them, then what is published of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Protocol

from podbuild.build import image as making
from podbuild.build import resolve
from podbuild.build.engines import Engines
from podbuild.build.model import BuiltImage, Known, Origin, Staged
from podbuild.build.results import Results, jobs_to_do, recorded, vouches_of
from podbuild.build.staging.area import Pool, Staging, repository_name
from podbuild.errors import ConfigError, PublishError
from podbuild.oci.copy import FallbackStore
from podbuild.oci.manifest import Manifest
from podbuild.oci.store import Store
from podbuild.plan.destination import Planned
from podbuild.plan.journal import Section
from podbuild.plan.labels import RELEASE_LABELS
from podbuild.plan.model import Job, Plan, PlannedImage, by_image
from podbuild.workspace import Services

Examine = Callable[[Job, Manifest], None]  # hears of every image as soon as it is staged


class Offer(Protocol):
    """Hears of an image's child as soon as it is staged, and whether it was published before."""

    def __call__(self, image: str, manifest: Manifest, *, earlier: bool) -> None:
        """Take it."""


def open_staging(services: Services) -> Staging:
    """Give the staging area, whose blobs last in podbuild's cache folder."""
    return Staging(Pool(services.folders.cache / "blobs"))


def source_of(planned: Planned, staging: Staging) -> Callable[[str], Store]:
    """Give where an image's bytes are: staging, else the registries that hold them."""
    every = by_image((*planned.destinations, *planned.beside))

    def source(image: str) -> Store:
        holders = (each.store for each in every.get(image, ()))
        return FallbackStore(staging.repository(repository_name(image)), tuple(holders))

    return source


def labelled(plan: Plan, staging: Staging, each: BuiltImage) -> BuiltImage:
    """Give an index's child with the release's labels, where the configuration asks for them.

    They are written after the build, so that its layers and what is known of them stay. Each is
    written anew in every release: what an earlier one wrote is never left.
    """
    image = plan.image(each.job.image)
    if not (image.image.release_labels and image.is_index and image.published):
        return each
    texts = {
        name: text for name, text in image.release_annotations.items() if name in RELEASE_LABELS
    }
    store = staging.repository(repository_name(image.name))
    return replace(each, manifest=making.stamp(store, each.manifest, texts, image.image.format))


def _reused(job: Job, found: Known) -> BuiltImage:
    return BuiltImage(
        job=job, manifest=found.manifest, reason=found.reason, made_here=found.made_here
    )


def _hand_on(
    plan: Plan, staging: Staging, offer: Offer | None, examine: Examine | None, each: BuiltImage
) -> None:
    """Let who publishes and who examines hear of an image."""
    image = plan.image(each.job.image)
    found = labelled(plan, staging, each)
    if offer and image.published and image.is_index:
        offer(image.name, found.manifest, earlier=found is each and each.reused)
    if examine:
        examine(each.job, found.manifest)


def stage(
    planned: Planned,
    engines: Engines,
    *,
    anew: bool = False,
    offer: Offer | None = None,
    examine: Examine | None = None,
    builds: bool = True,
) -> tuple[resolve.Inputs, Staged]:
    """Re-use what is known and build the rest; `Staged.check` raises what failed.

    `anew` is that of `resolve`. Raises ConfigError where something is missing and `builds` is
    false, CredentialError, ToolError, and what `resolve` raises.
    """
    plan = planned.plan
    inputs, results = _known(planned, engines, anew=anew, builds=builds)
    offered = partial(_hand_on, plan, engines.staging, offer, examine)

    def remember(each: BuiltImage) -> None:
        results.remember(each)
        offered(each)

    todo = jobs_to_do(plan, results.known)
    reused = {job: _reused(job, results.known[job]) for job in todo if job in results.known}
    missing = [job for job in todo if job not in reused]
    if missing and not builds:
        raise _not_staged(missing)
    results.remember_reused(reused.values())
    for each in reused.values():  # while others are built, or lists made
        offered(each)
    if not missing:
        return inputs, _labelled(Staged(images=reused, inputs=inputs.hashes), engines)
    recipes = {job: inputs.recipes[job] for job in todo}
    built = engines.session.build(recipes, results.known, remember)
    staged = Staged(images={**reused, **built.images}, inputs=inputs.hashes, built=built)
    return inputs, _labelled(staged, engines)


def _known(
    planned: Planned, engines: Engines, *, anew: bool, builds: bool
) -> tuple[resolve.Inputs, Results]:
    """Resolve every input and give what is known of it.

    Builders are what they were when they were last asked, until something has to be built.
    """
    while True:
        inputs = resolve.resolve(planned, engines, anew=anew)
        results = Results(
            planned=planned,
            journal=engines.journal,
            staging=engines.staging,
            folder=engines.services.folders.cache / "results",
            hashes=inputs.hashes,
            reuse=planned.plan.request.reuses,
            vouches=vouches_of(engines.services),
        )
        todo = jobs_to_do(planned.plan, results.known)
        if not builds or results.known.keys() >= {*todo} or engines.connected():
            return inputs, results


def _labelled(staged: Staged, engines: Engines) -> Staged:
    images = {
        job: labelled(engines.plan, engines.staging, each) for job, each in staged.images.items()
    }
    return replace(staged, images=images)


def staged_before(engines: Engines) -> Staged:
    """Give what the journal says is staged, whoever built it."""
    images, inputs, joined = {}, {}, set()
    for job, record, known in recorded(engines.plan, engines.journal, engines.staging):
        images[job] = BuiltImage(job=job, manifest=known.manifest, reason=known.reason)
        inputs[job] = record.inputs
        if record.origin is Origin.JOINED:
            joined.add(job)
    found = Staged(images=images, inputs=inputs, joined=frozenset(joined))
    return _labelled(found, engines)


def missing_jobs(plan: Plan, staged: Staged) -> tuple[Job, ...]:
    """Give the platforms that published images lack."""
    published = (job for job in plan.jobs if plan.image(job.image).published)
    return tuple(job for job in published if job not in staged.images)


def _not_staged(missing: list[Job]) -> ConfigError:
    return ConfigError(
        f"not staged: {', '.join(map(str, missing))}",
        hint="build it here first, or hand over the dist folder of who has built it with --from",
    )


def adopted_images(
    images: Iterable[PlannedImage], source: Callable[[str], Store]
) -> Mapping[str, Manifest]:
    """Give the images whose version tag holds this release's result already.

    Raises PublishError when one is gone since the plan was made.
    """
    found = {}
    for image in images:
        if image.published and image.adopted is not None:
            manifest = source(image.name).manifest(image.adopted)
            if manifest is None:
                raise PublishError(
                    f"{image.name}: {image.adopted} was this version's image and is gone meanwhile",
                    hint="run the same command again: it plans anew",
                )
            found[image.name] = manifest
    return found


def assembled_images(
    staged: Staged, engines: Engines, source: Callable[[str], Store]
) -> Mapping[str, Manifest]:
    """Give what was assembled of exactly what is staged, by image."""
    found = {}
    jobs = by_image(staged.images)
    for image in engines.plan.images:
        digest = engines.journal.digest(Section.ASSEMBLED, image.name)
        whole = source(image.name).manifest(digest) if digest else None
        parts = [staged.images[job].manifest for job in jobs.get(image.name, ())]
        if whole and parts and _holds(whole, parts):
            found[image.name] = whole
    return found


def _holds(whole: Manifest, parts: list[Manifest]) -> bool:
    """Tell whether what was assembled is made of these parts (a stamped image has its layers)."""
    if whole.is_index:
        return {part.digest for part in parts} <= {child.digest for child in whole.children}
    return [part.layers for part in parts] == [whole.layers]
