"""The images of a release: inputs, then what is staged of them, then what is published of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from podbuild.build.assemble import Members, check_index
from podbuild.build.engines import Engines, open_bases, open_pinner
from podbuild.build.inputs.hash import InputHash, input_hash
from podbuild.build.inputs.recipe import Recipe, Surroundings, make_recipe, outside_images
from podbuild.build.jobs import Built, BuiltImage
from podbuild.build.results import Origin, Results, jobs_to_do, recorded
from podbuild.build.staging.area import Staging, repository_name
from podbuild.build.staging.pool import Pool
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.config.choices import Pull
from podbuild.errors import ConfigError, PublishError, VerificationError
from podbuild.oci.copy import FallbackStore
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Platform
from podbuild.oci.store import Store
from podbuild.plan.journal import Journal, Section
from podbuild.plan.labels import inputs_of
from podbuild.plan.model import Job, Plan, PlannedImage
from podbuild.plan.planned import Planned
from podbuild.workspace import Services

Offer = Callable[[str, Manifest], None]  # hears of an image's child as soon as it is staged


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """All that reaches each job's image, and the hash of it."""

    recipes: Mapping[Job, Recipe]
    hashes: Mapping[Job, InputHash]


@dataclass(frozen=True, kw_only=True)
class Staged:
    """What is staged of each job, and from what; `built` knows what failed."""

    images: Mapping[Job, BuiltImage]
    inputs: Mapping[Job, InputHash]
    joined: frozenset[Job] = frozenset()  # built by other machines
    built: Built = field(default_factory=lambda: Built(images={}))

    def check(self) -> None:
        """Raise the first failure of a job."""
        self.built.check()


def open_staging(services: Services) -> Staging:
    """Give the staging area, whose blobs last in podbuild's cache folder."""
    return Staging(Pool(services.folders.cache / "blobs"))


def source_of(planned: Planned, staging: Staging) -> Callable[[str], Store]:
    """Give where an image's bytes are: staging, else the registries that hold them."""
    every = (*planned.destinations, *planned.beside)

    def source(image: str) -> Store:
        holders = (each.store for each in every if each.image == image)
        return FallbackStore(staging.repository(repository_name(image)), tuple(holders))

    return source


def resolve(planned: Planned, engines: Engines, *, anew: bool = False) -> Inputs:
    """Resolve bases and read every input, once; raises what can't be read or found.

    With `anew`, what bases name now counts (where `pull` is "always"), not what the journal says:
    only a release that continues is bound by its pins.
    """
    plan = planned.plan
    native = Platform("linux", native_architecture())
    around = Surroundings(
        build=native,
        output=engines.services.config.output,
        pins=_pinned(engines, native, anew=anew),
        facts=open_bases(engines.services).facts,
    )
    engine = engines.toolchain().identity
    recipes: dict[Job, Recipe] = {}
    hashes: dict[Job, InputHash] = {}
    for job in plan.jobs:  # what others build on comes first
        recipes[job] = make_recipe(plan, plan.image(job.image), job.platform, around)
        hashes[job] = input_hash(
            recipes[job],
            engine=engine,
            contents=engines.contents,
            git=planned.git,
            inner=hashes,
        )
    engines.contents.save()
    return Inputs(recipes=recipes, hashes=hashes)


def _pinned(engines: Engines, native: Platform, *, anew: bool) -> Mapping[str, str]:
    """Resolve what the images to make need from outside; raises as Pinner.pin does."""
    plan = engines.plan
    needed = {job.image for job in plan.jobs}
    names: dict[str, bool] = {}  # whether an image wants to know what it is now
    for image in plan.images:
        if image.name in needed:
            wants = anew and image.image.pull is Pull.ALWAYS
            for name in outside_images(plan, image, native):
                names[name] = names.get(name, False) or wants
    asked_anew = frozenset(name for name, wants in names.items() if wants)
    return open_pinner(engines.services, engines.journal, asked_anew).pin(names)


def stage(
    planned: Planned,
    inputs: Inputs,
    engines: Engines,
    *,
    offer: Offer | None = None,
    builds: bool = True,
) -> Staged:
    """Re-use what is known and build the rest; `Staged.check` raises what failed.

    Raises ConfigError where something is missing and `builds` is false, CredentialError, ToolError.
    """
    plan = planned.plan
    results = Results(
        planned=planned,
        journal=engines.journal,
        staging=engines.staging,
        folder=engines.services.folders.cache / "results",
        hashes=inputs.hashes,
        reuse=plan.request.reuses,
    )

    def offered(each: BuiltImage) -> None:
        image = plan.image(each.job.image)
        if offer and image.published and image.is_index:
            offer(image.name, each.manifest)

    def remember(each: BuiltImage) -> None:
        results.remember(each)
        offered(each)

    todo = jobs_to_do(plan, results.known)
    reused = {
        job: BuiltImage(job=job, manifest=found.manifest, reason=found.reason)
        for job in todo
        if (found := results.known.get(job))
    }
    missing = [job for job in todo if job not in reused]
    if missing and not builds:
        raise _not_staged(missing)
    results.remember_reused(reused.values())
    for each in reused.values():  # while others are built, or lists made
        offered(each)
    if not missing:
        return Staged(images=reused, inputs=inputs.hashes)
    recipes = {job: inputs.recipes[job] for job in todo}
    built = engines.build(recipes, results.known, remember)
    return Staged(images={**reused, **built.images}, inputs=inputs.hashes, built=built)


def staged_before(engines: Engines) -> Staged:
    """Give what the journal says is staged, whoever built it."""
    images, inputs, joined = {}, {}, set()
    for job, record, known in recorded(engines.plan, engines.journal, engines.staging):
        images[job] = BuiltImage(job=job, manifest=known.manifest, reason=known.reason)
        inputs[job] = record.inputs
        if record.origin is Origin.JOINED:
            joined.add(job)
    return Staged(images=images, inputs=inputs, joined=frozenset(joined))


def require_all(plan: Plan, staged: Staged) -> Staged:
    """Give what is staged; raises ConfigError where a published image lacks a platform."""
    published = [job for job in plan.jobs if plan.image(job.image).published]
    missing = [job for job in published if job not in staged.images]
    if missing:
        raise _not_staged(missing)
    return staged


def _not_staged(missing: list[Job]) -> ConfigError:
    return ConfigError(
        f"not staged: {', '.join(map(str, missing))}",
        hint="build it here first, or hand over the dist folder of who has built it with --from",
    )


def assemble_images(staged: Staged, engines: Engines) -> Mapping[str, Manifest]:
    """Give what is published of each image, staged; an index that was made before is kept."""
    kept: dict[str, Manifest] = {}
    left = []
    for members in _members(engines.plan, staged):
        before = _assembled_before(members, engines.journal, engines.staging)
        if before is None:
            left.append(members)
        else:
            kept[members.image.name] = before
    images = {**kept, **engines.assemble(left)}
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


def _members(plan: Plan, staged: Staged) -> Iterator[Members]:
    """Give what is assembled: published images that are there for all their platforms."""
    for image in plan.images:
        children = {
            job.platform: each.manifest
            for job, each in staged.images.items()
            if job.image == image.name
        }
        if not image.published or not children.keys() >= {*image.image.platforms}:
            continue
        inputs = {
            inputs_of(job.platform): staged.inputs[job].text
            for job in staged.images
            if job.image == image.name and staged.inputs[job].reusable
        }
        yield Members(image=image, children=children, texts={**image.release_annotations, **inputs})


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
    for image in engines.plan.images:
        digest = engines.journal.digest(Section.ASSEMBLED, image.name)
        whole = source(image.name).manifest(digest) if digest else None
        parts = [each.manifest for job, each in staged.images.items() if job.image == image.name]
        if whole and parts and _holds(whole, parts):
            found[image.name] = whole
    return found


def _holds(whole: Manifest, parts: list[Manifest]) -> bool:
    """Tell whether what was assembled is made of these parts (a stamped image has its layers)."""
    if whole.is_index:
        return {part.digest for part in parts} <= {child.digest for child in whole.children}
    return [part.layers for part in parts] == [whole.layers]
