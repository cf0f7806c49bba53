"""`podbuild rollback`: what takes the moving tags back to the release before."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from podbuild.commands.relocate import (
    Relocation,
    Relocations,
    ask_each,
    by_image,
    plan_of,
    required_first,
)
from podbuild.config.template import Placeholders
from podbuild.errors import PodbuildError, VersionError
from podbuild.oci.names import Tag
from podbuild.oci.store import Store
from podbuild.plan.destination import Destination, remote_tag
from podbuild.plan.guards import HeldVersions, rollback_target
from podbuild.plan.model import Plan, PlannedImage, Request
from podbuild.plan.tags import NamedTag, Reader, TagKind, kind_of, owned_versions
from podbuild.semver import Version
from podbuild.workspace import Services


def rollbacks(services: Services, request: Request, version: Version | None) -> Relocations:
    """Give what `rollback` moves: each moving tag of a release, to the release before it.

    `version` is the release to leave; without it, the highest one that a moving tag names. Each
    tag goes to the highest stable version below, in its own range, that all required registries
    hold; where there is none it stays. Raises VersionError for a version that is nowhere.
    """
    plan = plan_of(services, request)
    moves: list[Relocation] = []
    seen: set[Version] = set()
    silent: dict[Destination, PodbuildError] = {}
    for image, destinations in by_image(services, plan):

        def ask(each: Destination, image: PlannedImage = image) -> _Released:
            tags = tuple(each.store.tags())
            versions = owned_versions(tags, image.readers, plan.readers_beside(image.name))
            return _Released(
                versions={version: tag for tag, version in versions.items()},
                moving=_moving(_readers(services, plan, image), each.store, tags, versions),
            )

        found, failed = ask_each(services, destinations, ask)
        silent |= failed
        seen.update(*(released.known for released in found.values()))
        moves.extend(_rollbacks_of(found, plan.yanked, version))
    if version is not None and version not in seen:
        newest = ", ".join(map(str, sorted(seen, reverse=True)[:3]))
        raise VersionError(
            f"{version} is on none of the registries",
            hint=f"the newest there: {newest}" if newest else "nothing is released yet",
        )
    return Relocations(moves=tuple(moves), silent=silent)


@dataclass(frozen=True, kw_only=True)
class _Released:
    """The versions at one destination, by their tags, and what its moving tags name."""

    versions: Mapping[Version, Tag]
    moving: Mapping[Tag, tuple[Reader, Version]]

    @property
    def known(self) -> frozenset[Version]:
        """Give every version that a tag is of, or names."""
        return frozenset(self.versions) | {version for _, version in self.moving.values()}


def _rollbacks_of(
    found: Mapping[Destination, _Released], yanked: frozenset[Version], version: Version | None
) -> Iterator[Relocation]:
    held = {each: released.versions for each, released in found.items()}
    published = HeldVersions(versions=_common(held), yanked=yanked)
    leaving = version or max(
        (present for released in found.values() for _, present in released.moving.values()),
        default=None,
    )
    for destination, released in found.items():
        for tag, (reader, present) in released.moving.items():
            within = reader.range(tag)
            if present != leaving or within is None:
                continue
            target = rollback_target(within, present, published)
            if target is not None:
                kind = NamedTag(tag=tag, kind=TagKind.MOVING, template=reader.template)
                yield _relocation(destination, kind, held, present, target)


def _relocation(
    destination: Destination,
    named: NamedTag,
    held: Mapping[Destination, Mapping[Version, Tag]],
    present: Version,
    target: Version,
) -> Relocation:
    """Take the destination's own image of that version, else the first required registry's."""
    holders = [each for each in required_first(held) if target in held[each]]
    holder = destination if destination in holders else holders[0]
    manifest = holder.store.manifest(held[holder][target])
    if manifest is None:
        raise VersionError(f"{holder.store.name} does not hold version {target} any more")
    head = destination.store.head(named.tag)
    return Relocation(
        destination=destination,
        named=named,
        manifest=manifest,
        source=holder.store,
        before=head.digest if head else None,
        reason=f"{present} -> {target}",
    )


def _common(held: Mapping[Destination, Mapping[Version, Tag]]) -> frozenset[Version]:
    """Give the versions that all required registries hold (all, where none is required)."""
    counted = [versions for each, versions in held.items() if each.required] or [*held.values()]
    return frozenset.intersection(*(frozenset(versions) for versions in counted))


def _readers(services: Services, plan: Plan, image: PlannedImage) -> tuple[Reader, ...]:
    """Give what reads the tags back that move from release to release."""
    config = services.config
    values = Placeholders(
        project=plan.project, image=image.name, env=config.env, scheme=config.project.scheme
    )
    templates = config.tags_of(image.image).release
    return tuple(Reader(each, values) for each in templates if kind_of(each) is TagKind.MOVING)


def _moving(
    readers: tuple[Reader, ...], store: Store, tags: tuple[Tag, ...], versions: Collection[Tag]
) -> Mapping[Tag, tuple[Reader, Version]]:
    """Give the moving tags of releases that exist, and the version that each names."""
    found: dict[Tag, tuple[Reader, Version]] = {}
    for tag in tags:
        reader = next((each for each in readers if each.range(tag) is not None), None)
        if reader is None or tag in found or tag in versions:
            continue
        remote = remote_tag(store, tag)
        if remote is not None and remote.version is not None:
            found[tag] = (reader, remote.version)
    return found
