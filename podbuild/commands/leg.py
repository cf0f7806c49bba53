"""A leg of a fan-out: what it pushes, and what it leaves for the join."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from podbuild.build.cache.open import open_cache_store
from podbuild.build.engines import Engines
from podbuild.build.model import Staged
from podbuild.build.parcel import pack, place_text, put_parcel
from podbuild.errors import ConfigError
from podbuild.oci.layout import LayoutStore
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest, Reference, Tag
from podbuild.plan.destination import Destination, Planned, everywhere
from podbuild.plan.model import Job, Plan
from podbuild.system.cancel import Cancel
from podbuild.system.console.text import size
from podbuild.workspace import Services


def check_hand_over(
    services: Services, planned: Planned, place: Reference | None, *, thin: bool
) -> None:
    """Refuse, before anything is built, a hand-over that no join could use.

    Raises ConfigError, CredentialError, PublishError.
    """
    stores = [each.store for each in planned.destinations]
    if (thin or place) and all(isinstance(each, LayoutStore) for each in stores):
        raise ConfigError(
            "the registries are folders of this machine, where a join does not find the layers",
            hint="hand over the whole dist folder: without --push and --thin",
        )
    if place is None:
        return
    if isinstance(place.target, Digest):
        raise ConfigError(
            f"{place_text(place)}: a hand-over gets a tag", hint="write it as oci:REPO:TAG"
        )
    open_cache_store(services.config, services.opener.registries, place.repository).check_push()


def pushed_parts(plan: Plan, staged: Staged) -> tuple[tuple[str, Manifest], ...]:
    """Give what a leg publishes by digest: the image of each platform."""
    return tuple(
        (job.image, each.manifest)
        for job, each in staged.images.items()
        if plan.image(job.image).published
    )


def child_tag(digest: Digest) -> Tag:
    """Give the tag that keeps a platform's image until its index names it.

    It is no version by any template, and always the same for the same image.

    >>> str(child_tag(Digest("sha256:" + "ab" * 32)))
    'leg-abababababab'
    """
    return Tag(f"leg-{digest.hex[:12]}")


def tag_children(
    at: Iterable[Destination],
    parts: Iterable[tuple[str, Manifest]],
    warn: Callable[[str], None],
    cancel: Cancel,
) -> None:
    """Name each platform's image where it is: some registries soon delete what has no name.

    Raises what required registries raise.
    """
    named = tuple(parts)

    def put(destination: Destination) -> None:
        for image, manifest in named:
            if image == destination.image:
                destination.store.put_manifest(manifest, child_tag(manifest.digest))

    for destination, error in everywhere(at, put, cancel).failed.items():
        warn(f"{destination} has no names for the platforms: {error.message}")


def hand_over_parts(engines: Engines, planned: Planned, place: Reference | None) -> None:
    """Leave what was asked for where the join looks for it; raises as the registry does."""
    if place is None or not isinstance(place.target, Tag):
        return
    services = engines.services
    data = pack(engines.journal, engines.staging, handed_jobs(planned.plan))
    store = open_cache_store(services.config, services.opener.registries, place.repository)
    put_parcel(store, place.target, data)
    services.ui.info(f"handed over: {place_text(place)}, {size(len(data))}")


def handed_jobs(plan: Plan) -> Iterator[Job]:
    """Give the jobs that a leg hands over: not those that others only build on."""
    wanted = plan.request.images
    for job in plan.jobs:
        if plan.image(job.image).published and (not wanted or job.image in wanted):
            yield job
