"""Deleting from any registry that speaks the distribution API, as far as it lets us.

Distribution 2.8 deletes digests only, 3.x tags too, many registries nothing. What is missing is
found out first and then left alone: no tag is ever moved to a dummy manifest.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from podbuild.errors import CleanupError
from podbuild.oci.auth.files import AccessScope
from podbuild.oci.delete import Abilities, Inventory, ListedManifest, Removal, RemovalKind
from podbuild.oci.manifest import Descriptor
from podbuild.oci.names import Digest, Tag
from podbuild.oci.referrers import Referrers
from podbuild.oci.registry import RegistryStore
from podbuild.oci.transport.problem import Response, read_problem

READERS = 8  # requests at a time
DONE = (200, 202, 204)
_UNABLE = (400, 405)
# Registries' rules may keep one image: Harbor's immutable tags (412), Azure's locks (405), others'.
_HOLDING = (403, 409, 412, 423)
_HELD = re.compile(
    r"immutab|protected|is locked|referenced|disallowed on this registry, repository or image",
    re.IGNORECASE,
)
# Registries that protect the children of an index themselves say so with these codes.
_REFERENCED = frozenset({"GOOGLE_MANIFEST_DANGLING_PARENT_IMAGE", "GOOGLE_MANIFEST_DANGLING_TAG"})


class OciRemover:
    """Deletes from one repository through the distribution API."""

    def __init__(self, store: RegistryStore) -> None:
        self._store = store
        self.referrers = Referrers(store)

    def abilities(self) -> Abilities:
        """Try to delete what can't exist: a registry that could says that it is unknown.

        One that shows something under such a name does not look at names: it is sent no DELETE.
        """
        digest, tag = Digest(f"sha256:{secrets.token_hex(32)}"), _unknown_tag()
        for target in (digest, tag):
            if self._store.head(target) is not None:
                reason = f"{self._store.name}: the registry shows an image under any name"
                return Abilities(tags=False, manifests=False, reason=reason)
        refused = delete(self._store, digest)
        if refused.status in _UNABLE:
            reason = f"{self._store.name}: the registry deletes no manifests ({refused.status})"
            return Abilities(tags=False, manifests=False, reason=reason)
        refused = delete(self._store, tag)
        if refused.status in _UNABLE:
            reason = f"the registry deletes no single tags ({read_problem(refused)})"
            return Abilities(tags=False, manifests=True, together=True, reason=reason)
        return Abilities(tags=True, manifests=True)

    def inventory(self, on_page: Callable[[int], None] = lambda _count: None) -> Inventory:
        """Give every tag with its digest; untagged manifests are not listed by this API."""
        named = named_digests(self._store, self._store.tags(whole=True), on_page)
        return Inventory(entries=tuple(grouped(named)))

    def listed(self) -> frozenset[Tag | Digest]:
        """List the tags again."""
        return frozenset(self._store.tags(whole=True))

    def remove_tag(self, tag: Tag, expected: Digest) -> Removal:
        """Remove one tag alone, if it still names what the plan saw."""
        moved = moved_tag(self._store, tag, expected)
        if moved:
            return moved
        return self._judge(delete(self._store, tag, also=_HOLDING), tag)

    def remove_manifest(self, digest: Digest, tags: frozenset[Tag] = frozenset()) -> Removal:
        """Remove a manifest; here every tag on it goes along, so `tags` must be all of them."""
        for tag in sorted(tags):
            moved = moved_tag(self._store, tag, digest)
            if moved and moved.kind is RemovalKind.KEPT:
                return moved
        return self._judge(delete(self._store, digest, also=_HOLDING), digest)

    def sweep(self) -> None:
        """Leave the blobs to the registry's own garbage collection."""

    def _judge(self, answer: Response, target: Tag | Digest) -> Removal:
        problem = read_problem(answer)
        if answer.status in DONE:
            return Removal(RemovalKind.REMOVED)
        if answer.status == 404:
            return proved_gone(self._store, target)
        if _REFERENCED.intersection(problem.codes) or _HELD.search(problem.message):
            return Removal(RemovalKind.KEPT, str(problem))
        if answer.status in _HOLDING:
            raise self._store.client.failure(answer)
        raise unable(self._store, target, answer)


def _unknown_tag() -> Tag:
    return Tag(f"podbuild-unknown-{secrets.token_hex(8)}")


def delete(store: RegistryStore, target: Tag | Digest, also: tuple[int, ...] = ()) -> Response:
    """Send a DELETE and give the answer: done, unknown, or not possible here.

    Raises CredentialError for a missing right (401, 403 unless in `also`). The rights asked for
    are those that the registry's own refusal names.
    """
    return store.client.request(
        "DELETE",
        f"/v2/{store.repository.path}/manifests/{target}",
        scopes=(AccessScope.repository(store.repository.path, "delete", "pull"),),
        ok=(*DONE, 404, *_UNABLE, *also),
    )


def proved_gone(store: RegistryStore, target: Tag | Digest) -> Removal:
    """Give GONE after a 404 if a following read says so too; raises CleanupError otherwise."""
    if store.head(target) is None:
        return Removal(RemovalKind.GONE)
    raise CleanupError(
        f"{store.reference(target)}: the registry says it is unknown, and shows it nevertheless",
        hint="the token may lack the right to delete, or the registry is behind; try again later",
    )


def moved_tag(store: RegistryStore, tag: Tag, expected: Digest) -> Removal | None:
    """Give why a tag must be left: it is gone, or names something else now. None: go on."""
    found = store.head(tag)
    if found is None:
        return Removal(RemovalKind.GONE)
    if found.digest != expected:
        return Removal(RemovalKind.KEPT, f"{tag} moved to {found.digest} meanwhile")
    return None


def unable(store: RegistryStore, target: Tag | Digest, answer: Response) -> CleanupError:
    """Give the error for an ability that the registry turned out not to have."""
    return CleanupError(
        f"{store.reference(target)} can't be deleted: {read_problem(answer)}",
        hint="nothing more is deleted in this repository",
    )


def named_digests(
    store: RegistryStore, tags: Iterable[Tag], on_page: Callable[[int], None]
) -> dict[Tag, Digest]:
    """Ask for the digest of every tag (HEAD: no pull is counted).

    Raises CleanupError where a listed tag does not exist, unless it is not listed any more.
    """

    def ask(tag: Tag) -> tuple[Tag, Descriptor | None]:
        found = store.head(tag)
        on_page(1)
        return tag, found

    with ThreadPoolExecutor(READERS, thread_name_prefix="inventory") as pool:
        found = dict(pool.map(ask, tags))
    lost = [tag for tag, descriptor in found.items() if descriptor is None]
    if lost and not set(lost).isdisjoint(store.tags()):
        raise CleanupError(
            f"{store.reference(min(lost))} is listed and can't be read",
            hint="the view of this repository is not complete; nothing is deleted",
        )
    return {tag: descriptor.digest for tag, descriptor in found.items() if descriptor}


def grouped(named: dict[Tag, Digest]) -> Iterator[ListedManifest]:
    """Give one entry for each digest with all its tags."""
    tags: dict[Digest, list[Tag]] = {}
    for tag, digest in sorted(named.items()):
        tags.setdefault(digest, []).append(tag)
    return (ListedManifest(digest=digest, tags=tuple(names)) for digest, names in tags.items())
