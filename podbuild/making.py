"""Make the images of a release: re-use what is known, build the rest, assemble the indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from podbuild.emulation import native_architecture
from podbuild.equipment import Engines, Equipment, open_pinner
from podbuild.errors import ConfigError, PodbuildError, PublishError
from podbuild.handover import hand_over
from podbuild.inputs import InputHash, Recipe, Surroundings, input_hash, make_recipe, outside_images
from podbuild.known import Results, jobs_to_do, recorded
from podbuild.labels import inputs_of
from podbuild.model import Manifest, Platform
from podbuild.plan import Job, PlannedImage
from podbuild.report import Origin, PlatformReport
from podbuild.report.collect import size_of
from podbuild.steps.assemble import Members
from podbuild.steps.build import BuiltImage
from podbuild.store import Store


@dataclass(frozen=True, kw_only=True)
class Made:
    """What is staged so far: each job's image and inputs, and what is published of each image."""

    parts: dict[Job, BuiltImage] = field(default_factory=dict)
    inputs: dict[Job, InputHash] = field(default_factory=dict)
    joined: set[Job] = field(default_factory=set)
    images: dict[str, Manifest] = field(default_factory=dict)


def make_images(equipment: Equipment) -> Mapping[str, Manifest]:
    """Give what is published of each image, all staged (or where an earlier release put it).

    Raises BuildError, CredentialError, ToolError, ConfigError; what was built stays journalled
    and is handed over.
    """
    with _handing_over(equipment) as made, Engines(equipment) as engines:
        if equipment.making.handed_over:
            _take(equipment, made)
        else:
            _build(equipment, engines, made)
        _assemble(equipment, engines, made)
        adopted = adopted_images(equipment.plan.images, equipment.source)
        equipment.recorder.parts = {
            **equipment.recorder.parts,
            **dict(_adopted_parts(equipment, adopted)),
        }
        return {**made.images, **adopted}


def build_images(equipment: Equipment) -> Mapping[Job, Manifest]:
    """Build and hand over, no more; raises as make_images does."""
    with _handing_over(equipment) as made, Engines(equipment) as engines:
        _build(equipment, engines, made)
    return {job: each.manifest for job, each in made.parts.items()}


def assemble_images(equipment: Equipment) -> None:
    """Assemble what is staged here or was handed over; raises ConfigError where something lacks."""
    with _handing_over(equipment) as made, Engines(equipment) as engines:
        _take(equipment, made)
        _assemble(equipment, engines, made)


def staged_images(equipment: Equipment) -> tuple[Mapping[str, Manifest], ...]:
    """Give what is staged, in rounds of one manifest each image: the index, else each platform.

    Raises ConfigError when nothing is.
    """
    made = Made()
    for job, record, known in recorded(equipment.plan, equipment.journal, equipment.staging):
        made.parts[job] = BuiltImage(job=job, manifest=known.manifest, reason=known.reason)
        made.inputs[job] = record.inputs
    if not made.parts:
        raise ConfigError("nothing is staged", hint="podbuild build")
    _tell(equipment, made)
    rounds: dict[str, list[Manifest]] = {}
    for image in equipment.plan.images:
        whole = equipment.assembled(image.name)
        parts = [each.manifest for job, each in made.parts.items() if job.image == image.name]
        if parts:
            rounds[image.name] = [whole] if whole and _holds(whole, parts) else parts
    equipment.recorder.images = {
        name: found[0] for name, found in rounds.items() if found[0] == equipment.assembled(name)
    }
    longest = max(map(len, rounds.values()))
    return tuple(
        {name: found[at] for name, found in rounds.items() if at < len(found)}
        for at in range(longest)
    )


def _holds(whole: Manifest, parts: list[Manifest]) -> bool:
    """Tell whether what was assembled is made of these parts (a stamped image has its layers)."""
    if whole.is_index:
        return {part.digest for part in parts} <= {child.digest for child in whole.children}
    return [part.layers for part in parts] == [whole.layers]


def _build(equipment: Equipment, engines: Engines, made: Made) -> None:
    recipes, hashes = _prepare(equipment)
    made.inputs.update(hashes)
    results = Results(
        planned=equipment.planned,
        journal=equipment.journal,
        staging=equipment.staging,
        folder=equipment.services.folders.cache / "results",
        hashes=hashes,
        reuse=equipment.making.reuse and equipment.making.cache,
    )
    todo = jobs_to_do(equipment.plan, results.known)
    for job in todo:
        if job in results.known:
            known = results.known[job]
            made.parts[job] = BuiltImage(job=job, manifest=known.manifest, reason=known.reason)
    missing = [job for job in todo if job not in results.known]
    if missing and equipment.making.skip_build:
        raise _not_staged(missing)
    results.remember_reused(made.parts.values())
    for job, each in made.parts.items():  # while others are built, or lists made
        image = equipment.plan.image(job.image)
        if image.published and image.is_index:
            equipment.offer(image.name, each.manifest)
    if missing:
        built = engines.build({job: recipes[job] for job in todo}, results)
        made.parts.update(built.images)
        _tell(equipment, made)
        equipment.recorder.faults = {job: error.message for job, error in built.failed.items()}
        built.check()
    else:
        _tell(equipment, made)


def _take(equipment: Equipment, made: Made) -> None:
    """Take what the journal says is staged, whoever built it."""
    for job, record, known in recorded(equipment.plan, equipment.journal, equipment.staging):
        made.parts[job] = BuiltImage(job=job, manifest=known.manifest, reason=known.reason)
        made.inputs[job] = record.inputs
        if record.origin is Origin.JOINED:
            made.joined.add(job)
    published = [job for job in equipment.plan.jobs if equipment.plan.image(job.image).published]
    missing = [job for job in published if job not in made.parts]
    if missing:
        raise _not_staged(missing)
    _tell(equipment, made)


def _not_staged(missing: list[Job]) -> ConfigError:
    return ConfigError(
        f"not staged: {', '.join(map(str, missing))}",
        hint="build it here first, or hand over the dist folder of who has built it with --from",
    )


def _assemble(equipment: Equipment, engines: Engines, made: Made) -> None:
    made.images.update(engines.assemble(_members(equipment, made)))
    equipment.recorder.images = made.images


@contextmanager
def _handing_over(equipment: Equipment) -> Iterator[Made]:
    """Leave in the output folder what another machine needs, also when something fails."""
    made = Made()
    try:
        yield made
    except PodbuildError:
        try:
            hand_over(equipment.services.config.output, equipment.journal, equipment.staging)
        except PodbuildError as problem:
            equipment.services.ui.warn(problem.message)
        raise
    hand_over(equipment.services.config.output, equipment.journal, equipment.staging)


def _prepare(equipment: Equipment) -> tuple[Mapping[Job, Recipe], Mapping[Job, InputHash]]:
    """Resolve bases and read every input, once; raises what can't be read or found."""
    plan, services = equipment.plan, equipment.services
    native = Platform("linux", native_architecture())
    needed = {job.image for job in plan.jobs}
    names = [
        name
        for image in plan.images
        if image.name in needed
        for name in outside_images(plan, image, native)
    ]
    around = Surroundings(
        build=native, output=services.config.output, pins=open_pinner(equipment).pin(names)
    )
    contents, engine = equipment.contents, equipment.toolchain().identity
    recipes: dict[Job, Recipe] = {}
    hashes: dict[Job, InputHash] = {}
    for job in plan.jobs:  # what others build on comes first
        recipes[job] = make_recipe(plan, plan.image(job.image), job.platform, around)
        hashes[job] = input_hash(
            recipes[job],
            engine=engine,
            contents=contents,
            git=equipment.planned.git,
            inner=hashes,
        )
    return recipes, hashes


def _members(equipment: Equipment, made: Made) -> Iterator[Members]:
    """Give what is assembled: published images that are there for all their platforms."""
    for image in equipment.plan.images:
        children = {
            job.platform: each.manifest
            for job, each in made.parts.items()
            if job.image == image.name
        }
        if not image.published or not children.keys() >= {*image.image.platforms}:
            continue
        inputs = {
            inputs_of(job.platform): made.inputs[job].text
            for job in made.parts
            if job.image == image.name and made.inputs[job].reusable
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


def _adopted_parts(
    equipment: Equipment, adopted: Mapping[str, Manifest]
) -> Iterator[tuple[Job, PlatformReport]]:
    """Give what is published already, platform by platform, for the report."""
    for name, manifest in adopted.items():
        source = equipment.source(name)
        children = {child.platform: source.manifest(child.digest) for child in manifest.children}
        alone = dict.fromkeys(equipment.plan.image(name).platforms, manifest)
        for platform, child in (children if manifest.is_index else alone).items():
            if platform is not None and child is not None:
                yield (
                    Job(name, platform),
                    PlatformReport(
                        platform=platform,
                        digest=child.digest,
                        size=size_of(child),
                        origin=Origin.ADOPTED,
                        reason="published already",
                    ),
                )


def _tell(equipment: Equipment, made: Made) -> None:
    """Hand what became of each job to the report, and say why images were not built."""
    equipment.recorder.parts = {
        job: _part(equipment, made, each) for job, each in made.parts.items()
    }
    equipment.recorder.metrics = {
        job: each.metrics for job, each in made.parts.items() if not each.reused
    }
    for job, each in sorted(made.parts.items()):
        if each.reused:
            equipment.services.ui.info(f"{job}: {each.reason}")


def _part(equipment: Equipment, made: Made, built: BuiltImage) -> PlatformReport:
    log = equipment.services.config.output / "logs" / f"{built.job.slug}.log"
    other = Origin.JOINED if built.job in made.joined else Origin.REUSED
    return PlatformReport(
        platform=built.job.platform,
        digest=built.manifest.digest,
        size=size_of(built.manifest),
        seconds=built.metrics.seconds,
        origin=other if built.reused else Origin.BUILT,
        reason=built.reason or "its inputs are new",
        log="" if built.reused else str(log.relative_to(equipment.services.config.output)),
    )
