"""What images are made with: engines and staging's endpoint, opened when they are needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from podbuild.build_agents import check_agents
from podbuild.build_secrets import find_secrets
from podbuild.context import Contents
from podbuild.durations import priorities
from podbuild.durations import remember as remember_durations
from podbuild.engine import RegistriesConf, proxies_with_login, user_registries_conf, with_own
from podbuild.engine.registries import Mirror
from podbuild.errors import ToolError, VerificationError
from podbuild.inputs import Recipe
from podbuild.journal import Journal, Section
from podbuild.known import Results
from podbuild.layer_cache import by_host, open_caches
from podbuild.model import Manifest, Platform
from podbuild.plan import Job, Plan, PlannedImage
from podbuild.planning import Planned
from podbuild.recorder import Recorder
from podbuild.records import Records
from podbuild.services import Services
from podbuild.steps.assemble import Members, assemble, check_index, plain_image
from podbuild.steps.build import Built, BuiltImage, Work, build_all
from podbuild.steps.building import Site
from podbuild.steps.job_cache import JobCache
from podbuild.steps.leftovers import has_leftovers, remove_leftovers
from podbuild.steps.pins import Pinner, repositories_of, repository_of
from podbuild.steps.workplace import Setup, Workplace, open_workplace
from podbuild.store import Store
from podbuild.store.endpoint import Endpoint
from podbuild.store.fallback import FallbackStore
from podbuild.store.pool import Pool
from podbuild.store.staged import Staging, repository_name
from podbuild.store.staging import StagingRegistry
from podbuild.toolchain import Toolchain


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
    """What images are made with, opened once per command."""

    services: Services
    planned: Planned
    making: Making
    journal: Journal
    toolchain: Callable[[], Toolchain]  # raises ToolError; not asked where no engine is needed
    staging: Staging
    recorder: Recorder
    offer: Callable[[str, Manifest], None] = lambda _image, _manifest: None

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


def open_pinner(equipment: Equipment) -> Pinner:
    """Give what resolves outside bases to digests, once per release."""
    return Pinner(
        conf=registries_conf(equipment.services),
        open_store=lambda mirror: _open_base(equipment.services, mirror),
        journal=equipment.journal,
    )


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
        pins = [text for _, text in equipment.journal.items(Section.PINS) if isinstance(text, str)]
        repositories = repositories_of(pins, conf)
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
