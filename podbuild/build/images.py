"""The images of a release: inputs, then what is staged of them, then what is published of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from podbuild.build import image as making
from podbuild.build import resolve
from podbuild.build.attest import subjects
from podbuild.build.engines import Engines, Offer
from podbuild.build.model import BuiltImage, Known, Origin, Staged
from podbuild.build.results import Results, jobs_to_do, recorded, vouches_of
from podbuild.build.staging.area import Staging, repository_name
from podbuild.errors import ConfigError
from podbuild.oci.manifest import Manifest
from podbuild.oci.store import Store
from podbuild.plan.destination import Planned
from podbuild.plan.journal import Section
from podbuild.plan.labels import RELEASE_LABELS
from podbuild.plan.model import Job, Plan, by_image

Examine = Callable[[Job, Manifest], None]  # hears of every image as soon as it is staged


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
) -> Staged:
    """Re-use what is known and build the rest; `Staged.check` raises what failed.

    How each was made is remembered where it is asked for, later or now. `anew` is that of
    `resolve`. Raises ConfigError where something is missing and `builds` is
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
    staged = Staged(images=reused, inputs=inputs.hashes)
    if missing:
        recipes = {job: inputs.recipes[job] for job in todo}
        built = engines.session.build(recipes, results.known, remember)
        staged = replace(staged, images={**reused, **built.images}, built=built)
    staged = _labelled(staged, engines)
    if anew or plan.attest:
        subjects.remember_making(planned, staged, inputs, engines)
    return staged


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
