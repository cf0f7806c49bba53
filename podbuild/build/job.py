"""One job: its output and log, what it cost, and the image that it left in staging.

What building costs: time, memory and bytes of a job, measured around the engine's process.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from podbuild.build.cache.job import JobCache
from podbuild.build.engine.failure import (
    FailedStep,
    explain,
    failed_by_cache,
    is_transient,
    last_words,
)
from podbuild.build.engine.programs import measure
from podbuild.build.engine.session import Workplace
from podbuild.build.finish import finished, is_what_was_made
from podbuild.build.image import check_platform
from podbuild.build.inputs.contents import Contents
from podbuild.build.inputs.recipe import Recipe
from podbuild.build.inputs.secrets import BuildSecrets
from podbuild.build.model import Cost, Metrics
from podbuild.build.output import Output
from podbuild.build.staging.area import repository_name, staged_tag
from podbuild.build.staging.server import StagingRegistry
from podbuild.config.choices import Compression
from podbuild.errors import BuildError
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Tag
from podbuild.plan.model import Job
from podbuild.system.cancel import Cancel
from podbuild.system.console import Ui
from podbuild.system.console.text import duration
from podbuild.system.files import open_in_place
from podbuild.system.process import CommandError
from podbuild.system.retry import Retry, Transient

_KIB = 1024  # bytes; the unit of getrusage(2)'s ru_maxrss


def measured(report: Path, argv: Sequence[str]) -> tuple[str, ...]:
    """Give the argv that runs a command and writes its cost; what is confined does so itself."""
    return (sys.executable, "-I", "-S", str(measure.__file__), str(report), *argv)


def read_cost(report: Path) -> Cost:
    """Read what `measured` wrote; zeros where the command was killed before."""
    try:
        cpu, memory = report.read_text().split()
    except (FileNotFoundError, ValueError):
        return Cost()
    return Cost(cpu_seconds=float(cpu), peak_memory=int(memory) * _KIB)


T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Site:
    """What jobs are built with."""

    workplace: Workplace
    staging: StagingRegistry
    contents: Contents
    secrets: BuildSecrets
    ui: Ui
    logs: Path
    retry: Retry
    no_cache: bool = False
    caches: Mapping[Job, JobCache] = field(default_factory=dict)

    @property
    def cancel(self) -> Cancel:
        """Give what stops the jobs."""
        return self.workplace.setup.runner.cancel

    def log(self, job: Job) -> Path:
        """Give the file that has all of a job's output."""
        return self.logs / f"{job.slug}.log"

    def shown_log(self, job: Job) -> str:
        """Give the same for people: from the project's folder on, where it is in there."""
        project = self.workplace.setup.project
        log = self.log(job)
        return str(log.relative_to(project) if log.is_relative_to(project) else log)


class CacheFailedError(Exception):
    """The engine gave up because of the layer cache, which it takes for a failed build."""


@dataclass(frozen=True, kw_only=True)
class Attempted:
    """What a successful build left: an image in the engine's storage, or `delivered` to staging.

    `image_id` is what the engine says it made.
    """

    image_id: str
    metrics: Metrics
    delivered: Manifest | None = None


def reported(
    site: Site, recipe: Recipe, attempt: Callable[[Output], Attempted], where: str = ""
) -> Attempted:
    """Make an image while its log and the screen get what is printed; `where` is a builder.

    Transient failures are tried again. Raises BuildError, DeadlineError, and what Cancel.check
    raises after a stop.
    """
    job = recipe.job
    what = f"build {job} on {where}" if where else f"build {job}"
    retries = 0
    began = time.monotonic()

    def again(error: Exception, wait: float) -> None:
        nonlocal retries
        retries += 1
        site.ui.note(f"{job}: {error}; again in {wait:.0f} s")

    with (
        os.fdopen(open_in_place(site.log(job)), "w", buffering=1) as log,
        site.ui.job(what) as doing,
    ):

        def write(line: str) -> None:
            log.write(f"{line}\n")
            doing(line)

        clean = site.ui.redactor.stream(write)
        output = Output(write=clean.take)
        failed = True
        try:
            attempted = replace(site.retry, on_retry=again)(lambda: attempt(output))
            failed = False
        finally:
            clean.end()
            took = "" if failed else f": done in {duration(time.monotonic() - began)}"
            if not site.cancel.requested:  # what was stopped did nothing wrong
                site.ui.block(f"{what}{took}", output.lines, failed=failed)
    return replace(attempted, metrics=replace(attempted.metrics, retries=retries))


def deliver(site: Site, recipe: Recipe, attempted: Attempted) -> tuple[Manifest, Metrics]:
    """Push an image of the engine's storage to staging; give it with what it cost in all.

    Raises as `build` does.
    """
    delivered = push_to(site, recipe, attempted, staged_tag(recipe.job))
    storage = site.workplace.storage(recipe.job.platform.slug)
    lossy = recipe.compression is Compression.ZSTD  # pushed as OCI: a part of its config is lost
    config = storage.config(attempted.image_id) if lossy else b""
    image = staged_image(site, recipe, delivered, config)
    if image.config:
        storage.remember(image.config.digest, attempted.image_id)
    return image, delivered.metrics


def push_to(site: Site, recipe: Recipe, attempted: Attempted, tag: Tag) -> Attempted:
    """Push an image of the engine's storage to a tag of staging; raises as `build` does."""
    job, name = recipe.job, repository_name(recipe.job.image)
    destination = site.staging.reference(name, tag)
    push = site.workplace.command.push(attempted.image_id, destination, recipe.compression)

    def once() -> Attempted:
        own = site.workplace.carrier(job.platform.slug, recipe.compression)
        with (
            site.workplace.temporary(job) as folder,
            site.staging.granted(name, tag) as grant,
            site.workplace.logged_in(own, grant.login) as logged_in,
        ):
            cost = folder / "cost"
            runner = logged_in.extended({"TMPDIR": str(folder)})
            seconds = run_engine(
                site,
                f"{job} (delivery)",
                lambda: runner(*measured(cost, push), timeout=recipe.timeout).seconds,
            )
            metrics = attempted.metrics.with_delivery(seconds, read_cost(cost))
            return replace(attempted, metrics=metrics, delivered=grant.delivered)

    return site.retry(once)


def staged_image(site: Site, recipe: Recipe, attempted: Attempted, config: bytes = b"") -> Manifest:
    """Give the image that an engine delivered, checked and finished; raises BuildError.

    `config` is the one in the engine's storage, where the delivered one has lost a part.
    """
    job = recipe.job
    store = site.staging.staging.repository(repository_name(job.image))
    delivered = attempted.delivered
    if delivered is None:
        raise BuildError(f"{job}: the engine delivered nothing", hint="its log has its output")
    if not is_what_was_made(store, delivered, attempted.image_id, config):
        raise BuildError(
            f"{job}: {delivered.digest} was delivered, which is not what the engine made "
            f"({attempted.image_id[:12] or 'it says nothing'})",
            hint="something else wrote to staging during the build: look at its RUN steps",
        )
    manifest = finished(store, delivered, recipe, config)
    check_platform(store, manifest, job.platform, str(job))
    store.put_manifest(manifest, staged_tag(job))
    return manifest


def run_engine(
    site: Site,
    what: str,
    run: Callable[[], T],
    *,
    log: str = "its log",
    step: Callable[[], FailedStep | None] = lambda: None,
) -> T:
    """Run an engine; say for people why it failed, and whether trying again may help."""
    try:
        return run()
    except CommandError as error:
        if failed_by_cache(error) and not site.staging.staging.failure:
            raise CacheFailedError(last_words(error)) from error
        full = site.staging.staging.failure
        reason = explain(what, error, full, log=log, step=step())
        if full is None and is_transient(error):
            raise Transient(reason) from error
        raise reason from error


def metrics_of(site: Site, recipe: Recipe, cost: Cost, seconds: float) -> Metrics:
    """Give what a job cost, apart from what its output tells."""
    return Metrics(
        began=time.time() - seconds,
        seconds=seconds,
        cpu_seconds=cost.cpu_seconds,
        peak_memory=cost.peak_memory,
        context_bytes=site.contents.of(recipe.context, recipe.matcher, recipe.wanted).size,
    )
