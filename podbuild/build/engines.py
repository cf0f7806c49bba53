"""Engines and staging's endpoint, opened when one is needed and not before."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import cached_property
from typing import Self

from podbuild.build.assemble import Members, assemble, plain_image
from podbuild.build.bases import Bases
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
from podbuild.build.inputs.agents import check_agents
from podbuild.build.inputs.contents import Contents
from podbuild.build.inputs.recipe import Recipe
from podbuild.build.inputs.secrets import find_secrets
from podbuild.build.job import Site
from podbuild.build.jobs import Built, BuiltImage, Known, Work, build_all, priorities
from podbuild.build.jobs import remember as remember_durations
from podbuild.build.pins import Pinner, repositories_of, repository_of
from podbuild.build.staging.area import Staging
from podbuild.build.staging.server import StagingRegistry
from podbuild.build.toolchain.model import Toolchain
from podbuild.errors import ToolError
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Platform
from podbuild.oci.store import Store
from podbuild.oci.transport.endpoint import Endpoint
from podbuild.plan.journal import Journal
from podbuild.plan.model import Job, Plan, PlannedImage
from podbuild.system.records import Records
from podbuild.workspace import Services


def registries_conf(services: Services) -> RegistriesConf:
    """Give the user's registries.conf with the configuration's mirrors and plain-HTTP hosts."""
    plain = {each.host for each in services.config.registries if each.insecure}
    return with_own(
        user_registries_conf(services.environment),
        mirrors=services.config.mirrors,
        insecure=sorted(plain),
    )


def open_pinner(services: Services, journal: Journal, anew: frozenset[str]) -> Pinner:
    """Give what resolves outside bases to digests, once per release; `anew` whatever is known."""
    return Pinner(
        conf=registries_conf(services),
        open_store=lambda mirror: _open_base(services, mirror),
        journal=journal,
        anew=anew,
    )


def open_bases(services: Services) -> Bases:
    """Give what reads what bases hand on."""
    return Bases(
        conf=registries_conf(services),
        open_store=lambda mirror: _open_base(services, mirror),
        records=Records.of_project(services.folders.cache, services.config.root),
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
    """Builds and makes lists; use as a context manager, which removes what dead runs left."""

    def __init__(
        self,
        *,
        services: Services,
        plan: Plan,
        journal: Journal,
        staging: Staging,
        toolchain: Callable[[], Toolchain],
    ) -> None:
        self.toolchain = toolchain
        self.services = services
        self.plan = plan
        self.journal = journal
        self.staging = staging
        self._stack = ExitStack()
        self._platforms: tuple[Platform, ...] = ()  # that programs run for; lists need none
        self._pins: frozenset[str] = frozenset()  # of bases that are pulled

    def __enter__(self) -> Self:
        services = self.services
        if has_leftovers(services.folders):
            with suppress(ToolError):  # where nothing is built, no engine is needed
                remove_leftovers(
                    services.runner, services.folders, self.toolchain(), services.environment
                )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def contents(self) -> Contents:
        """Give the reader of contexts; files that have not changed are not read again."""
        return Contents(self.services.folders.cache / "contents.json")

    def build(
        self,
        recipes: Mapping[Job, Recipe],
        known: Mapping[Job, Known],
        remember: Callable[[BuiltImage], None],
    ) -> Built:
        """Build what is not known; `remember` hears of each image as soon as it is staged.

        Raises CredentialError before anything is built when a build secret or an SSH agent is
        missing.
        """
        services, request = self.services, self.plan.request
        self._platforms = tuple(sorted({job.platform for job in recipes}))
        self._pins = frozenset(pin for each in recipes.values() for pin in each.pins.values())
        missing = [job for job in recipes if job not in known]
        may_be_built = _may_be_built(self.plan, missing)
        secrets = find_secrets(
            may_be_built, services.environment, on_value=services.ui.redactor.add
        )
        check_agents(may_be_built, services.environment)
        if missing and (names := proxies_with_login(services.environment)):
            services.ui.warn(
                f"{' and '.join(names)} hold a login, so RUN steps get no proxy variables at all; "
                "the engine itself uses them"
            )
        site = Site(
            workplace=self._workplace,
            staging=self._endpoint,
            contents=self.contents,
            secrets=secrets,
            ui=services.ui,
            logs=services.config.output / "logs",
            retry=replace(services.retry, attempts=3),
            no_cache=not request.cache,
            caches=self._caches(recipes.values()),
        )
        records = Records.of_project(services.folders.cache, services.config.root)
        needs = {job: tuple(recipe.inner.values()) for job, recipe in recipes.items()}
        built = build_all(
            Work(
                recipes=recipes,
                site=site,
                workers=request.jobs or max(2, len(os.sched_getaffinity(0))),
                fail_fast=request.fail_fast,
                known=known.get,
                remember=remember,
                duration=priorities(needs, records).__getitem__,
            )
        )
        new = (each for each in built.images.values() if not each.reused)
        remember_durations({each.job: each.metrics.seconds for each in new}, records)
        return built

    def assemble(self, members: Iterable[Members]) -> Mapping[str, Manifest]:
        """Give what is published of each image: the plain image, or an index made now."""
        images: dict[str, Manifest] = {}
        left = []
        for found in members:
            if found.image.is_index:
                left.append(found)
            else:
                images[found.image.name] = plain_image(self.staging, found)
        if left:
            images |= assemble(self._workplace, self._endpoint, left)
        return images

    def _caches(self, recipes: Iterable[Recipe]) -> Mapping[Job, JobCache]:
        """Give each job's layer cache; what is uploaded is waited for when the engines close."""
        if not self.plan.request.cache:
            return {}
        return self._stack.enter_context(
            open_caches(self.services, self._endpoint, recipes, self.toolchain().identity)
        )

    @cached_property
    def _endpoint(self) -> StagingRegistry:
        endpoint = self._stack.enter_context(StagingRegistry(self.staging))
        self.services.ui.redactor.add(endpoint.login.password)
        return endpoint

    @cached_property
    def _workplace(self) -> Workplace:
        services = self.services
        conf = registries_conf(services)
        repositories = repositories_of(self._pins, conf)
        known = by_host(services.config)
        names = {host: registry.name for host, registry in known.items()}
        serving = [known[host] for host in {each.host for each in repositories} if host in known]
        setup = Setup(
            runner=services.runner,
            folders=services.folders,
            toolchain=self.toolchain(),
            environment=services.environment,
            project=services.config.root,
            platforms=self._platforms,
            registries=conf,
            logins=services.opener.registries.keyring.entries(repositories, names),
            staging=self._endpoint.login.host,
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
