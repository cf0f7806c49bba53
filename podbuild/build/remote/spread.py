"""Build jobs wherever there is a place: each is delivered to staging before others build on it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from podbuild.build.bring import bring
from podbuild.build.inputs.across import name_across
from podbuild.build.inputs.recipe import Recipe
from podbuild.build.job import Attempted, Site, deliver, push_to, staged_image
from podbuild.build.local import build
from podbuild.build.model import Metrics
from podbuild.build.remote.builder import RemoteBuilder
from podbuild.build.remote.job import RawImage, Remotely, raw_tag
from podbuild.build.remote.places import BuildPlaces
from podbuild.build.remote.ssh import LostBuilderError, UnfitBuilderError
from podbuild.build.staging.area import repository_name
from podbuild.config.choices import Compression
from podbuild.errors import PodbuildError, VerificationError
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest
from podbuild.oci.store import read_blob
from podbuild.plan.model import Job
from podbuild.system.files import write_atomically

_ATTEMPTS = 3  # of a job whose builders get lost


@dataclass(kw_only=True)
class Spread:
    """Does the jobs of one `build_all`. `image` gives what is staged of a job that is done.

    `bases` are the jobs that others build on.
    """

    site: Site
    places: BuildPlaces
    recipes: Mapping[Job, Recipe]
    bases: frozenset[Job]
    image: Callable[[Job], Manifest]
    first: Callable[[Job], float]
    _carried: dict[Job, RawImage] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def build(self, job: Job) -> tuple[Manifest, Metrics]:
        """Build a job and give its staged image; raises as `build` does, and LostBuilderError."""
        recipe, lost = self.recipes[job], list[str]()
        while True:
            with self.places.taken(recipe, without=lost, first=self.first(job)) as place:
                if place.builder is None:
                    if why := self.places.only_here(recipe):
                        self.site.ui.info(f"{job} is built here: {why}")
                    return self._here(recipe)
                try:
                    return self._there(recipe, place.builder)
                except (LostBuilderError, UnfitBuilderError) as error:
                    self.site.cancel.check()
                    lost.append(place.name)
                    if len(lost) >= _ATTEMPTS:
                        raise _lost(job, error) from error
                    self.site.ui.warn(f"{job}: {error.message}; built again")

    def _here(self, recipe: Recipe) -> tuple[Manifest, Metrics]:
        job = recipe.job
        bases = {
            name: bring(self.site, recipe, base, self._carry(base).manifest)
            for name, base in recipe.inner.here.items()
        }
        for stage, base in recipe.inner.across.items():
            bases[name_across(stage)] = bring(self.site, recipe, base, self.image(base))
        attempted = build(self.site, recipe, bases, stored=True)
        with self._lock:
            self._carried.pop(job, None)
        return deliver(self.site, recipe, attempted)

    def _there(self, recipe: Recipe, builder: RemoteBuilder) -> tuple[Manifest, Metrics]:
        job, supplies = recipe.job, self.places.supplies
        assert supplies is not None  # noqa: S101  # the session gives them
        bases = {name: (base, self._carry(base)) for name, base in recipe.inner.here.items()}
        for stage, base in recipe.inner.across.items():
            bases[name_across(stage)] = (base, _as_carried(self.image(base)))
        attempted, carried = Remotely(
            site=self.site,
            builder=builder,
            supplies=supplies,
            recipe=recipe,
            bases=bases,
            is_base=job in self.bases,
        ).build()
        image = staged_image(self.site, recipe, attempted, self._config(recipe, carried))
        if carried is not None and image.config is not None:
            self._remember(job, image, carried)
        return image, attempted.metrics

    def _config(self, recipe: Recipe, carried: RawImage | None) -> bytes:
        """Give the config as it was made, where the delivered one has lost a part of it."""
        if recipe.compression is not Compression.ZSTD or carried is None:
            return b""
        config = carried.manifest.config
        assert config is not None  # noqa: S101  # it is an image's
        store = self.site.staging.staging.repository(repository_name(recipe.job.image))
        return read_blob(store, config)

    def _carry(self, base: Job) -> RawImage:
        """Give an image as an engine made it, in staging, from wherever it is."""
        with self._lock:
            if base not in self._carried:
                self._carried[base] = self._found(base)
            return self._carried[base]

    def _found(self, base: Job) -> RawImage:
        image = self.image(base)
        found = carried_before(self.site, base, image)
        if found is not None:
            return found
        config = image.config
        storage = self.site.workplace.storage(base.platform.slug)
        here = storage.image(config.digest) if config else None
        if here is None:  # `_holding` has looked
            raise VerificationError(f"{base} is in no storage", hint="run the same command again")
        recipe = replace(self.recipes[base], compression=Compression.GZIP)
        attempted = push_to(
            self.site, recipe, Attempted(image_id=here, metrics=Metrics()), raw_tag(base)
        )
        assert attempted.delivered is not None  # noqa: S101  # the push has ended well
        return RawImage(image_id=here, manifest=attempted.delivered)

    def _remember(self, job: Job, image: Manifest, carried: RawImage) -> None:
        with self._lock:
            self._carried[job] = carried
        path = _record(self.site, image)
        write_atomically(path, f"{carried.image_id} {carried.manifest.digest}".encode())


def carried_before(site: Site, job: Job, image: Manifest) -> RawImage | None:
    """Give the image as a builder made it in an earlier run, if staging has it whole."""
    try:
        image_id, digest = _record(site, image).read_text().split()
        store = site.staging.staging.repository(repository_name(job.image))
        manifest = store.manifest(Digest(digest))
    except (OSError, ValueError, PodbuildError):
        return None
    if manifest is None or not all(map(store.has_blob, manifest.blobs)):
        return None
    return RawImage(image_id=image_id, manifest=manifest)


def _record(site: Site, image: Manifest) -> Path:
    config = image.config.digest.hex if image.config else "none"
    return site.workplace.setup.folders.cache / "carried" / config


def _as_carried(image: Manifest) -> RawImage:
    return RawImage(image_id=image.config.digest.hex if image.config else "", manifest=image)


def _lost(job: Job, error: PodbuildError) -> LostBuilderError:
    return LostBuilderError(
        f"{job}: {error.message}",
        hint=error.hint or "the same command continues; --no-builders builds here",
        details=error.details,
    )
