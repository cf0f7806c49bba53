"""The guards of a release and of a branch, on facts that are read anew right before tags move."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from functools import cached_property
from typing import ClassVar

from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest, Tag
from podbuild.plan.destination import Destination, everywhere
from podbuild.plan.guards import (
    Ancestry,
    Decision,
    HeldVersions,
    ReleaseIdentity,
    Verdict,
    branch_guard,
    sha_guard,
    version_guard,
)
from podbuild.plan.journal import TagKey
from podbuild.plan.model import Request, by_image
from podbuild.plan.published import read_remote, revision_of, version_of
from podbuild.plan.tags import Range, Reader, TagKind, is_own_tag, owned_versions
from podbuild.publish.move import Order, Ruling
from podbuild.semver import Version
from podbuild.system.cancel import Cancel
from podbuild.system.later import dataclass


@dataclass(frozen=True)
class Readers:
    """How one image's tags are read back, and those of images that share its repository."""

    mine: tuple[Reader, ...]
    others: tuple[Reader, ...] = ()

    def versions(self, tags: Iterable[Tag]) -> Mapping[Tag, Version]:
        """Give the version of each tag that a release of this image wrote."""
        return owned_versions(tags, self.mine, self.others)


@dataclass(frozen=True, kw_only=True)
class ReleaseGuard:
    """Guards a release by the versions that all required registries hold together."""

    version: Version
    commit: str
    results: Mapping[str, ReleaseIdentity]  # by image
    destinations: tuple[Destination, ...]
    readers: Mapping[str, Readers]  # by image
    yanked: frozenset[Version] = frozenset()
    request: Request = field(default_factory=Request)  # which says what is allowed
    replaced: Mapping[TagKey, Digest] = field(default_factory=dict)  # as planned
    cancel: Cancel = field(default_factory=Cancel)
    _held: dict[Destination, Mapping[Tag, Version]] = field(default_factory=dict)
    takes_long: ClassVar[bool] = False

    def refresh(self) -> None:
        """List every repository's tags anew; an optional registry may stay silent."""
        answers = everywhere(self.destinations, _tags, self.cancel)
        for destination, found in answers.found.items():
            self._held[destination] = self.readers[destination.image].versions(found)

    def rule(self, order: Order, current: Manifest | None) -> Ruling:
        """Say whether an order may be carried out, given what its tag names now."""
        match order.kind:
            case TagKind.VERSION:
                return self._version_tag(order, current)
            case TagKind.SHA:
                return _sha_tag(order, current, self.commit)
            case TagKind.MOVING:
                return self._moving_tag(order, current)

    def _version_tag(self, order: Order, current: Manifest | None) -> Ruling:
        if current is None or self.request.overwrite:
            return Ruling(decision=Decision.MOVE)
        if self.replaced.get(order.key) == current.digest:
            return Ruling(decision=Decision.MOVE, reason="another registry's result is used")
        remote = read_remote(order.destination.store, order.tag, current)
        difference = self.results[order.destination.image].difference(remote)
        return Ruling(
            decision=Decision.REFUSE,
            reason=f"names {current.digest} since this release began"
            + (f": {difference}" if difference else ", another build of the same commit"),
        )

    def _moving_tag(self, order: Order, current: Manifest | None) -> Ruling:
        named = None if current is None else version_of(order.destination.store, current)
        if is_own_tag(order.tag, named, self.readers[order.destination.image].mine):
            return Ruling(decision=Decision.SKIP, reason=f"it is the tag of version {named}")
        if self.request.backwards:
            return Ruling(decision=Decision.MOVE)
        published = self.published(order.destination.image)
        if named is not None and order.destination in self._counted(order.destination.image):
            published = replace(published, versions=published.versions | {named})
        decided = version_guard(order.named, self.version, published)
        if decided.decision is not Decision.SKIP:
            return Ruling(decision=Decision.MOVE, reason=decided.reason)
        highest = published.highest(Range.of(order.named.template, self.version))
        held = self._held.get(order.destination, {})
        rightful = next((tag for tag, version in held.items() if version == highest), None)
        return Ruling(decision=Decision.SKIP, reason=decided.reason, rightful=rightful)

    def published(self, image: str) -> HeldVersions:
        """Give the versions of an image that required registries hold together.

        Where all its registries are optional, they count.
        """
        counted = self._counted(image)
        versions = (version for each in counted for version in self._held[each].values())
        return HeldVersions(versions=frozenset(versions), yanked=self.yanked)

    def _counted(self, image: str) -> list[Destination]:
        mine = [each for each in self._destinations.get(image, ()) if each in self._held]
        return [each for each in mine if each.required] or mine

    @cached_property
    def _destinations(self) -> Mapping[str, tuple[Destination, ...]]:
        return by_image(self.destinations)


@dataclass(frozen=True, kw_only=True)
class BranchGuard:
    """Guards a branch's tags by the history of commits; a pull request's move `freely`."""

    commit: str
    freely: bool = False
    ancestry: Callable[[str], Ancestry]  # of a revision, to this commit
    request: Request = field(default_factory=Request)  # which says what is allowed
    takes_long: ClassVar[bool] = True  # git is asked, and may fetch

    def refresh(self) -> None:
        """Do nothing: what a tag names is read right before it is asked for."""

    def rule(self, order: Order, current: Manifest | None) -> Ruling:
        """Say whether an order may be carried out, given what its tag names now."""
        if order.kind is TagKind.SHA:  # which goes nowhere, not even back
            return _sha_tag(order, current, self.commit)
        if current is None or self.request.backwards or self.freely:
            return Ruling(decision=Decision.MOVE)
        revision = revision_of(order.destination.store, current)
        known = self.ancestry(revision) if revision else Ancestry.UNKNOWN
        return _ruling(branch_guard(revision, self.commit, known))


def _tags(destination: Destination) -> tuple[Tag, ...]:
    return destination.store.tags()


def _sha_tag(order: Order, current: Manifest | None, commit: str) -> Ruling:
    if current is None:
        return Ruling(decision=Decision.MOVE)
    revision = revision_of(order.destination.store, current)
    return _ruling(sha_guard(revision, commit))


def _ruling(decided: Verdict) -> Ruling:
    return Ruling(decision=decided.decision, reason=decided.reason)
