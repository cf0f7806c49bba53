"""`podbuild promote`: what points a tag at the image of another one, everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from podbuild.commands.relocate import (
    Relocation,
    Relocations,
    ask_each,
    by_image,
    plan_of,
    required_first,
)
from podbuild.config.template import Placeholders, Template
from podbuild.errors import ImmutableTagError, PodbuildError, VersionError
from podbuild.oci.manifest import Descriptor, Manifest
from podbuild.oci.names import Tag
from podbuild.oci.store import Store
from podbuild.plan.destination import Destination
from podbuild.plan.model import PlannedImage, Request
from podbuild.plan.tags import NamedTag, Reader, TagKind, kind_of
from podbuild.semver import TagForm
from podbuild.workspace import Services


def promotions(services: Services, request: Request, origin: Tag, target: Tag) -> Relocations:
    """Give what `promote ORIGIN TARGET` moves: on every registry, the image that ORIGIN names.

    Where registries disagree about ORIGIN, the first required one in the configuration counts.
    Raises VersionError when no registry has it, ImmutableTagError when TARGET is the tag of a
    version or a commit and names something else.
    """
    plan = plan_of(services, request)
    moves: list[Relocation] = []
    silent: dict[Destination, PodbuildError] = {}
    for image, destinations in by_image(services, plan):
        named, failed = ask_each(
            services,
            destinations,
            lambda each: _Named(each.store.head(origin), each.store.head(target)),
        )
        silent |= failed
        kind = _kind(services, image, target)
        moves.extend(
            _promotions_of(
                named,
                origin,
                NamedTag(tag=target, kind=kind, template=Template(target.text)),
                services.config.project.form,
            )
        )
    return Relocations(moves=tuple(moves), silent=silent)


@dataclass(frozen=True)
class _Named:
    """What the two tags of a promotion name at one destination."""

    origin: Descriptor | None
    target: Descriptor | None


def _promotions_of(
    named: Mapping[Destination, _Named], origin: Tag, target: NamedTag, form: TagForm
) -> Iterator[Relocation]:
    holders = tuple(each for each, found in named.items() if found.origin)
    source, manifest = _origin(holders, origin, tuple(named), form)
    for destination, found in named.items():
        there = found.target.digest if found.target else None
        if target.kind is not TagKind.MOVING and there not in (None, manifest.digest):
            raise ImmutableTagError(
                f"{destination.store.reference(target.tag)} names {there} already",
                hint="the tag of a version or a commit is never moved; promote to another tag",
            )
        yield Relocation(
            destination=destination,
            named=target,
            manifest=manifest,
            source=source,
            before=there,
            reason=f"what {origin} names",
        )


def _kind(services: Services, image: PlannedImage, tag: Tag) -> TagKind:
    """Tell what a tag promises by the template of this image that writes it, if one does."""
    if any(reader.version(tag) for reader in image.readers):
        return TagKind.VERSION
    config = services.config
    values = Placeholders(
        project=config.project.name,
        image=image.name,
        env=config.env,
        scheme=config.project.scheme,
    )
    rules = config.tags_of(image.image)
    templates = (*rules.release, *(each for found in rules.branches.values() for each in found))
    shas = (each for each in templates if kind_of(each) is TagKind.SHA)
    is_sha = any(Reader(each, values).groups(tag) is not None for each in shas)
    return TagKind.SHA if is_sha else TagKind.MOVING


def _origin(
    holders: tuple[Destination, ...], tag: Tag, asked: tuple[Destination, ...], form: TagForm
) -> tuple[Store, Manifest]:
    for destination in required_first(holders):
        manifest = destination.store.manifest(tag)
        if manifest is not None:
            return destination.store, manifest
    names = ", ".join(each.store.name for each in asked)
    version = form.read(tag.text)
    bare = str(version)
    is_version = version is not None and bare != tag.text
    hint = f"the tag of version {tag} is {bare}, unless [tags] say otherwise" if is_version else ""
    raise VersionError(
        f"no registry has the tag {tag} (asked: {names})", hint=hint or "check the tag"
    )
