"""Bring a base for another platform to where a job builds: each platform has its own storage."""

from __future__ import annotations

from podbuild.build.inputs.recipe import Recipe
from podbuild.build.job import Site, run_engine
from podbuild.build.staging.area import repository_name, staged_tag
from podbuild.errors import BuildError
from podbuild.oci.manifest import Manifest
from podbuild.plan.model import Job


def bring(site: Site, recipe: Recipe, base: Job, image: Manifest) -> str:
    """Bring a base for another platform from staging to the job's storage; give its id there.

    Raises as `build` does, and BuildError for what is no image.
    """
    job, name = recipe.job, repository_name(base.image)
    if image.config is None:
        raise BuildError(f"{job}: {base} is no image")
    storage = site.workplace.storage(job.platform.slug)
    if storage.holds(image.config.digest.hex):
        return image.config.digest.hex
    pull = site.workplace.command.pull(site.staging.reference(name, image.digest))

    def once() -> object:
        own = site.workplace.carrier(job.platform.slug)
        with (
            site.staging.granted(name, staged_tag(base), reads=True) as grant,
            site.workplace.logged_in(own, grant.login) as runner,
        ):
            return run_engine(
                site, f"{job} (its base {base})", lambda: runner(*pull, timeout=recipe.timeout)
            )

    site.retry(once)
    return image.config.digest.hex
