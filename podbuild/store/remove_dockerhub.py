"""Deleting from Docker Hub: tags through its own API, then untagged digests at the registry."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cached_property

from podbuild.errors import CleanupError, CredentialError
from podbuild.model import Digest, Tag
from podbuild.retry import Retry, Transient
from podbuild.store import Abilities, Entry, Inventory, Removal, RemovalKind
from podbuild.store.hub_api import NEEDED, HubApi, HubTag
from podbuild.store.problem import Response, read_problem
from podbuild.store.referrers import Referrers
from podbuild.store.registry import RegistryStore
from podbuild.store.remove_oci import (
    delete,
    grouped,
    moved_tag,
    named_digests,
    proved_gone,
    unable,
)

_NOT_ALLOWED = ("insufficient scope", "access denied", "access to the resource is denied")


@dataclass(frozen=True)
class DockerHubRemover:
    """Deletes from one repository on Docker Hub; `retry` waits for deletions in the background."""

    store: RegistryStore
    api: HubApi
    retry: Retry

    @cached_property
    def referrers(self) -> Referrers:
        """Give the registry's referrers API."""
        return Referrers(self.store)

    def abilities(self) -> Abilities:
        """Log in. Whether the token may delete can't be asked without deleting."""
        self.api.login()
        return Abilities(tags=True, manifests=True)

    def inventory(self, on_page: Callable[[int], None] = lambda _count: None) -> Inventory:
        """Give every tag with its digest from the registry and its times from the API."""
        tags = self._tags(on_page)
        if not tags:
            return Inventory()
        is_immutable = self.api.immutable()
        named = named_digests(self.store, tags, on_page)
        entries = (_dated(entry, [tags[tag] for tag in entry.tags]) for entry in grouped(named))
        return Inventory(entries=tuple(entries), immutable=frozenset(filter(is_immutable, tags)))

    def listed(self) -> frozenset[Tag | Digest]:
        """List the tags again."""
        return frozenset(self._tags(lambda _count: None))

    def remove_tag(self, tag: Tag, expected: Digest) -> Removal:
        """Remove one tag; its manifest stays until it is deleted by digest."""
        moved = moved_tag(self.store, tag, expected)
        if moved:
            return moved
        if self.api.delete(tag).status != 404:
            return Removal(RemovalKind.REMOVED)
        if self.api.has(tag):
            raise CleanupError(f"{self.store.reference(tag)}: unknown when deleted, but still here")
        return Removal(RemovalKind.GONE)

    def remove_manifest(self, digest: Digest, tags: frozenset[Tag] = frozenset()) -> Removal:
        """Remove an untagged manifest; what is still referenced Docker Hub keeps."""
        for tag in sorted(tags):
            if moved_tag(self.store, tag, digest) is None:
                return Removal(RemovalKind.KEPT, f"{tag} still names it")
        answer = delete(self.store, digest, also=(403, 500))
        if answer.status in (200, 202):
            return Removal(RemovalKind.REMOVED)
        if answer.status == 404:
            return proved_gone(self.store, digest)
        if answer.status == 403:
            return self._referenced(answer)
        if answer.status == 500:
            return self._maybe_done(digest, answer)
        raise unable(self.store, digest, answer)

    def sweep(self) -> None:
        """Leave the blobs to Docker Hub."""

    def _tags(self, on_page: Callable[[int], None]) -> dict[Tag, HubTag]:
        found = self.api.tags(on_page)
        if found is None and self.store.tags():
            raise CredentialError(
                f"{self.store.name} has tags, but Docker Hub's API does not show the repository",
                hint=f"log in as an admin of the repository; {NEEDED}",
            )
        return {each.tag: each for each in found or ()}

    def _referenced(self, answer: Response) -> Removal:
        problem = read_problem(answer)
        if any(sign in problem.message.lower() for sign in _NOT_ALLOWED):
            raise CredentialError(f"{self.store.name}: {problem}", hint=NEEDED)
        return Removal(RemovalKind.KEPT, str(problem))

    def _maybe_done(self, digest: Digest, answer: Response) -> Removal:
        """Wait a little after a 500: Docker Hub may go on in the background."""

        def gone() -> Removal:
            if self.store.head(digest) is not None:
                raise Transient(CleanupError("still there"))
            return Removal(RemovalKind.REMOVED)

        try:
            return self.retry(gone)
        except CleanupError:
            said = f"{read_problem(answer)}; Docker Hub may still delete it in the background"
            return Removal(RemovalKind.KEPT, said)


def _dated(entry: Entry, tags: Collection[HubTag]) -> Entry:
    """Take the earliest push of its tags for the digest's own: a tag may have come later."""
    pushed = (tag.pushed for tag in tags)
    updated = (tag.updated for tag in tags)
    return replace(
        entry,
        pushed=min(filter(None, pushed), default=None),
        touched=max(filter(None, updated), default=None),
    )
