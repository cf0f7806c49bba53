"""Make the images of a release: re-use what is known, build the rest, assemble the indexes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from podbuild.build_secrets import find_secrets
from podbuild.context import Contents
from podbuild.emulation import native_architecture
from podbuild.engine import RegistriesConf, user_registries_conf, with_own
from podbuild.engine.registries import Mirror
from podbuild.errors import ConfigError, VerificationError
from podbuild.inputs import InputHash, Recipe, Surroundings, input_hash, make_recipe, outside_images
from podbuild.journal import ASSEMBLED, PINS, Journal
from podbuild.known import Results, jobs_to_do
from podbuild.labels import inputs_of
from podbuild.model import Manifest, Platform
from podbuild.plan import Job, Plan
from podbuild.planning import Planned
from podbuild.report import JobMetrics, Origin, PlatformReport
from podbuild.report.collect import size_of
from podbuild.services import Services
from podbuild.steps.assemble import Members, assemble, check_index
from podbuild.steps.build import BuiltImage, Work, build_all
from podbuild.steps.building import Site
from podbuild.steps.pins import Pinner, place_of, repositories_of
from podbuild.steps.workplace import Surroundings as Ground
from podbuild.steps.workplace import Workplace, open_workplace
from podbuild.store import Store
from podbuild.store.client import Endpoint
from podbuild.store.fallback import FallbackStore
from podbuild.store.pool import Pool
from podbuild.store.staged import Staging, repository_name
from podbuild.store.staging import StagingRegistry
from podbuild.story import Story
from podbuild.toolchain import Toolchain


@dataclass(frozen=True, kw_only=True)
class Making:
    """How images are made. `jobs` is how many builds run at a time (None: one per CPU)."""

    jobs: int | None = None
    cache: bool = True
    reuse: bool = True
    fail_fast: bool = False
    skip_build: bool = False
    handed_over: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Kitchen:
    """What images are made with, opened once per command."""

    services: Services
    planned: Planned
    making: Making
    journal: Journal
    toolchain: Toolchain
    staging: Staging
    story: Story
    offer: Callable[[str, Manifest], None] = lambda _image, _manifest: None
    contents: Contents = field(default_factory=Contents)

    @property
    def plan(self) -> Plan:
        """Give the plan."""
        return self.planned.plan

    def source(self, image: str) -> Store:
        """Give where an image's bytes are: staging, else the registries that hold them."""
        holders = (each.store for each in self.planned.destinations if each.image == image)
        return FallbackStore(self.staging.repository(repository_name(image)), tuple(holders))


def open_staging(services: Services) -> Staging:
    """Give the staging area, whose blobs last in podbuild's cache folder."""
    return Staging(Pool(services.folders.cache / "blobs"))


def make_images(kitchen: Kitchen) -> Mapping[str, Manifest]:
    """Give what is published of each image, all staged (or where an earlier release put it).

    Raises BuildError, CredentialError, ToolError, ConfigError; what was built stays journalled.
    """
    recipes, hashes = _prepare(kitchen)
    results = Results(
        planned=kitchen.planned,
        journal=kitchen.journal,
        staging=kitchen.staging,
        folder=kitchen.services.folders.cache / "results",
        hashes=hashes,
        reuse=kitchen.making.reuse and kitchen.making.cache,
    )
    todo = jobs_to_do(kitchen.plan, results.known)
    missing = [job for job in todo if job not in results.known]
    if missing and (kitchen.making.skip_build or kitchen.making.handed_over):
        raise ConfigError(
            f"not staged: {', '.join(map(str, missing))}",
            hint="build it first, or leave out --skip build and --from",
        )
    with Engines(kitchen) as engines:
        built = {
            job: BuiltImage(job=job, manifest=found.manifest, reason=found.reason)
            for job, found in results.known.items()
            if job in todo
        }
        if missing:
            wanted = {job: recipes[job] for job in todo}
            built = dict(engines.build(wanted, results))
        _tell(kitchen, built)
        kitchen.story.images = engines.assemble(tuple(_members(kitchen, built, hashes)))
    return {**kitchen.story.images, **_adopted(kitchen)}


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
        build=native, output=services.config.output, pins=_pinner(kitchen).pin(names)
    )
    contents = kitchen.contents
    recipes: dict[Job, Recipe] = {}
    hashes: dict[Job, InputHash] = {}
    for job in plan.jobs:  # what others build on comes first
        recipes[job] = make_recipe(plan, plan.image(job.image), job.platform, around)
        hashes[job] = input_hash(
            recipes[job],
            engine=kitchen.toolchain.identity,
            contents=contents,
            git=kitchen.planned.git,
            inner=hashes,
        )
    return recipes, hashes


def registries_conf(services: Services) -> RegistriesConf:
    """Give the user's registries.conf with the configuration's mirrors and plain-HTTP hosts."""
    plain = {
        each.repository.text.partition("/")[0]
        for each in services.config.registries
        if each.insecure and each.repository is not None
    }
    return with_own(
        user_registries_conf(services.environment),
        mirrors=services.config.mirrors,
        insecure=sorted(plain),
    )


def _pinner(kitchen: Kitchen) -> Pinner:
    return Pinner(
        conf=registries_conf(kitchen.services),
        open_store=lambda mirror: _open_base(kitchen.services, mirror),
        journal=kitchen.journal,
    )


def _open_base(services: Services, mirror: Mirror) -> Store:
    """Open where a base comes from, with the CA that the configuration names for that host."""
    repository = place_of(mirror)
    configured = (
        each.ca
        for each in services.config.registries
        if each.repository and each.repository.text.partition("/")[0] == repository.host
    )
    endpoint = Endpoint(
        host=repository.host, insecure=mirror.insecure, ca=next(filter(None, configured), None)
    )
    return services.opener.registries.open(repository, endpoint)


class Engines:
    """Opens staging's endpoint and the engines' workplace when an engine is needed, not before."""

    def __init__(self, kitchen: Kitchen) -> None:
        self._kitchen = kitchen
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def build(self, recipes: Mapping[Job, Recipe], results: Results) -> Mapping[Job, BuiltImage]:
        """Build what is not known; raises the first failure after the others have ended."""
        kitchen, services = self._kitchen, self._kitchen.services
        images = [kitchen.plan.image(name) for name in {job.image for job in recipes}]
        secrets = find_secrets(images, services.environment, on_value=services.ui.redactor.add)

        def remember(built: BuiltImage) -> None:
            results.remember(built)
            image = kitchen.plan.image(built.job.image)
            if image.published and image.is_index:
                kitchen.offer(image.name, built.manifest)

        site = Site(
            workplace=self._workplace,
            staging=self._staging,
            contents=kitchen.contents,
            secrets=secrets,
            ui=services.ui,
            logs=services.config.output / "logs",
            retry=replace(services.retry, attempts=3),
            no_cache=not kitchen.making.cache,
        )
        done = build_all(
            Work(
                recipes=recipes,
                site=site,
                workers=kitchen.making.jobs or max(2, len(os.sched_getaffinity(0))),
                fail_fast=kitchen.making.fail_fast,
                known=results.known.get,
                remember=remember,
            )
        )
        done.check()
        return done.images

    def assemble(self, members: tuple[Members, ...]) -> Mapping[str, Manifest]:
        """Give what is published of each image; an index that was made before is kept."""
        kitchen = self._kitchen
        before = {found.image.name: self._before(found) for found in members}
        images = {name: index for name, index in before.items() if index is not None}
        left = [found for found in members if found.image.name not in images]
        if left:
            images |= assemble(self._workplace, self._staging, left)
        for name, manifest in images.items():
            kitchen.journal.record(ASSEMBLED, name, str(manifest.digest))
        return images

    def _before(self, members: Members) -> Manifest | None:
        """Give the index that this release has made before, if it is still right."""
        name = members.image.name
        digest = self._kitchen.journal.digest(ASSEMBLED, name)
        if digest is None or not members.image.is_index:
            return None
        store = self._kitchen.staging.repository(repository_name(name))
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
        return self._stack.enter_context(StagingRegistry(self._kitchen.staging))

    @cached_property
    def _workplace(self) -> Workplace:
        kitchen, services = self._kitchen, self._kitchen.services
        conf = registries_conf(services)
        pins = [text for _, text in kitchen.journal.items(PINS) if isinstance(text, str)]
        repositories = repositories_of(pins, conf)
        ground = Ground(
            runner=services.runner,
            folders=services.folders,
            toolchain=kitchen.toolchain,
            environment=services.environment,
            project=services.config.root,
            platforms=tuple(sorted({job.platform for job in kitchen.plan.jobs})),
            registries=conf,
            logins=services.opener.registries.keyring.entries(repositories),
            staging=self._staging.login,
        )
        return self._stack.enter_context(open_workplace(ground))


def _members(
    kitchen: Kitchen, built: Mapping[Job, BuiltImage], hashes: Mapping[Job, InputHash]
) -> Iterator[Members]:
    for image in kitchen.plan.images:
        children = {
            job.platform: found.manifest for job, found in built.items() if job.image == image.name
        }
        if not image.published or not children:
            continue
        inputs = {
            inputs_of(job.platform): hashes[job].text
            for job in built
            if job.image == image.name and hashes[job].reusable
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


def _tell(kitchen: Kitchen, built: Mapping[Job, BuiltImage]) -> None:
    """Hand what became of each job to the report, and say why images were not built."""
    kitchen.story.parts = {job: _part(kitchen, found) for job, found in built.items()}
    kitchen.story.metrics = tuple(_metrics(found) for found in built.values() if not found.reused)
    for job, found in sorted(built.items()):
        if found.reused:
            kitchen.services.ui.info(f"{job}: {found.reason}")


def _part(kitchen: Kitchen, built: BuiltImage) -> PlatformReport:
    log = kitchen.services.config.output / "logs" / f"{built.job.slug}.log"
    return PlatformReport(
        platform=built.job.platform,
        digest=built.manifest.digest,
        size=size_of(built.manifest),
        seconds=built.metrics.seconds,
        origin=Origin.REUSED if built.reused else Origin.BUILT,
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
        layer_bytes=cost.layer_bytes,
        retries=cost.retries,
    )
