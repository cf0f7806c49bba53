"""What a release would find: which images are known by their inputs, and what goes afterwards.

Nothing of the project is written: what a journal must hold is held in a folder that goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from podbuild.build.engines import ChosenToolchain, Engines, open_staging
from podbuild.build.examine.growth import sizes_before
from podbuild.build.image import layer_bytes
from podbuild.build.resolve import resolve
from podbuild.build.results import Results, jobs_to_do, vouches_of
from podbuild.config.document import duration_text
from podbuild.errors import PodbuildError
from podbuild.oci.names import Digest
from podbuild.plan.destination import Planned, binding_of
from podbuild.plan.journal import NAME, Binding, Journal, Section, read_journal
from podbuild.plan.model import Job
from podbuild.publish.ledger import Ledger
from podbuild.report.plan import Foreseen
from podbuild.system.records import JSONValue
from podbuild.workspace import Services

_NEW = "its inputs are new"


def foresee(services: Services, planned: Planned) -> Foreseen:
    """Give what a release of this plan would find; what can't be known is said."""
    superseded = tuple(_superseded(services, planned))
    if not planned.plan.jobs:
        return Foreseen(superseded=superseded)
    try:
        with TemporaryDirectory(prefix="podbuild-plan-") as folder:
            jobs = _jobs(services, planned, Path(folder))
    except PodbuildError as error:
        services.cancel.check()
        sizes = _sizes(services, planned)
        return Foreseen(superseded=superseded, unknown=error.message, sizes=sizes)
    return Foreseen(jobs=jobs, superseded=superseded, sizes=_sizes(services, planned))


def _sizes(services: Services, planned: Planned) -> tuple[tuple[Job, str, int, str], ...]:
    """Give what sizes are compared with, where budgets limit growth: reading it costs requests."""
    if not any(image.image.budget.growth for image in planned.plan.images):
        return ()
    before = sizes_before(planned, open_staging(services), services.ui.warn)
    return tuple(
        (job, found.since, layer_bytes(found.images[job.platform]), str(budget or ""))
        for job in planned.plan.jobs
        if (found := before.get(job.image)) and job.platform in found.images
        for budget in (planned.plan.image(job.image).image.budget.growth,)
    )


def _jobs(services: Services, planned: Planned, folder: Path) -> dict[Job, tuple[bool, str]]:
    plan = planned.plan
    toolchain = ChosenToolchain(services.runner, services.folders, services.environment)
    binding = binding_of(plan, toolchain().identity)
    journal = Journal(folder / "state.json", binding, _continued(services, binding))
    engines = Engines(services=services, plan=plan, journal=journal, toolchain=toolchain)
    results = Results(
        planned=planned,
        journal=journal,
        staging=engines.staging,
        folder=services.folders.cache / "results",
        hashes=resolve(planned, engines).hashes,
        reuse=plan.request.reuses,
        vouches=vouches_of(services),
    )
    known = results.known
    return {
        job: (False, known[job].reason) if job in known else (True, _NEW)
        for job in jobs_to_do(plan, known)
    }


def _continued(services: Services, binding: Binding) -> dict[Section, dict[str, JSONValue]]:
    found = read_journal(services.config.output / NAME)
    return {**found.to_continue} if found and found.binding == binding else {}


def _superseded(services: Services, planned: Planned) -> Iterator[tuple[str, str, str]]:
    """Give what the tags left before and leave now, by repository; grace counts from then."""
    retention = services.config.retention
    if not retention.superseded:
        return
    now = datetime.now(UTC)
    recorded = Ledger.of(services.folders, services.config.root).read()
    for destination in planned.destinations:
        name, left = destination.store.name, recorded.get(destination.key, {})
        for digest, when in sorted(left.items()):
            if when + timedelta(seconds=retention.grace) <= now:
                yield name, _short(digest), f"left {when:%Y-%m-%d}"
        for key, digest in sorted(planned.replaced.items()):
            if key.place == destination.key and digest not in left:
                wait = f", after {duration_text(retention.grace)}" if retention.grace else ""
                yield name, _short(digest), f"{key.tag} leaves it now{wait}"


def _short(digest: Digest) -> str:
    return f"{digest.algorithm}:{digest.short}"
