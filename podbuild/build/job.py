"""One job: an engine process, its output, what it cost, and the image that it left in staging.

What building costs: time, memory and bytes of a job, measured around the engine's process.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from podbuild.build.cache.job import JobCache
from podbuild.build.cache.mounts import carried_mounts
from podbuild.build.engine.argv import BuildOrder
from podbuild.build.engine.failure import (
    FailedStep,
    explain,
    failed_by_cache,
    is_transient,
    last_words,
)
from podbuild.build.engine.files import proxies_with_login
from podbuild.build.engine.namespace import confined_at_cost, without_network
from podbuild.build.engine.programs import measure
from podbuild.build.engine.session import Workplace
from podbuild.build.finish import finished, is_what_was_made
from podbuild.build.image import check_platform
from podbuild.build.inputs.contents import Contents
from podbuild.build.inputs.ignore import write_ignore
from podbuild.build.inputs.recipe import Recipe
from podbuild.build.inputs.secrets import BuildSecrets
from podbuild.build.inputs.selected import SelectedCopies
from podbuild.build.inputs.views import Extra
from podbuild.build.model import Cost, Metrics
from podbuild.build.output import Output
from podbuild.build.prepare import (
    Memory,
    Prepared,
    changed_contexts,
    prepare,
    selected_copies,
)
from podbuild.build.staging.area import repository_name, staged_tag
from podbuild.build.staging.server import StagingRegistry
from podbuild.config.choices import Compression, Pull
from podbuild.errors import BuildError
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Tag
from podbuild.plan.model import Job
from podbuild.system.cancel import Cancel
from podbuild.system.console import Ui
from podbuild.system.console.text import duration
from podbuild.system.files import open_in_place
from podbuild.system.process import CommandError, Runner
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


class _CacheFailedError(Exception):
    """The engine gave up because of the layer cache, which it takes for a failed build."""


@dataclass(frozen=True, kw_only=True)
class Attempted:
    """What a successful build left: an image in the engine's storage, or `delivered` to staging.

    `image_id` is what the engine says it made.
    """

    image_id: str
    metrics: Metrics
    delivered: Manifest | None = None


def build(site: Site, recipe: Recipe, bases: Mapping[str, str], *, stored: bool) -> Attempted:
    """Build one image for one platform, to staging or (`stored`) into the engine's storage.

    `bases` map context names to image ids in the storage. Raises as `reported` does.
    """
    with carried_mounts(site.workplace, recipe.job, site.caches.get(recipe.job), site.ui.warn):
        return reported(
            site, recipe, lambda output: _attempt(site, recipe, bases, output, stored=stored)
        )


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


def _attempt(
    site: Site, recipe: Recipe, bases: Mapping[str, str], output: Output, *, stored: bool
) -> Attempted:
    try:
        return _try_once(site, recipe, bases, output, stored=stored)
    except _CacheFailedError as error:
        site.ui.warn(f"{recipe.job}: built again without the layer cache: {error}")
        others = {job: cache for job, cache in site.caches.items() if job != recipe.job}
        return _try_once(replace(site, caches=others), recipe, bases, output, stored=stored)


def _try_once(
    site: Site, recipe: Recipe, bases: Mapping[str, str], output: Output, *, stored: bool
) -> Attempted:
    job, workplace = recipe.job, site.workplace
    output.begin()
    own = workplace.builder(job.platform.slug)
    cache = None if recipe.without_network else site.caches.get(job)
    with (
        workplace.temporary(job) as folder,
        site.staging.granted(
            repository_name(job.image), staged_tag(job), cache=cache.repository if cache else ""
        ) as grant,
        workplace.logged_in(own, grant.login) as logged_in,
        workplace.in_memory(job) if recipe.secrets else nullcontext(folder) as temporary,
    ):
        ignore, iid, cost = folder / "ignore", folder / "iid", folder / "cost"
        shown, left_out = _shown(site, recipe)
        ignore.write_text(write_ignore(left_out), encoding="utf-8")
        named = workplace.short_names.of(temporary) if recipe.ssh else temporary
        runner = logged_in.extended(
            {"TMPDIR": str(named), **site.secrets.environment(recipe.secrets)}
        )
        memory = Memory(
            folder=temporary, here=workplace.files.here(temporary), inside=workplace.inside
        )
        selected = selected_copies(site.contents, recipe)
        prepared = _prepared(site, recipe, bases, folder, runner, memory, selected)
        order = BuildOrder(
            recipe=shown,
            ignorefile=ignore,
            bases=bases,
            folders={
                name: workplace.views.of(each, site.contents)
                for name, each in recipe.extras.items()
            }
            | changed_contexts(workplace.views, site.contents, recipe, selected)
            | dict(prepared.folders),
            secrets={**site.secrets.options(recipe.secrets), **prepared.secrets},
            destination=None
            if stored
            else site.staging.reference(repository_name(job.image), staged_tag(job)),
            iidfile=iid,
            no_cache=site.no_cache,
            cache_from=cache.reference if cache and cache.reads else "",
            cache_to=cache.reference if cache and cache.writes else "",
            proxies=not proxies_with_login(workplace.setup.environment),
            containerfile=prepared.containerfile,
            target=prepared.target,
        )
        if recipe.without_network:
            _fetch_bases(site, recipe, logged_in)
            runner = without_network(runner)
        runner = confined_at_cost(runner.extended(prepared.environment), cost)
        argv = workplace.command.build(order)
        seconds = run_engine(
            site,
            str(job),
            lambda: runner(*argv, timeout=recipe.timeout, on_line=output.take).seconds,
            log=site.shown_log(job),
            step=lambda: prepared.step(recipe, output.last),
        )
        image_id = iid.read_text().strip().removeprefix("sha256:")
        times = output.times(partial(prepared.instruction, recipe))
        metrics = replace(
            metrics_of(site, recipe, read_cost(cost), seconds),
            steps=output.steps,
            cached_steps=output.cached,
            times=times,
        )
        if cache:
            cached = cache.cached
            metrics = replace(metrics, pulled_steps=cached.pulled, pushed_steps=cached.pushed)
        return Attempted(image_id=image_id, metrics=metrics, delivered=grant.delivered)


def _shown(site: Site, recipe: Recipe) -> tuple[Recipe, tuple[str, ...]]:
    """Give the recipe with the context that the engine is given, and names that it leaves out.

    Engines have matchers of their own: they get names where these are few, else a view, as for
    RUN --mount, which sees all that is there.
    """
    sent = site.contents.sent(recipe.context, recipe.matcher, recipe.wanted)
    mounted = recipe.parsed.mounts_context(recipe.target, recipe.variables)
    mounted = mounted or any(each.mounted for each in recipe.wanted)  # by a base's ONBUILD
    if sent.names is not None and not mounted:
        return recipe, sent.names
    extra = Extra(recipe.context, recipe.patterns, recipe.wanted)
    return replace(recipe, context=site.workplace.views.view(extra, site.contents)), ()


def _fetch_bases(site: Site, recipe: Recipe, runner: Runner) -> None:
    """Bring bases from outside to an engine that will have no network."""
    workplace = site.workplace
    storage = workplace.storage(recipe.job.platform.slug)
    for image in (*recipe.pins.values(), *recipe.unpinned):
        if storage.environment(image) is None and recipe.pull is not Pull.NEVER:
            pull = workplace.command.pull(image, recipe.job.platform)
            run_engine(site, str(recipe.job), partial(runner, *pull))


def _prepared(
    site: Site,
    recipe: Recipe,
    bases: Mapping[str, str],
    folder: Path,
    runner: Runner,
    memory: Memory,
    selected: Mapping[int, SelectedCopies],
) -> Prepared:
    workplace = site.workplace
    return prepare(
        recipe,
        site.secrets,
        folder,
        memory=memory,
        bases=bases,
        storage=workplace.storage(recipe.job.platform.slug),
        fetch=lambda image: run_engine(
            site, str(recipe.job), partial(runner, *workplace.command.pull(image))
        ),
        selected=selected,
    )


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
            raise _CacheFailedError(last_words(error)) from error
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
