"""Deleting from GHCR: whole versions through GitHub's API, because its registry deletes nothing.

To free one tag of several (`untag = true`) the tag is moved to a placeholder of its own, and
the version that then holds only that tag is deleted.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from podbuild.errors import CleanupError, CredentialError
from podbuild.model import Digest, Manifest, Tag
from podbuild.retry import Retry, Transient
from podbuild.store import Abilities, Entry, Inventory, Removal, RemovalKind
from podbuild.store.artifact import EMPTY, put_artifact
from podbuild.store.github_api import RIGHTS, GitHubApi, PackageVersion
from podbuild.store.problem import Response, read_problem
from podbuild.store.referrers import Referrers
from podbuild.store.registry import RegistryStore
from podbuild.store.remove_oci import moved_tag, proved_gone

_UNTAG = "io.github.podbuild.untag"
_SHIELD = 30.0  # seconds after a stop in which a tag is freed, or put back
_KEPT = ("cannot delete the last", "more than 5000 downloads")
_PLACEHOLDER = "application/vnd.podbuild.placeholder"


@dataclass(frozen=True)
class GhcrRemover:
    """Deletes versions of one package; `untag` allows the placeholder way."""

    store: RegistryStore
    api: GitHubApi
    retry: Retry
    untag: bool = field(default=False, kw_only=True)
    _ids: dict[Digest, int] = field(default_factory=dict, kw_only=True, repr=False)

    @cached_property
    def referrers(self) -> Referrers:
        """Give the registry's referrers API, which GHCR does not have so far."""
        return Referrers(self.store)

    def abilities(self) -> Abilities:
        """Read the package and the token's scopes, where it tells them."""
        self._need_package()
        return Abilities(
            tags=self.untag,
            manifests=True,
            together=True,
            reason="" if self.untag else "GHCR can't free one tag of several without untag = true",
        )

    def inventory(self, on_page: Callable[[int], None] = lambda _count: None) -> Inventory:
        """Give every version, tagged or not."""
        found = self._versions(on_page)
        self._ids.clear()
        self._ids.update((version.digest, version.id) for version in found)
        entries = (
            Entry(
                digest=version.digest,
                tags=tuple(sorted(version.tags)),
                pushed=version.created,
                touched=version.updated,
            )
            for version in found
        )
        return Inventory(entries=tuple(entries), untagged=True)

    def listed(self) -> frozenset[Tag | Digest]:
        """List versions and tags again."""
        found = self._versions(lambda _count: None)
        tags = (tag for version in found for tag in version.tags)
        return frozenset(version.digest for version in found) | frozenset(tags)

    def remove_tag(self, tag: Tag, expected: Digest) -> Removal:
        """Free one tag of several by the placeholder way; whatever fails or stops puts it back."""
        if not self.untag:
            raise CleanupError(
                f"{self.store.reference(tag)}: GHCR can't free one tag of several",
                hint="untag = true in the registry's section allows the way around that",
            )
        moved = moved_tag(self.store, tag, expected)
        if moved:
            return moved
        before = self.store.manifest(expected)
        if before is None:
            raise CleanupError(f"{self.store.reference(tag)} can't be read; it stays")
        with self.store.client.cancel.shielded(_SHIELD):
            try:
                return self._replaced(tag)
            except BaseException:
                self._put_back(tag, before)
                raise

    def _put_back(self, tag: Tag, before: Manifest) -> None:
        """Point a tag that names a placeholder at its image; others may have moved it since."""
        now = self.store.manifest(tag)
        if now is not None and _UNTAG in now.annotations:
            self.store.put_manifest(before, tag)

    def remove_manifest(self, digest: Digest, tags: frozenset[Tag] = frozenset()) -> Removal:
        """Delete a version if its tags, read right before, are all among those that go."""
        number = self._ids.get(digest)
        now = self.api.version(number) if number is not None else None
        if now is None:
            return proved_gone(self.store, digest)
        if not now.tags <= tags or now.digest != digest:
            others = ", ".join(map(str, sorted(now.tags - tags)))
            return Removal(RemovalKind.KEPT, f"it got the tag {others} meanwhile")
        return self._deleted(now)

    def sweep(self) -> None:
        """Leave the blobs to GHCR."""

    def _deleted(self, version: PackageVersion) -> Removal:
        answer = self.api.delete(version.id)
        if answer.status == 204:
            return Removal(RemovalKind.REMOVED)
        if answer.status == 400:
            return _kept(answer)
        if self.api.version(version.id) is not None:
            raise self.api.refused(answer)
        return proved_gone(self.store, version.digest)

    def _versions(self, on_page: Callable[[int], None]) -> tuple[PackageVersion, ...]:
        return tuple(self.api.versions(on_page)) if self._need_package() else ()

    def _need_package(self) -> bool:
        """Tell a package that is not there from one that the token can't see."""
        if self.api.exists():
            return True
        if self.store.tags():
            raise CredentialError(
                f"{self.store.name} exists, but GitHub's API does not show it to this token",
                hint=RIGHTS,
            )
        return False

    def _replaced(self, tag: Tag) -> Removal:
        """Move the tag to a placeholder and delete that version; it may hold no other tag."""
        unique = {
            _UNTAG: str(tag),
            "io.github.podbuild.nonce": secrets.token_hex(16),
        }
        placeholder = put_artifact(self.store, _PLACEHOLDER, EMPTY, tag, unique)
        version = self.retry(lambda: self._found(placeholder, tag))
        removal = self._deleted(version)
        if removal.kind is RemovalKind.KEPT:
            raise CleanupError(f"{self.store.reference(tag)} stays: {removal.reason}")
        return removal

    def _found(self, placeholder: Manifest, tag: Tag) -> PackageVersion:
        """Find the placeholder's version, which may appear a moment later."""
        for version in self.api.versions(lambda _count: None):
            if version.digest == placeholder.digest and version.tags == {tag}:
                return version
        raise Transient(CleanupError(f"{self.store.reference(tag)}: no version shows the move"))


def _kept(answer: Response) -> Removal:
    """Tell what GitHub keeps for its own reasons from a request that it does not understand."""
    problem = read_problem(answer)
    if any(sign in problem.message.lower() for sign in _KEPT):
        return Removal(RemovalKind.KEPT, problem.message)
    raise CleanupError(f"GitHub refuses to delete a version: {problem}")
