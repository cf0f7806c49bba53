"""Make the images of a release: re-use what is known, build the rest, assemble the indexes.

What images are made with: engines and staging's endpoint, opened when they are needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from podbuild.build.assemble import Members, assemble, check_index, plain_image
from podbuild.build.cache.job import JobCache
from podbuild.build.cache.open import by_host, open_caches
from podbuild.build.engine.files import proxies_with_login
from podbuild.build.engine.leftovers import has_leftovers, remove_leftovers
from podbuild.build.engine.registries_conf import (
    Mirror,
    RegistriesConf,
    with_own,
)
from podbuild.build.engine.registries_files import user_registries_conf
from podbuild.build.engine.session import Setup, Workplace, open_workplace
from podbuild.build.handover import hand_over
from podbuild.build.inputs.agents import check_agents
from podbuild.build.inputs.contents import Contents
from podbuild.build.inputs.hash import InputHash, input_hash
from podbuild.build.inputs.recipe import Recipe, Surroundings, make_recipe, outside_images
from podbuild.build.inputs.secrets import find_secrets
from podbuild.build.job import Site
from podbuild.build.jobs import Built, BuiltImage, Work, build_all, priorities
from podbuild.build.jobs import remember as remember_durations
from podbuild.build.pins import Pinner, repositories_of, repository_of
from podbuild.build.results import Origin, Results, jobs_to_do, recorded
from podbuild.build.staging.area import Staging, repository_name
from podbuild.build.staging.pool import Pool
from podbuild.build.staging.server import StagingRegistry
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.build.toolchain.model import Toolchain
from podbuild.commands.record import Recorder
from podbuild.config.choices import Pull
from podbuild.errors import ConfigError, PodbuildError, PublishError, ToolError, VerificationError
from podbuild.oci.copy import FallbackStore
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Platform
from podbuild.oci.store import Store
from podbuild.oci.transport.endpoint import Endpoint
from podbuild.plan.journal import Journal, Section
from podbuild.plan.labels import inputs_of
from podbuild.plan.model import Job, Plan, PlannedImage
from podbuild.plan.planned import Planned
from podbuild.report.collect import size_of
from podbuild.report.model import PlatformReport
from podbuild.system.records import Records
from podbuild.workspace import Services


@dataclass(frozen=True, kw_only=True)
class Making:
    """How images are made. `jobs` is how many builds run at a time (None: one per CPU).

    With `handed_over`, the output folders of other machines, nothing is built here.
    """

    jobs: int | None = None
    cache: bool = True
    reuse: bool = True
    fail_fast: bool = False
    skip_build: bool = False
    handed_over: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Equipment:
    """What images are made with, opened once per command.

    With `resolves_anew`, what bases name now counts (where `pull` is "always"), not what the
    journal says: only a release that continues is bound by its pins.
    """

    services: Services
    planned: Planned
    making: Making
    journal: Journal
    toolchain: Callable[[], Toolchain]  # raises ToolError; not asked where no engine is needed
    staging: Staging
    recorder: Recorder
    offer: Callable[[str, Manifest], None] = lambda _image, _manifest: None
    resolves_anew: bool = False
    pins: dict[str, str] = field(default_factory=dict)  # of this command: reference -> pin

    @cached_property
    def contents(self) -> Contents:
        """Give the reader of contexts; files that have not changed are not read again."""
        return Contents(self.services.folders.cache / "contents.json")

    @property
    def plan(self) -> Plan:
        """Give the plan."""
        return self.planned.plan

    def source(self, image: str) -> Store:
        """Give where an image's bytes are: staging, else the registries that hold them."""
        every = (*self.planned.destinations, *self.planned.beside)
        holders = (each.store for each in every if each.image == image)
        return FallbackStore(self.staging.repository(repository_name(image)), tuple(holders))

    def assembled(self, image: str) -> Manifest | None:
        """Give what this release has assembled of an image before, if it is staged."""
        digest = self.journal.digest(Section.ASSEMBLED, image)
        return self.source(image).manifest(digest) if digest else None


def open_staging(services: Services) -> Staging:
    """Give the staging area, whose blobs last in podbuild's cache folder."""
    return Staging(Pool(services.folders.cache / "blobs"))


def registries_conf(services: Services) -> RegistriesConf:
    """Give the user's registries.conf with the configuration's mirrors and plain-HTTP hosts."""
    plain = {each.host for each in services.config.registries if each.insecure}
    return with_own(
        user_registries_conf(services.environment),
        mirrors=services.config.mirrors,
        insecure=sorted(plain),
    )


def _pinned(equipment: Equipment, native: Platform) -> Mapping[str, str]:
    """Resolve what the images to make need from outside; raises as Pinner.pin does."""
    plan = equipment.plan
    needed = {job.image for job in plan.jobs}
    names: dict[str, bool] = {}  # whether an image wants to know what it is now
    for image in plan.images:
        if image.name in needed:
            wants = equipment.resolves_anew and image.image.pull is Pull.ALWAYS
            for name in outside_images(plan, image, native):
                names[name] = names.get(name, False) or wants
    pinner = Pinner(
        conf=registries_conf(equipment.services),
        open_store=lambda mirror: _open_base(equipment.services, mirror),
        journal=equipment.journal,
        anew=frozenset(name for name, wants in names.items() if wants),
    )
    equipment.pins.update(pinner.pin(names))
    return equipment.pins


def _open_base(services: Services, mirror: Mirror) -> Store:
    """Open where a base comes from; what the configuration says of that host holds here too."""
    repository = repository_of(mirror)
    configured = by_host(services.config).get(repository.host)
    endpoint = Endpoint(
        host=repository.host,
        insecure=mirror.insecure,
        ca=configured.ca if configured else None,
    )
    name = configured.name if configured else ""
    return services.opener.registries.open(repository, endpoint, name)


class Engines:
    """Opens staging's endpoint and the engines' workplace when an engine is needed, not before."""

    def __init__(self, equipment: Equipment) -> None:
        self._equipment = equipment
        self._stack = ExitStack()
        self._platforms: tuple[Platform, ...] = ()  # that programs run for; lists need none

    def __enter__(self) -> Self:
        services = self._equipment.services
        if has_leftovers(services.folders):
            with suppress(ToolError):  # where nothing is built, no engine is needed
                toolchain = self._equipment.toolchain()
                remove_leftovers(services.runner, services.folders, toolchain, services.environment)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def build(self, recipes: Mapping[Job, Recipe], results: Results) -> Built:
        """Build what is not known; `Built.check` raises the first failure.

        Raises CredentialError before anything is built when a build secret or an SSH agent is
        missing.
        """
        equipment, services = self._equipment, self._equipment.services
        self._platforms = tuple(sorted({job.platform for job in recipes}))
        missing = [job for job in recipes if job not in results.known]
        may_be_built = _may_be_built(equipment.plan, missing)
        secrets = find_secrets(
            may_be_built, services.environment, on_value=services.ui.redactor.add
        )
        check_agents(may_be_built, services.environment)

        if missing and (names := proxies_with_login(services.environment)):
            services.ui.warn(
                f"{' and '.join(names)} hold a login, so RUN steps get no proxy variables at all; "
                "the engine itself uses them"
            )

        def remember(built: BuiltImage) -> None:
            results.remember(built)
            image = equipment.plan.image(built.job.image)
            if image.published and image.is_index:
                equipment.offer(image.name, built.manifest)

        site = Site(
            workplace=self._workplace,
            staging=self._staging,
            contents=equipment.contents,
            secrets=secrets,
            ui=services.ui,
            logs=services.config.output / "logs",
            retry=replace(services.retry, attempts=3),
            no_cache=not equipment.making.cache,
            caches=self._caches(recipes.values()),
        )
        records = Records.of_project(services.folders.cache, services.config.root)
        needs = {job: tuple(recipe.inner.values()) for job, recipe in recipes.items()}
        built = build_all(
            Work(
                recipes=recipes,
                site=site,
                workers=equipment.making.jobs or max(2, len(os.sched_getaffinity(0))),
                fail_fast=equipment.making.fail_fast,
                known=results.known.get,
                remember=remember,
                duration=priorities(needs, records).__getitem__,
            )
        )
        new = (each for each in built.images.values() if not each.reused)
        remember_durations({each.job: each.metrics.seconds for each in new}, records)
        return built

    def _caches(self, recipes: Iterable[Recipe]) -> Mapping[Job, JobCache]:
        """Give each job's layer cache; what is uploaded is waited for when the engines close."""
        if not self._equipment.making.cache:
            return {}
        engine = self._equipment.toolchain().identity
        return self._stack.enter_context(
            open_caches(self._equipment.services, self._staging, recipes, engine)
        )

    def assemble(self, members: Iterable[Members]) -> Mapping[str, Manifest]:
        """Give what is published of each image; an index that was made before is kept."""
        equipment = self._equipment
        images: dict[str, Manifest] = {}
        left = []
        for found in members:
            before = self._before(found)
            if before is not None:
                images[found.image.name] = before
            elif found.image.is_index:
                left.append(found)
            else:
                images[found.image.name] = plain_image(equipment.staging, found)
        if left:
            images |= assemble(self._workplace, self._staging, left)
        equipment.journal.record_all(
            Section.ASSEMBLED, {name: str(manifest.digest) for name, manifest in images.items()}
        )
        return images

    def _before(self, members: Members) -> Manifest | None:
        """Give the index that this release has made before, if it is still right."""
        name = members.image.name
        digest = self._equipment.journal.digest(Section.ASSEMBLED, name)
        if digest is None or not members.image.is_index:
            return None
        store = self._equipment.staging.repository(repository_name(name))
        index = store.manifest(digest)
        if index is None:
            return None
        try:
            check_index(store, index, members)
        except VerificationError:
            return None
        return index

    @cached_property
    def _staging(self) -> StagingRegistry:
        staging = self._stack.enter_context(StagingRegistry(self._equipment.staging))
        self._equipment.services.ui.redactor.add(staging.login.password)
        return staging

    @cached_property
    def _workplace(self) -> Workplace:
        equipment, services = self._equipment, self._equipment.services
        conf = registries_conf(services)
        repositories = repositories_of(equipment.pins.values(), conf)
        known = by_host(services.config)
        names = {host: registry.name for host, registry in known.items()}
        serving = [known[host] for host in {each.host for each in repositories} if host in known]
        setup = Setup(
            runner=services.runner,
            folders=services.folders,
            toolchain=equipment.toolchain(),
            environment=services.environment,
            project=services.config.root,
            platforms=self._platforms,
            registries=conf,
            logins=services.opener.registries.keyring.entries(repositories, names),
            staging=self._staging.login,
            authorities=tuple(sorted({each.ca for each in serving if each.ca is not None})),
        )
        return self._stack.enter_context(open_workplace(setup))


def _may_be_built(plan: Plan, missing: Collection[Job]) -> tuple[PlannedImage, ...]:
    """Give the images that may be built: what is missing, and what that builds on."""
    wanted = {*missing}
    for job in reversed(plan.jobs):  # what others build on comes first in `jobs`
        if job in wanted:
            wanted.update(plan.needs[job])
    names = {job.image for job in wanted}
    return tuple(image for image in plan.images if image.name in names)


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
    around = Surroundings(
        build=native, output=services.config.output, pins=_pinned(equipment, native)
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
    contents.save()
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
