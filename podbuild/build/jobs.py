"""Build every image for every platform, each with an engine process of its own, into staging.

How long jobs took before is remembered, so that the longest way through the graph starts first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from podbuild.build.bring import bring
from podbuild.build.image import layer_bytes
from podbuild.build.inputs.across import name_across
from podbuild.build.inputs.recipe import Recipe
from podbuild.build.job import Attempted, Site, deliver, staged_image
from podbuild.build.local import build
from podbuild.build.model import Built, BuiltImage, Known, Metrics
from podbuild.build.remote import spread
from podbuild.build.staging.area import repository_name
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.config.choices import Compression
from podbuild.errors import PodbuildError
from podbuild.oci.manifest import Manifest
from podbuild.plan.model import Job
from podbuild.system.parallel import run_all
from podbuild.system.records import JSONValue, Records

if TYPE_CHECKING:
    from podbuild.build.remote.places import BuildPlaces


@dataclass(frozen=True, kw_only=True)
class Work:
    """What `build_all` is asked to do.

    `known` gives an earlier result that still holds; `remember` hears of each image as soon as
    it is staged. `duration` gives a job's likely seconds: the longest starts first.
    """

    recipes: Mapping[Job, Recipe]
    site: Site
    workers: int
    fail_fast: bool = False
    known: Callable[[Job], Known | None] = lambda _job: None
    remember: Callable[[BuiltImage], None] = lambda _image: None
    duration: Callable[[Job], float] = lambda _job: 0.0
    places: BuildPlaces | None = None  # None: this machine builds everything


class _Phase(Enum):
    BUILD = "build"
    DELIVER = "deliver"


_Task = tuple[Job, _Phase]


def build_all(work: Work) -> Built:
    """Build what is not known yet; images that others build on come first.

    A failure keeps what depends on it from being built, the others go on; `Built.check` raises
    it: BuildError, DeadlineError. Raises what Cancel.check raises after a stop.
    """
    work.site.logs.mkdir(parents=True, exist_ok=True)
    known = _holding(work)
    builder = _Builder(work, known)
    outcome = run_all(
        builder.needs,
        builder.do,
        workers=work.workers if work.places is None else work.places.workers,
        first=lambda task: (task[1] is _Phase.DELIVER) * 1e9 + work.duration(task[0]),
        # Platforms share layers; what one has delivered, the next need not compress again.
        apart=lambda task: task[0].image if task[1] is _Phase.DELIVER else None,
        go_on=lambda: not (work.fail_fast and builder.has_failed),
    )
    work.site.workplace.setup.runner.cancel.check()
    failed = {task[0]: _ours(error) for task, error in outcome.failed.items()}
    return Built(
        images=builder.images,
        failed=failed,
        skipped=frozenset(work.recipes) - builder.images.keys() - failed.keys(),
    )


def _holding(work: Work) -> Mapping[Job, Known]:
    """Give the jobs whose earlier result holds.

    A base must also be in the engine's storage when something is built on it, and whole in
    staging when that is for another platform; else it is built again, which gives the same bytes.
    """
    known = {job: found for job in work.recipes if (found := work.known(job))}
    while True:
        here, across = _bases(work, known), _across(work, known)
        again = {
            job
            for job, found in known.items()
            if (job in here and not _is_stored(work, job, found))
            or (job in across and not _is_whole(work, job, found))
        }
        if not again:
            return known
        known = {job: found for job, found in known.items() if job not in again}


def _bases(work: Work, known: Mapping[Job, Known]) -> frozenset[Job]:
    """Give the jobs that others, which are to be built, build on."""
    return frozenset(
        base
        for job, recipe in work.recipes.items()
        if job not in known
        for base in recipe.inner.here.values()
    )


def _across(work: Work, known: Mapping[Job, Known]) -> frozenset[Job]:
    """Give the jobs that others, which are to be built for another platform, build on."""
    todo = (recipe for job, recipe in work.recipes.items() if job not in known)
    return frozenset(base for recipe in todo for base in recipe.inner.across.values())


def _is_whole(work: Work, job: Job, found: Known) -> bool:
    store = work.site.staging.staging.repository(repository_name(job.image))
    return all(map(store.has_blob, found.manifest.blobs))


def _is_stored(work: Work, job: Job, found: Known) -> bool:
    if _image_id(work, job, found):
        return True
    if work.places is None:
        return False
    return spread.carried_before(work.site, job, found.manifest) is not None


def _spread(
    work: Work,
    recipes: Mapping[Job, Recipe],
    bases: frozenset[Job],
    images: Mapping[Job, BuiltImage],
) -> spread.Spread | None:
    """Give what builds where there is a place; None where that is always this machine."""
    if work.places is None:
        return None
    return spread.Spread(
        site=work.site,
        places=work.places,
        recipes=recipes,
        bases=bases,
        image=lambda job: images[job].manifest,
        first=work.duration,
    )


def _image_id(work: Work, job: Job, found: Known) -> str:
    """Give the image in the engine's storage that became a known one; empty where none is."""
    config = found.manifest.config
    storage = work.site.workplace.storage(job.platform.slug)
    return (storage.image(config.digest) if config else None) or ""


def _with_labels(recipes: Mapping[Job, Recipe], job: Job) -> Recipe:
    """Add the labels that the image's base of this project has by the configuration.

    They are written when an image leaves the engine, which builds on it without them.
    """
    recipe = recipes[job]
    base = recipe.final_base
    if base is None or base not in recipes:
        return recipe
    written = recipe.parsed.label_keys(recipe.target, recipe.variables)
    below = _with_labels(recipes, base).labels
    kept = {key: value for key, value in below.items() if key not in written}
    return replace(recipe, labels={**kept, **recipe.labels})


def _ours(error: Exception) -> PodbuildError:
    if isinstance(error, PodbuildError):
        return error
    raise error


class _Builder:
    """Does the tasks of one `build_all`."""

    def __init__(self, work: Work, known: Mapping[Job, Known]) -> None:
        self.images = {
            job: BuiltImage(
                job=job, manifest=found.manifest, reason=found.reason, made_here=found.made_here
            )
            for job, found in known.items()
        }
        self.has_failed = False
        self._work = work
        self._bases = _bases(work, known)
        self._recipes = {job: _with_labels(work.recipes, job) for job in work.recipes}
        self._ids = {job: _image_id(work, job, known[job]) for job in self._bases if job in known}
        self._attempted: dict[Job, Attempted] = {}
        self._spread = _spread(work, self._recipes, self._bases, self.images)
        self.needs = {
            task: needs
            for job in work.recipes
            if job not in known
            for task, needs in self._tasks(job)
        }

    def do(self, task: _Task) -> None:
        """Do one task."""
        job, phase = task
        done = False
        try:
            if phase is _Phase.DELIVER:
                self._deliver(job)
            else:
                self._build(job)
            done = True
        finally:
            self.has_failed |= not done

    def _tasks(self, job: Job) -> Iterator[tuple[_Task, tuple[_Task, ...]]]:
        recipe = self._work.recipes[job]
        inner = recipe.inner.here.values()
        if self._spread is not None:  # all of a base is staged before others build on it
            needed = [base for base in recipe.inner.jobs if base not in self.images]
            yield (job, _Phase.BUILD), tuple((base, _Phase.BUILD) for base in needed)
            return
        waits = [(base, _Phase.BUILD) for base in inner if base not in self.images]
        for base in recipe.inner.across.values():  # which staging must have whole
            if base not in self.images:
                last = _Phase.DELIVER if self._is_stored(base) else _Phase.BUILD
                waits.append((base, last))
        yield (job, _Phase.BUILD), tuple(waits)
        if self._is_stored(job):
            shared = tuple((base, _Phase.DELIVER) for base in inner if base not in self.images)
            yield (job, _Phase.DELIVER), ((job, _Phase.BUILD), *shared)

    def _is_stored(self, job: Job) -> bool:
        """Tell whether an image goes through the engine's storage.

        What others build on is needed there; a direct commit knows no zstd. With `layers` nearly
        all of an image lies there anyway: a direct commit would read and hash every layer again,
        those of its base too, where a push skips what staging has. And buildah (1.43) fails to
        commit directly what its storage holds whole: it copies that without its own
        --registries-conf (tagExistingImage in imagebuildah/stage_executor.go), so by https.
        """
        recipe = self._work.recipes[job]
        whole = recipe.layers or recipe.parsed.adds_nothing(recipe.target)
        whole = whole or recipe.without_network  # from where staging is out of reach
        return job in self._bases or whole or recipe.compression is Compression.ZSTD

    def _build(self, job: Job) -> None:
        recipe = self._recipes[job]
        if self._spread is not None:
            self._finish(job, *self._spread.build(job))
            return
        bases = {name: self._ids[base] for name, base in recipe.inner.here.items()}
        for stage, base in recipe.inner.across.items():
            found = self.images[base].manifest
            bases[name_across(stage)] = bring(self._work.site, recipe, base, found)
        stored = self._is_stored(job)
        attempted = build(self._work.site, recipe, bases, stored=stored)
        self._attempted[job] = attempted
        if stored:  # and delivered by a task of its own: what waits for this one need not wait
            self._ids[job] = attempted.image_id
        else:
            self._finish(job, staged_image(self._work.site, recipe, attempted), attempted.metrics)

    def _deliver(self, job: Job) -> None:
        recipe, attempted = self._recipes[job], self._attempted[job]
        self._finish(job, *deliver(self._work.site, recipe, attempted))

    def _finish(self, job: Job, manifest: Manifest, metrics: Metrics) -> None:
        metrics = replace(metrics, layer_bytes=layer_bytes(manifest))
        self.images[job] = BuiltImage(job=job, manifest=manifest, metrics=metrics)
        self._work.remember(self.images[job])


_NAME = "durations.json"
# Where nothing is known, as in most CI: seconds of an instruction, for the order alone. Engines
# start a process ten times for a RUN, seven for a COPY and once for most others.
_START, _RUN, _COPY, _OTHER = 1.0, 0.5, 0.35, 0.05
_GUESSES = {"RUN": _RUN, "COPY": _COPY, "ADD": _COPY}
_FOREIGN = 2.0  # times as long as for this machine's architecture


def likely_seconds(recipe: Recipe) -> float:
    """Guess what a build takes from how many instructions its target needs."""
    stages = recipe.parsed.needed(recipe.target, recipe.variables)
    words = (each.word for stage in stages for each in stage.instructions)
    native = _START + sum(_GUESSES.get(word, _OTHER) for word in words)
    return (
        native if recipe.job.platform.architecture == native_architecture() else native * _FOREIGN
    )


def priorities(
    needs: Mapping[Job, Collection[Job]], records: Records, guess: Callable[[Job], float]
) -> Mapping[Job, float]:
    """Give each job's seconds with the longest chain of those that build on it.

    `needs` has what others build on first; `guess` is asked about what was never built here.
    """
    known = records.read(_NAME)
    after = dict.fromkeys(needs, 0.0)
    found: dict[Job, float] = {}
    for job, bases in reversed(tuple(needs.items())):
        seconds = known.get(str(job))
        took = float(seconds) if isinstance(seconds, int | float) else guess(job)
        found[job] = took + after[job]
        for base in bases:
            after[base] = max(after.get(base, 0.0), found[job])
    return found


def remember(took: Mapping[Job, float], records: Records) -> None:
    """Keep how many seconds jobs took that were built now."""
    if took:
        new: dict[str, JSONValue] = {str(job): round(took[job], 2) for job in took}
        records.write(_NAME, {**records.read(_NAME), **new})
