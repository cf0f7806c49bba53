"""Builds what no earlier result gives: secrets found, the order decided, the engines' site made."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from podbuild.build.cache.job import JobCache
from podbuild.build.engine.files import proxies_with_login
from podbuild.build.engine.session import Workplace
from podbuild.build.inputs.agents import check_agents
from podbuild.build.inputs.contents import Contents
from podbuild.build.inputs.recipe import Recipe
from podbuild.build.inputs.secrets import BuildSecrets, find_secrets
from podbuild.build.job import Site
from podbuild.build.jobs import Work, build_all, likely_seconds, priorities
from podbuild.build.jobs import remember as remember_durations
from podbuild.build.model import Built, BuiltImage, Known
from podbuild.build.staging.server import StagingRegistry
from podbuild.config.builders import HERE
from podbuild.plan.model import Job, Plan, PlannedImage
from podbuild.system.records import Records
from podbuild.workspace import Services

if TYPE_CHECKING:
    from podbuild.build.remote.builder import Supplies
    from podbuild.build.remote.places import BuildPlaces


class MissingJobs(Protocol):
    """What is used of the session that builds; what is costly is opened when it is asked for."""

    services: Services
    plan: Plan
    contents: Contents

    @property
    def places(self) -> BuildPlaces | None:
        """Give where jobs may be built; None where there is only this machine."""

    @property
    def workplace(self) -> Workplace:
        """Give where engines work."""

    @property
    def endpoint(self) -> StagingRegistry:
        """Give the registry that engines deliver to."""

    def supplies(self) -> Supplies:
        """Give what builders are given."""

    def caches(self, recipes: Iterable[Recipe]) -> Mapping[Job, JobCache]:
        """Give each job's layer cache."""


def _site(session: MissingJobs, recipes: Mapping[Job, Recipe], known: Mapping[Job, Known]) -> Site:
    services = session.services
    return Site(
        secrets=_secrets(session, [job for job in recipes if job not in known]),
        workplace=session.workplace,
        staging=session.endpoint,
        contents=session.contents,
        ui=services.ui,
        logs=services.config.output / "logs",
        retry=replace(services.retry, attempts=3),
        no_cache=not session.plan.request.cache,
        caches=session.caches(recipes.values()),
    )


def build_missing(
    session: MissingJobs,
    recipes: Mapping[Job, Recipe],
    known: Mapping[Job, Known],
    remember: Callable[[BuiltImage], None],
) -> Built:
    """Build what is not known; raises CredentialError before anything is built."""
    services, request = session.services, session.plan.request
    records = Records.of_project(services.folders.cache, services.config.root)
    needs = {job: recipe.inner.jobs for job, recipe in recipes.items()}

    def guess(job: Job) -> float:
        return likely_seconds(recipes[job])

    if session.places is not None:
        session.places.supplies = session.supplies()
    built = build_all(
        Work(
            recipes=recipes,
            site=_site(session, recipes, known),
            workers=request.jobs or max(2, len(os.sched_getaffinity(0))),
            fail_fast=request.fail_fast,
            known=known.get,
            remember=remember,
            duration=priorities(needs, records, guess).__getitem__,
            places=session.places,
        )
    )
    new = {each.job: each.metrics for each in built.images.values() if not each.reused}
    if session.places is not None:
        session.places.remember(
            {job: (cost.builder or HERE, cost.seconds) for job, cost in new.items()}
        )
    remember_durations({job: cost.seconds for job, cost in new.items()}, records)
    return built


def _secrets(session: MissingJobs, missing: Collection[Job]) -> BuildSecrets:
    """Give what may be needed, before anything is opened; warns of what RUN steps do not get."""
    services = session.services
    may_be_built = _may_be_built(session.plan, missing)
    secrets = find_secrets(may_be_built, services.environment, on_value=services.ui.redactor.add)
    check_agents(may_be_built, services.environment)
    if missing and (names := proxies_with_login(services.environment)):
        services.ui.warn(
            f"{' and '.join(names)} hold a login, so RUN steps get no proxy variables at all; "
            "the engine itself uses them"
        )
    return secrets


def _may_be_built(plan: Plan, missing: Collection[Job]) -> tuple[PlannedImage, ...]:
    """Give the images that may be built: what is missing, and what that builds on."""
    wanted = {*missing}
    for job in reversed(plan.jobs):  # what others build on comes first in `jobs`
        if job in wanted:
            wanted.update(plan.needs[job])
    names = {job.image for job in wanted}
    return tuple(image for image in plan.images if image.name in names)
