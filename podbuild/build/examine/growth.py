"""How much images have grown since the version before; manifests alone say it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from podbuild.build.image import layer_bytes
from podbuild.build.inputs.lint import Finding, Level
from podbuild.build.model import SizeChange
from podbuild.build.staging.area import Staging, repository_name
from podbuild.config.trials import GROWTH_FLOOR, OverBudget
from podbuild.errors import PodbuildError
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Platform, RegistryKind
from podbuild.plan.destination import Destination, Planned
from podbuild.plan.model import Job, PlannedImage, by_image

GROWTH_RULE = "budget-growth"
_AT_ONCE = 8  # images


@dataclass(frozen=True, kw_only=True)
class Before:
    """What the version before holds: its tag, and the image of each platform."""

    since: str
    images: Mapping[Platform, Manifest] = field(hash=False)


def sizes_before(
    planned: Planned, staging: Staging, warn: Callable[[str], None]
) -> Mapping[str, Before]:
    """Give what each published image is compared with; what can't be read is left out and said.

    On Docker Hub each look is a pull: it is asked only for a budget that needs it, and only where
    no other registry has the image. A manifest is read once and kept by its digest.
    """
    mine = by_image(each for each in planned.destinations if each.key in planned.before)

    targets = planned.plan.targets
    hub = {each.key for each in targets if each.registry.kind is RegistryKind.DOCKERHUB}

    def read(image: PlannedImage) -> Before | None:
        found = _destination(image, mine.get(image.name, ()), hub)
        if found is None:
            return None
        try:
            return _read(image, found, planned, staging)
        except PodbuildError as error:
            if error.is_stop:
                raise
            warn(f"{image.name}: its growth is not known: {error.message}")
            return None

    images = [each for each in planned.plan.images if each.published]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="growth") as pool:
        before = [*pool.map(read, images)]
    return {image.name: each for image, each in zip(images, before, strict=True) if each}


def _destination(
    image: PlannedImage, mine: Iterable[Destination], hub: Collection[str]
) -> Destination | None:
    """Give where to look; `hub` are the keys of what is on Docker Hub."""
    first = min(mine, key=lambda each: (each.key in hub, not each.required), default=None)
    if first is None:
        return None
    is_free = first.key not in hub
    return first if is_free or image.image.budget.growth is not None else None


def _read(
    image: PlannedImage, where: Destination, planned: Planned, staging: Staging
) -> Before | None:
    kept = staging.repository(repository_name(image.name))
    tag = planned.before[where.key]
    known = planned.standing.compared.get(where.key)
    top = (where.store.manifest(known) if known else None) or where.store.manifest(tag)
    if top is None:
        return None
    if not top.is_index:
        alone = image.image.platforms
        return Before(since=tag.text, images={alone[0]: top}) if len(alone) == 1 else None
    found = {}
    for child in top.children:
        if child.platform is not None and child.platform in image.platforms:
            manifest = kept.manifest(child.digest) or where.store.manifest(child.digest)
            if manifest is not None:
                kept.put_manifest(manifest)
                found[child.platform] = manifest
    return Before(since=tag.text, images=found)


def size_changes(
    before: Mapping[str, Before], images: Mapping[Job, Manifest]
) -> Mapping[Job, SizeChange]:
    """Give how each image's size has changed, and what a user of the version before downloads."""
    found = {}
    for job, manifest in sorted(images.items(), key=lambda each: each[0]):
        old = before[job.image].images.get(job.platform) if job.image in before else None
        if old is not None:
            had = {layer.digest for layer in old.layers}
            new = {layer.digest: layer.size for layer in manifest.layers if layer.digest not in had}
            found[job] = SizeChange(
                since=before[job.image].since,
                before=layer_bytes(old),
                now=layer_bytes(manifest),
                update=sum(new.values()),
            )
    return found


def grown_too_much(
    planned: Planned,
    changes: Mapping[Job, SizeChange],
    place: Callable[[str, str], tuple[str, int]],
) -> Iterator[Finding]:
    """Give a finding for each image that grew by more than its budget; `place` says where it is.

    One that is let pass (--allow-growth) is a warning, so that the report has it.
    """
    for job, change in changes.items():
        budget = planned.plan.image(job.image).image.budget
        if budget.growth is None:
            continue
        grown = change.now - change.before
        floor = GROWTH_FLOOR if budget.growth_floor is None else budget.growth_floor
        if grown <= max(floor, budget.growth.bytes(change.before)):
            continue
        allowed = planned.plan.request.growth
        mild = allowed or budget.on is OverBudget.WARN
        file, line = place(job.image, "growth")
        yield Finding(
            level=Level.WARNING if mild else Level.ERROR,
            file=file,
            line=line,
            message=f"{change}, and its budget is {budget.growth}"
            + (": let pass by --allow-growth" if allowed else ""),
            hint=f"`podbuild diff {change.since}` says what grew; --allow-growth lets it pass once",
            rule=GROWTH_RULE,
            image=job.image,
            platforms=(job.platform,),
        )
