"""The join of a fan-out: what other machines handed over, and what has not changed since."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from podbuild.build import resolve
from podbuild.build.cache.open import open_cache_store
from podbuild.build.engines import Engines, source_of
from podbuild.build.images import missing_jobs, staged_before
from podbuild.build.join import missing_parts, read_handed_over, take_over
from podbuild.build.model import BuiltImage, HandedOver, Staged
from podbuild.build.results import Results, vouches_of
from podbuild.errors import PodbuildError
from podbuild.plan.destination import Planned
from podbuild.plan.journal import Binding
from podbuild.plan.model import Job, Plan
from podbuild.workspace import Services


def open_parts(services: Services, plan: Plan, here: Binding) -> HandedOver:
    """Give what other machines have for a plan; raises as read_handed_over does."""
    open_store = partial(open_cache_store, services.config, services.opener.registries)
    return read_handed_over(plan.request.handed_over, plan, here, open_store)


def join(engines: Engines, planned: Planned, handed: HandedOver) -> Staged:
    """Give each published image's platforms: handed over, staged before, or unchanged.

    Builds nothing. Raises ConfigError that names all that is missing and the legs to run again.
    """
    plan = planned.plan
    wanted = (each for each in handed.parts if each.job in plan.jobs)
    source = source_of(planned, engines.staging)
    lost = take_over(wanted, engines.journal, engines.staging, source)
    staged = staged_before(engines)
    missing = missing_jobs(plan, staged)
    if missing and plan.request.reuses and plan.request.handed_over:
        staged = _with_unchanged(engines, planned, staged, missing)
        missing = missing_jobs(plan, staged)
    if missing:
        gone = {job: why for job, why in lost.items() if job in missing}
        raise missing_parts(missing, gone, handed.empty)
    return staged


def _with_unchanged(
    engines: Engines, planned: Planned, staged: Staged, missing: Iterable[Job]
) -> Staged:
    """Add what earlier releases have built of the same inputs: nobody needed to build it again."""
    services = engines.services
    try:
        inputs = resolve.resolve(planned, engines)
    except PodbuildError as error:
        services.cancel.check()
        services.ui.detail(f"what has not changed can't be told: {error.message}")
        return staged
    results = Results(
        planned=planned,
        journal=engines.journal,
        staging=engines.staging,
        folder=services.folders.cache / "results",
        hashes=inputs.hashes,
        reuse=True,
        vouches=vouches_of(services),
    )
    found = {
        job: BuiltImage(
            job=job, manifest=known.manifest, reason=known.reason, made_here=known.made_here
        )
        for job in missing
        if (known := results.find(job))
    }
    results.remember_reused(found.values())
    hashes = {job: inputs.hashes[job] for job in found}
    return replace(staged, images={**staged.images, **found}, inputs={**staged.inputs, **hashes})
