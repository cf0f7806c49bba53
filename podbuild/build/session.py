"""A namespace, an engine and staging's endpoint, each opened when the first image needs it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from podbuild.build.assemble import Members, assemble, plain_image
from podbuild.build.bases import registries_conf
from podbuild.build.cache.job import JobCache
from podbuild.build.cache.open import by_host, open_caches
from podbuild.build.engine.files import proxies_with_login
from podbuild.build.engine.session import Setup, Workplace, open_workplace
from podbuild.build.inputs.agents import check_agents
from podbuild.build.inputs.contents import Contents
from podbuild.build.inputs.recipe import Recipe
from podbuild.build.inputs.secrets import find_secrets
from podbuild.build.job import Site
from podbuild.build.jobs import Work, build_all, priorities
from podbuild.build.jobs import remember as remember_durations
from podbuild.build.model import Built, BuiltImage, Known
from podbuild.build.pins import repositories_of
from podbuild.build.staging.area import Staging
from podbuild.build.staging.server import StagingRegistry
from podbuild.build.toolchain.model import Toolchain
from podbuild.config.builders import HERE
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Platform
from podbuild.plan.model import Job, Plan, PlannedImage
from podbuild.system.records import Records
from podbuild.workspace import Services

if TYPE_CHECKING:
    from podbuild.build.remote.places import BuildPlaces


class BuildSession:
    """Builds and makes lists; `close` ends what was opened for it."""

    def __init__(
        self,
        *,
        services: Services,
        plan: Plan,
        staging: Staging,
        contents: Contents,
        toolchain: Callable[[], Toolchain],
        places: BuildPlaces | None = None,
    ) -> None:
        self.services = services
        self.plan = plan
        self.staging = staging
        self.contents = contents
        self.toolchain = toolchain
        self.places = places
        self._stack = ExitStack()
        self._platforms: tuple[Platform, ...] = ()  # that programs run for; lists need none
        self._pins: frozenset[str] = frozenset()  # of bases that are pulled

    def close(self) -> None:
        """End the engine, its namespace and the endpoint; raises nothing of theirs."""
        self._stack.close()

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
        here = [each for each in recipes.values() if self._may_be_here(each)]
        self._platforms = tuple(sorted({each for made in here for each in made.platforms}))
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
        needs = {job: recipe.inner.jobs for job, recipe in recipes.items()}
        if self.places is not None:
            from podbuild.build.remote.builder import Supplies  # noqa: PLC0415  # where used

            setup = self._setup
            self.places.supplies = Supplies(
                port=int(setup.staging.rpartition(":")[2]),
                registries=setup.registries,
                logins=setup.logins,
            )
        built = build_all(
            Work(
                recipes=recipes,
                site=site,
                workers=request.jobs or max(2, len(os.sched_getaffinity(0))),
                fail_fast=request.fail_fast,
                known=known.get,
                remember=remember,
                duration=priorities(needs, records).__getitem__,
                places=self.places,
            )
        )
        new = [each for each in built.images.values() if not each.reused]
        if self.places is not None:
            self.places.remember(
                {each.job: (each.metrics.builder or HERE, each.metrics.seconds) for each in new}
            )
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

    def _may_be_here(self, recipe: Recipe) -> bool:
        return self.places is None or self.places.may_be_here(recipe)

    @cached_property
    def _workplace(self) -> Workplace:
        return self._stack.enter_context(open_workplace(self._setup))

    @cached_property
    def _setup(self) -> Setup:
        services = self.services
        conf = registries_conf(services)
        repositories = repositories_of(self._pins, conf)
        known = by_host(services.config)
        names = {host: registry.name for host, registry in known.items()}
        serving = [known[host] for host in {each.host for each in repositories} if host in known]
        return Setup(
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


def _may_be_built(plan: Plan, missing: Collection[Job]) -> tuple[PlannedImage, ...]:
    """Give the images that may be built: what is missing, and what that builds on."""
    wanted = {*missing}
    for job in reversed(plan.jobs):  # what others build on comes first in `jobs`
        if job in wanted:
            wanted.update(plan.needs[job])
    names = {job.image for job in wanted}
    return tuple(image for image in plan.images if image.name in names)
