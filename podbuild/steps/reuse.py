"""Find images that were built from the same inputs before, on any machine.

The input hash of each platform stands on the published index, or as a label on a single-platform
image (design, invariant 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from podbuild.errors import PodbuildError
from podbuild.labels import inputs_of
from podbuild.model import Digest, Manifest, Platform, Tag
from podbuild.steps import Destination
from podbuild.steps.remote import said_of
from podbuild.store import Store

_TAGS_READ = 3  # per repository: what moving tags name, and the version before


@dataclass(frozen=True, kw_only=True)
class Found:
    """A platform's image of an earlier release, and a repository that holds it."""

    manifest: Manifest = field(repr=False)
    store: Store = field(repr=False)
    reference: str


@dataclass(frozen=True)
class Earlier:
    """Earlier results of one image: input hash -> where to find the image."""

    found: Mapping[str, tuple[Store, Digest, str]]

    def image(self, inputs: str) -> Found | None:
        """Give the image with these inputs, if it is still complete where it was found."""
        known = self.found.get(inputs)
        if known is None:
            return None
        store, digest, reference = known
        try:
            manifest = store.manifest(digest)
            if manifest is None or not all(map(store.has_blob, manifest.blobs)):
                return None
        except PodbuildError:
            return None
        return Found(manifest=manifest, store=store, reference=reference)


def earlier_results(
    destinations: Iterable[Destination],
    tags: Mapping[str, Iterable[Tag]],
    platforms: Iterable[Platform],
) -> Earlier:
    """Give what earlier releases of one image left, by input hash.

    `tags` are those worth reading, by `Destination.key`. A registry that can't be read has
    nothing to offer.
    """
    wanted = tuple(platforms)
    found: dict[str, tuple[Store, Digest, str]] = {}
    for destination in destinations:
        for tag in tuple(tags.get(destination.key, ()))[:_TAGS_READ]:
            for inputs, digest in _inputs(destination.store, tag, wanted):
                reference = destination.store.reference(tag)
                found.setdefault(inputs, (destination.store, digest, reference))
    return Earlier(found)


def _inputs(
    store: Store, tag: Tag, platforms: tuple[Platform, ...]
) -> Iterator[tuple[str, Digest]]:
    try:
        manifest = store.manifest(tag)
        said = said_of(store, manifest) if manifest else {}
    except PodbuildError:
        return
    if manifest is None:
        return
    children = {child.platform: child.digest for child in manifest.children}
    for platform in platforms:
        inputs = said.get(inputs_of(platform))
        digest = children.get(platform) if manifest.is_index else manifest.digest
        if inputs and digest:
            yield inputs, digest
