"""Move tags without building: `promote` to a chosen image, `rollback` to the previous release.

Both make a list of relocations first, which is shown; nothing moves before every registry holds
every image. Only these two may take a tag back to an older release.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from podbuild.errors import ImmutableTagError, VersionError
from podbuild.journal import Binding, Journal
from podbuild.model import Digest, Manifest, Tag
from podbuild.plan import Plan, PlannedImage, Request
from podbuild.plan.make import plan_places
from podbuild.services import Services
from podbuild.steps import Destination
from podbuild.steps.publish import Publisher
from podbuild.steps.remote import remote_tag
from podbuild.steps.tag import Moved, Order, Ruling, TagMover, Verdict
from podbuild.store import Store
from podbuild.tags import (
    NamedTag,
    Published,
    Reader,
    TagKind,
    kind_of,
    owned_versions,
    rollback_target,
)
from podbuild.template import Placeholders, Template
from podbuild.versions import Version


@dataclass(frozen=True, kw_only=True)
class Relocation:
    """One tag at one destination that shall name another image, and where its bytes are."""

    destination: Destination
    named: NamedTag
    manifest: Manifest = field(repr=False)
    source: Store = field(repr=False, compare=False)
    before: Digest | None
    reason: str

    @property
    def changes(self) -> bool:
        """Tell whether the tag names something else now."""
        return self.before != self.manifest.digest

    def __str__(self) -> str:
        was = self.before.short if self.before else "nothing"
        reference = self.destination.store.reference(self.named.tag)
        return f"{reference}: {was} -> {self.manifest.digest.short} ({self.reason})"


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Which images and registries; empty means all."""

    images: tuple[str, ...] = ()
    registries: tuple[str, ...] = ()


def plan_of(services: Services, scope: Scope) -> Plan:
    """Give the plan of all published images, without version, commit or decisions."""
    request = Request(images=scope.images, registries=scope.registries)
    return plan_places(services.config, request)


def promotions(
    services: Services, scope: Scope, origin: Tag, target: Tag
) -> tuple[Relocation, ...]:
    """Give what `promote ORIGIN TARGET` moves: on every registry, the image that ORIGIN names.

    Where registries disagree about ORIGIN, the first required one in the configuration counts.
    Raises VersionError when no registry has it, ImmutableTagError when TARGET is a version tag
    that names something else.
    """
    plan = plan_of(services, scope)
    found = []
    for image, destinations in _by_image(services, plan):
        source, manifest = _origin(destinations, origin)
        immutable = any(reader.version(target) for reader in image.readers)
        named = NamedTag(
            tag=target,
            kind=TagKind.VERSION if immutable else TagKind.MOVING,
            template=Template(target.text),
        )
        for destination in destinations:
            head = destination.store.head(target)
            if immutable and head is not None and head.digest != manifest.digest:
                raise ImmutableTagError(
                    f"{destination.store.reference(target)} names {head.digest} already",
                    hint="a version tag is never moved; promote to another tag",
                )
            found.append(
                Relocation(
                    destination=destination,
                    named=named,
                    manifest=manifest,
                    source=source,
                    before=head.digest if head else None,
                    reason=f"what {origin} names",
                )
            )
    return tuple(found)


def rollbacks(services: Services, scope: Scope, version: Version | None) -> tuple[Relocation, ...]:
    """Give what `rollback` moves: each moving tag of a release, to the release before it.

    `version` is the release to leave; without it, the highest one that a moving tag names. Each
    tag goes to the highest stable version below, in its own range, that all required registries
    hold; where there is none it stays.
    """
    plan = plan_of(services, scope)
    found: list[Relocation] = []
    for image, destinations in _by_image(services, plan):
        found.extend(_rollbacks_of(services, plan, image, destinations, version))
    return tuple(found)


def carry_out(services: Services, relocations: Iterable[Relocation], command: str) -> Moved:
    """Copy what is missing, then move the tags; raises as a release does."""
    every = tuple(found for found in relocations if found.changes)
    journal = Journal(
        services.config.output / "relocation.json",
        Binding(release=command, commit="", configuration="", toolchain=""),
        {},
    )
    _copy(services, every, journal)
    mover = TagMover(
        guard=_AsAsked(),
        journal=journal,
        retry=services.retry,
        cancel=services.cancel,
        command=command,
        note=services.ui.note,
    )
    moved = mover.move(
        Order(destination=each.destination, named=each.named, manifest=each.manifest)
        for each in every
    )
    journal.path.unlink(missing_ok=True)
    return moved


class _AsAsked:
    """The guard of a move that a person has seen and confirmed."""

    def refresh(self) -> None:
        """Need nothing."""

    def rule(self, order: Order, current: Manifest | None) -> Ruling:
        """Allow every move but that of a version tag that came to exist meanwhile."""
        if order.kind is TagKind.VERSION and current is not None:
            return Ruling(verdict=Verdict.REFUSE, reason=f"names {current.digest} meanwhile")
        return Ruling(verdict=Verdict.MOVE, reason="as asked")


def _copy(services: Services, relocations: tuple[Relocation, ...], journal: Journal) -> None:
    """Have every destination hold the image, by digest, before any tag moves."""
    groups: dict[tuple[Digest, str], list[Relocation]] = {}
    for each in relocations:
        groups.setdefault((each.manifest.digest, each.destination.image), []).append(each)
    for group in groups.values():
        first = group[0]
        image, source = first.destination.image, first.source
        publisher = Publisher(
            destinations=tuple(dict.fromkeys(each.destination for each in group)),
            source=lambda _image, store=source: store,  # type: ignore[misc]
            journal=journal,
            retry=services.retry,
            cancel=services.cancel,
        )
        with publisher:
            publisher.finish({image: first.manifest})


def _by_image(
    services: Services, plan: Plan
) -> Iterator[tuple[PlannedImage, tuple[Destination, ...]]]:
    every = services.destinations(plan)
    for image in plan.images:
        mine = tuple(each for each in every if each.image == image.name)
        if mine:
            yield image, mine


def _origin(destinations: tuple[Destination, ...], tag: Tag) -> tuple[Store, Manifest]:
    for destination in sorted(destinations, key=lambda each: not each.required):
        manifest = destination.store.manifest(tag)
        if manifest is not None:
            return destination.store, manifest
    names = ", ".join(each.store.name for each in destinations)
    raise VersionError(f"no registry has the tag {tag} (asked: {names})", hint="check the tag")


def _rollbacks_of(
    services: Services,
    plan: Plan,
    image: PlannedImage,
    destinations: tuple[Destination, ...],
    version: Version | None,
) -> Iterator[Relocation]:
    held = {each: _versions(plan, image, each.store) for each in destinations}
    common = _common(held)
    named = {each: _moving(services, plan, image, each.store) for each in destinations}
    leaving = version or max(
        (present for tags in named.values() for _, present in tags.values()), default=None
    )
    for destination, tags in named.items():
        for tag, (reader, present) in tags.items():
            within = reader.range(tag)
            if present != leaving or within is None:
                continue
            published = Published(versions=common, yanked=plan.yanked)
            target = rollback_target(within, present, published)
            if target is not None:
                kind = NamedTag(tag=tag, kind=TagKind.MOVING, template=reader.template)
                yield _relocation(destination, kind, held[destination], present, target)


def _relocation(
    destination: Destination,
    named: NamedTag,
    held: Mapping[Version, Tag],
    present: Version,
    target: Version,
) -> Relocation:
    store = destination.store
    lasting = held.get(target)
    manifest = store.manifest(lasting) if lasting else None
    if manifest is None:
        raise VersionError(
            f"{store.name} does not hold version {target}",
            hint=f"`podbuild promote {target} {target}` completes it from the others",
        )
    head = store.head(named.tag)
    return Relocation(
        destination=destination,
        named=named,
        manifest=manifest,
        source=store,
        before=head.digest if head else None,
        reason=f"{present} -> {target}",
    )


def _versions(plan: Plan, image: PlannedImage, store: Store) -> Mapping[Version, Tag]:
    owned = owned_versions(store.tags(), image.readers, plan.readers_beside(image.name))
    return {version: tag for tag, version in owned.items()}


def _common(held: Mapping[Destination, Mapping[Version, Tag]]) -> frozenset[Version]:
    """Give the versions that all required registries hold (all, where none is required)."""
    counted = [versions for each, versions in held.items() if each.required] or [*held.values()]
    return frozenset.intersection(*(frozenset(versions) for versions in counted))


def _moving(
    services: Services, plan: Plan, image: PlannedImage, store: Store
) -> Mapping[Tag, tuple[Reader, Version]]:
    """Give the moving tags of releases that exist, and the version that each names."""
    values = Placeholders(project=plan.project, image=image.name, env=services.config.env)
    templates = services.config.tags_of(image.image).release
    readers = [Reader(each, values) for each in templates if kind_of(each) is TagKind.MOVING]
    found: dict[Tag, tuple[Reader, Version]] = {}
    for tag in store.tags():
        reader = next((each for each in readers if each.range(tag) is not None), None)
        if reader is None or tag in found:
            continue
        remote = remote_tag(store, tag)
        if remote is not None and remote.version is not None:
            found[tag] = (reader, remote.version)
    return found
