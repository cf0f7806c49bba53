"""A Remover over a MemoryStore, as a registry with certain abilities would behave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from podbuild.errors import CleanupError
from podbuild.oci.delete import Abilities, Inventory, ListedManifest, Removal, RemovalKind
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest, Tag

GONE = Removal(RemovalKind.GONE)
REMOVED = Removal(RemovalKind.REMOVED)


@dataclass
class MemoryRemover:
    """Deletes a digest with all its tags where `together`, and a tag alone where it can."""

    store: MemoryStore
    able: Abilities
    untagged: bool = True
    pushed: dict[Digest, datetime] = field(default_factory=dict)
    immutable: frozenset[Tag] = frozenset()

    def abilities(self) -> Abilities:
        return self.able

    @property
    def referrers(self) -> Callable[[Digest], tuple[Digest, ...]]:
        return lambda _digest: ()

    def inventory(self, on_page: Callable[[int], None] = lambda _count: None) -> Inventory:
        on_page(1)
        tags: dict[Digest, list[Tag]] = {}
        for tag, digest in sorted(self.store.named.items()):
            tags.setdefault(digest, []).append(tag)
        every = self.store.manifests if self.untagged else tags
        entries = (
            ListedManifest(
                digest=each, tags=tuple(tags.get(each, ())), pushed=self.pushed.get(each)
            )
            for each in every
        )
        return Inventory(entries=tuple(entries), untagged=self.untagged, immutable=self.immutable)

    def listed(self) -> frozenset[Tag | Digest]:
        digests = self.store.manifests if self.untagged else ()
        return frozenset(self.store.named) | frozenset(digests)

    def remove_tag(self, tag: Tag, expected: Digest) -> Removal:
        found = self.store.named.get(tag)
        if found is None:
            return GONE
        if found != expected:
            return Removal(RemovalKind.KEPT, f"{tag} moved")
        if not self.able.tags:
            raise CleanupError("400 DIGEST_INVALID")
        del self.store.named[tag]
        return REMOVED

    def remove_manifest(self, digest: Digest, tags: frozenset[Tag] = frozenset()) -> Removal:
        names = {tag for tag, named in self.store.named.items() if named == digest}
        if names - tags:
            return Removal(RemovalKind.KEPT, "it got a tag")
        if not self.able.manifests:
            raise CleanupError("405 UNSUPPORTED")
        if self.store.manifests.pop(digest, None) is None:
            return GONE
        for tag in names:
            del self.store.named[tag]
        return REMOVED

    def sweep(self) -> None:
        return
