"""One job on this machine: what its engine is given, its run, and what that made."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

from podbuild.build.cache.job import JobCache
from podbuild.build.cache.mounts import carried_mounts
from podbuild.build.cache.steps import StepImages
from podbuild.build.engine.argv import BuildOrder
from podbuild.build.engine.files import proxies_with_login
from podbuild.build.engine.namespace import confined_at_cost, ending_steps, without_network
from podbuild.build.inputs.contents import Extra
from podbuild.build.inputs.ignore import can_write, write_ignore
from podbuild.build.inputs.recipe import Recipe
from podbuild.build.inputs.selected import SelectedCopies
from podbuild.build.job import (
    Attempted,
    CacheFailedError,
    Site,
    metrics_of,
    read_cost,
    reported,
    run_engine,
)
from podbuild.build.model import Metrics, StepTime
from podbuild.build.output import Output
from podbuild.build.prepare import (
    BasesAtHand,
    Memory,
    Prepared,
    changed_contexts,
    content_of,
    prepare,
    selected_copies,
)
from podbuild.build.staging.area import repository_name, staged_tag
from podbuild.config.choices import Isolation, Pull
from podbuild.errors import BuildError
from podbuild.system.folders import project_id
from podbuild.system.process import Runner


def build(site: Site, recipe: Recipe, bases: Mapping[str, str], *, stored: bool) -> Attempted:
    """Build one image for one platform, to staging or (`stored`) into the engine's storage.

    `bases` map context names to image ids in the storage. Raises as `reported` does.
    """

    def attempt(output: Output) -> Attempted:
        try:
            return _Run(site, recipe, bases, output, stored=stored).once()
        except CacheFailedError as error:
            site.ui.warn(f"{recipe.job}: built again without the layer cache: {error}")
            others = {job: cache for job, cache in site.caches.items() if job != recipe.job}
            uncached = replace(site, caches=others)
            return _Run(uncached, recipe, bases, output, stored=stored, goes_on=False).once()

    with carried_mounts(site.workplace, recipe.job, site.caches.get(recipe.job), site.ui.warn):
        return reported(site, recipe, attempt)


class _Run:
    """One run of an engine."""

    def __init__(
        self,
        site: Site,
        recipe: Recipe,
        bases: Mapping[str, str],
        output: Output,
        *,
        stored: bool,
        goes_on: bool = True,
    ) -> None:
        self.site = site
        self.recipe = recipe
        self.bases = bases
        self.output = output
        self.stored = stored
        self.goes_on = goes_on and not site.no_cache
        self.selected: Mapping[int, SelectedCopies] = selected_copies(site.contents, recipe)

    @property
    def cache(self) -> JobCache | None:
        return None if self.recipe.without_network else self.site.caches.get(self.recipe.job)

    @cached_property
    def images(self) -> StepImages | None:
        """Give the images of this job's steps; None where their engine must do all of them.

        What a layer cache in a registry lacks is pushed there step by step.
        """
        site, recipe = self.site, self.recipe
        if not recipe.layers or recipe.uncached or (self.cache and self.cache.writes):
            return None
        project = project_id(site.workplace.setup.project)
        storage = site.workplace.storage(recipe.job.platform.slug)
        around = f"{recipe.network} {recipe.isolation}"
        return StepImages(storage, f"{project}-{recipe.job.slug}.json", around)

    @property
    def _was_made_otherwise(self) -> bool:
        return self.images is not None and self.images.were_made_otherwise

    def _image_of(self, key: str) -> str | None:
        return self.images.image(key) if self.images and self.goes_on else None

    def once(self) -> Attempted:
        site, recipe, job = self.site, self.recipe, self.recipe.job
        workplace, cache = site.workplace, self.cache
        self.output.begin()
        own = workplace.builder(job.platform.slug)
        with (
            workplace.temporary(job) as folder,
            site.staging.granted(
                repository_name(job.image), staged_tag(job), cache=cache.repository if cache else ""
            ) as grant,
            workplace.logged_in(own, grant.login) as logged_in,
            workplace.in_memory(job) if recipe.secrets else nullcontext(folder) as temporary,
        ):
            named = workplace.short_names.of(temporary) if recipe.ssh else temporary
            runner = logged_in.extended(
                {"TMPDIR": str(named), **site.secrets.environment(recipe.secrets)}
            )
            prepared = self._prepared(folder, temporary, runner)
            order = self._order(folder, prepared)
            if recipe.without_network:
                self._fetch_bases(logged_in)
                runner = without_network(runner)
            cost = folder / "cost"
            runner = confined_at_cost(runner.extended(prepared.environment), cost)
            if recipe.isolation is Isolation.CHROOT:
                runner = ending_steps(runner)
            seconds = self._run(runner, order, prepared)
            image_id = (folder / "iid").read_text().strip().removeprefix("sha256:")
            if self.images and prepared.given and not prepared.uncached:
                self.images.note(prepared.given, image_id, self.output.cached_images)
            metrics = self._metrics(prepared, metrics_of(site, recipe, read_cost(cost), seconds))
            return Attempted(image_id=image_id, metrics=metrics, delivered=grant.delivered)

    def _prepared(self, folder: Path, temporary: Path, runner: Runner) -> Prepared:
        site, workplace, job = self.site, self.site.workplace, self.recipe.job
        return prepare(
            self.recipe,
            site.secrets,
            folder,
            memory=Memory(
                folder=temporary, here=workplace.files.here(temporary), inside=workplace.inside
            ),
            bases=BasesAtHand(
                ids=self.bases,
                storage=workplace.storage(job.platform.slug),
                fetch=lambda image: run_engine(
                    site, str(job), partial(runner, *workplace.command.pull(image))
                ),
                content=content_of(site.contents, self.recipe),
                image_of=self._image_of if self.images else None,
            ),
            selected=self.selected,
        )

    def _order(self, folder: Path, prepared: Prepared) -> BuildOrder:
        site, recipe = self.site, self.recipe
        cache = None if prepared.uncached else self.cache
        views, contents = site.workplace.views, site.contents
        shown, left_out = self._shown()
        ignore = folder / "ignore"
        outputs = [each for each in recipe.matcher.outputs if can_write([each])]
        ignore.write_text(write_ignore(left_out, outputs), encoding="utf-8")
        place = repository_name(recipe.job.image), staged_tag(recipe.job)
        extras = {name: views.of(each, contents) for name, each in recipe.extras.items()}
        changed = changed_contexts(views, contents, recipe, self.selected)
        return BuildOrder(
            recipe=shown,
            ignorefile=ignore,
            bases={**self.bases, **(prepared.given.images if prepared.given else {})},
            folders={**extras, **changed, **prepared.folders},
            secrets={**site.secrets.options(recipe.secrets), **prepared.secrets},
            destination=None if self.stored else site.staging.reference(*place),
            iidfile=folder / "iid",
            no_cache=site.no_cache or prepared.uncached or self._was_made_otherwise,
            cache_from=cache.reference if cache and cache.reads else "",
            cache_to=cache.reference if cache and cache.writes else "",
            proxies=not proxies_with_login(site.workplace.setup.environment),
            containerfile=prepared.containerfile,
            target=prepared.target,
        )

    def _shown(self) -> tuple[Recipe, tuple[str, ...]]:
        """Give the recipe with the context that the engine is given, and names that it leaves out.

        Engines have matchers of their own: they get names where these are few, else a view, as for
        RUN --mount, which sees all that is there.
        """
        site, recipe = self.site, self.recipe
        sent = site.contents.sent(recipe.context, recipe.matcher, recipe.wanted)
        mounted = recipe.parsed.mounts_context(recipe.target, recipe.variables)
        mounted = mounted or any(each.mounted for each in recipe.wanted)  # by a base's ONBUILD
        if sent.names is not None and not mounted:
            return recipe, sent.names
        extra = Extra(recipe.context, recipe.patterns, recipe.wanted)
        return replace(recipe, context=site.workplace.views.view(extra, site.contents)), ()

    def _fetch_bases(self, runner: Runner) -> None:
        """Bring bases from outside to an engine that will have no network."""
        recipe, workplace = self.recipe, self.site.workplace
        storage = workplace.storage(recipe.job.platform.slug)
        for image in (*recipe.pins.values(), *recipe.unpinned):
            if storage.environment(image) is None and recipe.pull is not Pull.NEVER:
                pull = workplace.command.pull(image, recipe.job.platform)
                run_engine(self.site, str(recipe.job), partial(runner, *pull))

    def _run(self, runner: Runner, order: BuildOrder, prepared: Prepared) -> float:
        """Give the seconds it took."""
        recipe, output = self.recipe, self.output
        argv = self.site.workplace.command.build(order)
        if prepared.given and prepared.given.done:
            output.take(f"{len(prepared.given.done)} instructions: as an earlier build did them")
        try:
            return run_engine(
                self.site,
                str(recipe.job),
                lambda: runner(*argv, timeout=recipe.timeout, on_line=output.take).seconds,
                log=self.site.shown_log(recipe.job),
                step=lambda: prepared.step(recipe, output.last),
            )
        except BuildError as error:
            goes_on = prepared.given and prepared.given.cuts
            if goes_on and (output.last is None or output.last["word"] == "FROM"):
                raise CacheFailedError(error.message) from error
            raise

    def _metrics(self, prepared: Prepared, cost: Metrics) -> Metrics:
        output, cache = self.output, self.cache
        done = prepared.given.done if prepared.given else ()
        known = (
            StepTime(line=each.line, text=str(each), seconds=0.0, cached=True) for each in done
        )
        times = output.times(partial(prepared.instruction, self.recipe))
        found = replace(
            cost,
            steps=output.steps + len(done),
            cached_steps=output.cached + len(done),
            times=tuple(sorted((*known, *times), key=lambda each: each.line or sys.maxsize)),
        )
        if cache is None:
            return found
        cached = cache.cached
        return replace(found, pulled_steps=cached.pulled, pushed_steps=cached.pushed)
