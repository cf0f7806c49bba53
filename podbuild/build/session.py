"""A namespace, an engine and staging's endpoint, each opened when the first image needs it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from podbuild.build import missing
from podbuild.build.assemble import Members, assemble, plain_image
from podbuild.build.bases import registries_conf
from podbuild.build.cache.job import JobCache
from podbuild.build.cache.open import by_host, open_caches
from podbuild.build.engine.session import Setup, Workplace, open_workplace
from podbuild.build.examine import place as trial
from podbuild.build.inputs.contents import Contents
from podbuild.build.inputs.recipe import Recipe
from podbuild.build.model import Built, BuiltImage, Known
from podbuild.build.pins import repositories_of
from podbuild.build.remote import builder
from podbuild.build.staging.area import Staging
from podbuild.build.staging.server import StagingRegistry
from podbuild.build.toolchain.emulation import foreign_guests
from podbuild.build.toolchain.model import Toolchain
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Platform
from podbuild.plan.model import Job, Plan
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
        places: Callable[[], BuildPlaces | None] = lambda: None,
    ) -> None:
        self.services = services
        self.plan = plan
        self.staging = staging
        self.contents = contents
        self.toolchain = toolchain
        self._find_places = places
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
        here = [each for each in recipes.values() if self._may_be_here(each)]
        self._platforms = tuple(sorted({each for made in here for each in made.platforms}))
        self._pins = frozenset(pin for each in recipes.values() for pin in each.pins.values())
        return missing.build_missing(self, recipes, known, remember)

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
            images |= assemble(self.workplace, self.endpoint, left)
        return images

    def place(self, platforms: Collection[Platform]) -> trial.TrialPlace:
        """Give where images of these platforms are started; it ends with this session.

        Raises ToolError where this machine can't run one of them.
        """
        return trial.TrialPlace(
            workplace=self._workplace_for(platforms),
            endpoint=self.endpoint,
            retry=replace(self.services.retry, attempts=3),
        )

    def _workplace_for(self, platforms: Collection[Platform]) -> Workplace:
        if "workplace" not in vars(self):
            self._platforms = tuple(sorted({*self._platforms, *platforms}))
        elif foreign_guests(tuple({*platforms} - {*self._platforms})):
            setup = replace(self.workplace.setup, platforms=tuple(sorted(platforms)))
            return self._stack.enter_context(open_workplace(setup))
        return self.workplace

    def caches(self, recipes: Iterable[Recipe]) -> Mapping[Job, JobCache]:
        """Give each job's layer cache; what is uploaded is waited for when the engines close."""
        if not self.plan.request.cache:
            return {}
        return self._stack.enter_context(
            open_caches(self.services, self.endpoint, recipes, self.toolchain().identity)
        )

    @cached_property
    def endpoint(self) -> StagingRegistry:
        """Give the registry that engines deliver to."""
        endpoint = self._stack.enter_context(StagingRegistry(self.staging))
        self.services.ui.redactor.add(endpoint.login.password)
        return endpoint

    @cached_property
    def places(self) -> BuildPlaces | None:
        """Give where jobs may be built; who makes lists alone asks no builder."""
        return self._find_places()

    def _may_be_here(self, recipe: Recipe) -> bool:
        return self.places is None or self.places.may_be_here(recipe)

    @cached_property
    def workplace(self) -> Workplace:
        """Give where engines work; opened when it is first asked for."""
        return self._stack.enter_context(open_workplace(self.setup))

    def supplies(self) -> builder.Supplies:
        """Give what builders are given: logins and CAs of the hosts that bases come from, alone."""
        services, setup = self.services, self.setup
        known = by_host(services.config)
        repositories = repositories_of(self._pins, setup.registries)
        keyring = services.opener.registries.keyring
        logins = {
            each: keyring.find(each, known[each.host].name if each.host in known else "")
            for each in repositories
        }
        hosts = {each.host for each in repositories} & known.keys()
        return builder.Supplies(
            port=int(setup.staging.rpartition(":")[2]),
            registries=setup.registries,
            logins={each: login for each, login in logins.items() if login is not None},
            authorities={host: ca for host in hosts if (ca := known[host].ca) is not None},
        )

    @cached_property
    def setup(self) -> Setup:
        """Give what the workplace is opened with."""
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
            staging=self.endpoint.login.host,
            authorities=tuple(sorted({each.ca for each in serving if each.ca is not None})),
        )
