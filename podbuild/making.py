"""Make the images of a release: re-use what is known, build the rest, assemble the indexes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from podbuild.emulation import native_architecture
from podbuild.errors import ConfigError, PodbuildError
from podbuild.handover import hand_over
from podbuild.inputs import InputHash, Recipe, Surroundings, input_hash, make_recipe, outside_images
from podbuild.kitchen import Engines, Kitchen, open_pinner
from podbuild.known import Results, jobs_to_do, recorded
from podbuild.labels import inputs_of
from podbuild.model import Manifest, Platform
from podbuild.plan import Job
from podbuild.report import JobMetrics, Origin, PlatformReport
from podbuild.report.collect import size_of
from podbuild.steps.assemble import Members
from podbuild.steps.build import BuiltImage


@dataclass(frozen=True, kw_only=True)
class Made:
    """What is staged so far: each job's image and inputs, and what is published of each image."""

    parts: dict[Job, BuiltImage] = field(default_factory=dict)
    inputs: dict[Job, InputHash] = field(default_factory=dict)
    joined: set[Job] = field(default_factory=set)
    images: dict[str, Manifest] = field(default_factory=dict)


def make_images(kitchen: Kitchen) -> Mapping[str, Manifest]:
    """Give what is published of each image, all staged (or where an earlier release put it).

    Raises BuildError, CredentialError, ToolError, ConfigError; what was built stays journalled
    and is handed over.
    """
    with _handing_over(kitchen) as made, Engines(kitchen) as engines:
        if kitchen.making.handed_over:
            _take(kitchen, made)
        else:
            _build(kitchen, engines, made)
        _assemble(kitchen, engines, made)
        adopted = _adopted(kitchen)
        kitchen.story.parts = {**kitchen.story.parts, **dict(_adopted_parts(kitchen, adopted))}
        return {**made.images, **adopted}


def build_images(kitchen: Kitchen) -> Mapping[Job, Manifest]:
    """Build and hand over, no more; raises as make_images does."""
    with _handing_over(kitchen) as made, Engines(kitchen) as engines:
        _build(kitchen, engines, made)
    return {job: each.manifest for job, each in made.parts.items()}


def assemble_images(kitchen: Kitchen) -> None:
    """Assemble what is staged here or was handed over; raises ConfigError where something lacks."""
    with _handing_over(kitchen) as made, Engines(kitchen) as engines:
        _take(kitchen, made)
        _assemble(kitchen, engines, made)


def staged_images(kitchen: Kitchen) -> tuple[Mapping[str, Manifest], ...]:
    """Give what is staged, in rounds of one manifest each image: the index, else each platform.

    Raises ConfigError when nothing is.
    """
    made = Made()
    for job, record, known in recorded(kitchen.plan, kitchen.journal, kitchen.staging):
        made.parts[job] = BuiltImage(job=job, manifest=known.manifest, reason=known.reason)
        made.inputs[job] = record.inputs
    if not made.parts:
        raise ConfigError("nothing is staged", hint="podbuild build")
    _tell(kitchen, made)
    rounds: dict[str, list[Manifest]] = {}
    for image in kitchen.plan.images:
        whole = kitchen.assembled(image.name)
        parts = [each.manifest for job, each in made.parts.items() if job.image == image.name]
        if parts:
            rounds[image.name] = [whole] if whole and _holds(whole, parts) else parts
    kitchen.story.images = {
        name: found[0] for name, found in rounds.items() if found[0] == kitchen.assembled(name)
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


def _build(kitchen: Kitchen, engines: Engines, made: Made) -> None:
    recipes, hashes = _prepare(kitchen)
    made.inputs.update(hashes)
    results = Results(
        planned=kitchen.planned,
        journal=kitchen.journal,
        staging=kitchen.staging,
        folder=kitchen.services.folders.cache / "results",
        hashes=hashes,
        reuse=kitchen.making.reuse and kitchen.making.cache,
    )
    todo = jobs_to_do(kitchen.plan, results.known)
    for job in todo:
        if job in results.known:
            known = results.known[job]
            made.parts[job] = BuiltImage(job=job, manifest=known.manifest, reason=known.reason)
    missing = [job for job in todo if job not in results.known]
    if missing and kitchen.making.skip_build:
        raise _not_staged(missing)
    results.remember_reused(made.parts.values())
    for job, each in made.parts.items():  # while others are built, or lists made
        image = kitchen.plan.image(job.image)
        if image.published and image.is_index:
            kitchen.offer(image.name, each.manifest)
    if missing:
        built = engines.build({job: recipes[job] for job in todo}, results)
        made.parts.update(built.images)
        _tell(kitchen, made)
        built.check()
    else:
        _tell(kitchen, made)


def _take(kitchen: Kitchen, made: Made) -> None:
    """Take what the journal says is staged, whoever built it."""
    for job, record, known in recorded(kitchen.plan, kitchen.journal, kitchen.staging):
        made.parts[job] = BuiltImage(job=job, manifest=known.manifest, reason=known.reason)
        made.inputs[job] = record.inputs
        if record.origin is Origin.JOINED:
            made.joined.add(job)
    published = [job for job in kitchen.plan.jobs if kitchen.plan.image(job.image).published]
    missing = [job for job in published if job not in made.parts]
    if missing:
        raise _not_staged(missing)
    _tell(kitchen, made)


def _not_staged(missing: list[Job]) -> ConfigError:
    return ConfigError(
        f"not staged: {', '.join(map(str, missing))}",
        hint="build it here first, or hand over the dist folder of who has built it with --from",
    )


def _assemble(kitchen: Kitchen, engines: Engines, made: Made) -> None:
    made.images.update(engines.assemble(_members(kitchen, made)))
    kitchen.story.images = made.images


@contextmanager
def _handing_over(kitchen: Kitchen) -> Iterator[Made]:
    """Leave in the output folder what another machine needs, also when something fails."""
    made = Made()
    try:
        yield made
    except PodbuildError:
        try:
            hand_over(kitchen.services.config.output, kitchen.journal, kitchen.staging)
        except PodbuildError as problem:
            kitchen.services.ui.warn(problem.message)
        raise
    hand_over(kitchen.services.config.output, kitchen.journal, kitchen.staging)


def _prepare(kitchen: Kitchen) -> tuple[Mapping[Job, Recipe], Mapping[Job, InputHash]]:
    """Resolve bases and read every input, once; raises what can't be read or found."""
    plan, services = kitchen.plan, kitchen.services
    native = Platform("linux", native_architecture())
    needed = {job.image for job in plan.jobs}
    names = [
        name
        for image in plan.images
        if image.name in needed
        for name in outside_images(plan, image, native)
    ]
    around = Surroundings(
        build=native, output=services.config.output, pins=open_pinner(kitchen).pin(names)
    )
    contents, engine = kitchen.contents, kitchen.toolchain().identity
    recipes: dict[Job, Recipe] = {}
    hashes: dict[Job, InputHash] = {}
    for job in plan.jobs:  # what others build on comes first
        recipes[job] = make_recipe(plan, plan.image(job.image), job.platform, around)
        hashes[job] = input_hash(
            recipes[job],
            engine=engine,
            contents=contents,
            git=kitchen.planned.git,
            inner=hashes,
        )
    return recipes, hashes


def _members(kitchen: Kitchen, made: Made) -> Iterator[Members]:
    """Give what is assembled: published images that are there for all their platforms."""
    for image in kitchen.plan.images:
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


def _adopted(kitchen: Kitchen) -> Mapping[str, Manifest]:
    """Give the images whose version tag holds this release's result already."""
    found = {}
    for image in kitchen.plan.images:
        if image.published and image.adopted is not None:
            manifest = kitchen.source(image.name).manifest(image.adopted)
            if manifest is not None:
                found[image.name] = manifest
    return found


def _adopted_parts(
    kitchen: Kitchen, adopted: Mapping[str, Manifest]
) -> Iterator[tuple[Job, PlatformReport]]:
    """Give what is published already, platform by platform, for the report."""
    for name, manifest in adopted.items():
        source = kitchen.source(name)
        children = {child.platform: source.manifest(child.digest) for child in manifest.children}
        alone = dict.fromkeys(kitchen.plan.image(name).platforms, manifest)
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


def _tell(kitchen: Kitchen, made: Made) -> None:
    """Hand what became of each job to the report, and say why images were not built."""
    kitchen.story.parts = {job: _part(kitchen, made, each) for job, each in made.parts.items()}
    kitchen.story.metrics = tuple(_metrics(each) for each in made.parts.values() if not each.reused)
    for job, each in sorted(made.parts.items()):
        if each.reused:
            kitchen.services.ui.info(f"{job}: {each.reason}")


def _part(kitchen: Kitchen, made: Made, built: BuiltImage) -> PlatformReport:
    log = kitchen.services.config.output / "logs" / f"{built.job.slug}.log"
    other = Origin.JOINED if built.job in made.joined else Origin.REUSED
    return PlatformReport(
        platform=built.job.platform,
        digest=built.manifest.digest,
        size=size_of(built.manifest),
        seconds=built.metrics.seconds,
        origin=other if built.reused else Origin.BUILT,
        reason=built.reason or "its inputs are new",
        log="" if built.reused else str(log.relative_to(kitchen.services.config.output)),
    )


def _metrics(built: BuiltImage) -> JobMetrics:
    cost = built.metrics
    return JobMetrics(
        image=built.job.image,
        platform=built.job.platform,
        seconds=cost.seconds,
        cpu_seconds=cost.cpu_seconds or None,
        peak_memory=cost.peak_memory * 1024 or None,
        context_bytes=cost.context_bytes,
        steps=cost.steps,
        cached_steps=cost.cached_steps,
        pulled_steps=cost.pulled_steps,
        pushed_steps=cost.pushed_steps,
        layer_bytes=cost.layer_bytes,
        retries=cost.retries,
    )
