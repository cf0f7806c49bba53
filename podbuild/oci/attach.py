"""Attach artifacts to a manifest, and find them again the way that clients do.

A registry lists referrers by its API, or keeps them under a fallback tag that clients maintain
(distribution spec 1.1, "Pushing Manifests with Subject", "Referrers Tag Schema"); an OCI layout
has them in its index.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from podbuild.errors import CleanupError, PublishError, VerificationError
from podbuild.oci.layout import LayoutStore
from podbuild.oci.manifest import Descriptor, Manifest, MediaType
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest, Tag
from podbuild.oci.referrers import Referrers
from podbuild.oci.registry import RegistryStore
from podbuild.oci.statements import Referrer
from podbuild.oci.store import EMPTY, BytesBlob, Store, put_bytes
from podbuild.oci.transport.problem import BlobsMissingError

_LOST_BLOBS = 4  # times that a registry may have lost them
_WAITS = (0.2, 0.5, 1.0, 2.0)  # seconds; lists lag behind what was just put


def fallback_tag(subject: Digest) -> Tag:
    """Give the tag that stands for a missing referrers API.

    >>> str(fallback_tag(Digest("sha256:" + "0" * 64)))[:12]
    'sha256-00000'
    """
    return Tag(f"{subject.algorithm}-{subject.hex}")


@dataclass(frozen=True)
class Attachments:
    """What is attached in one repository; for one writer of each subject at a time."""

    store: Store
    sleep: Callable[[float], None] = field(repr=False)

    def of(self, subject: Digest) -> tuple[Digest, ...]:
        """Give all that refers to a manifest, by the API and by the tag, sorted.

        Raises as the store does, and PublishError for a list that is not complete.
        """
        by_tag = frozenset(each.digest for each in self._tagged(subject))
        return tuple(sorted(self._listed(subject) | by_tag))

    def put(self, subject: Digest, referrers: Iterable[Referrer]) -> tuple[str, ...]:
        """Attach referrers to a manifest that is here; give what is odd about the registry.

        What is there is not sent again. Raises PublishError where they can't be read back, and
        what the store raises.
        """
        every = {each.manifest.digest: each for each in referrers}
        for each in every.values():
            self._put(each)
        manifests = {digest: each.manifest for digest, each in every.items()}
        notes: tuple[str, ...] = ()
        if not self._settled(subject, manifests.keys()):
            if isinstance(self.store, RegistryStore):
                notes = self._note_of_api(subject)
                self._put_tag(subject, manifests)
            else:
                raise self._lost(subject)
        return notes

    def _put(self, referrer: Referrer) -> None:
        """Put a referrer; registries lose blobs that came to two repositories at once."""
        manifest = referrer.manifest
        if self.store.head(manifest.digest):
            return
        blobs = dict(zip(manifest.layers, referrer.blobs, strict=True))
        blobs[EMPTY] = b"{}"
        for blob, data in blobs.items():
            put_bytes(self.store, blob.media_type, data)
        for _ in range(_LOST_BLOBS):
            try:
                self.store.put_manifest(manifest)
            except BlobsMissingError:
                for blob, data in blobs.items():
                    self.store.put_blob(blob, BytesBlob(data))
            else:
                return
        self.store.put_manifest(manifest)

    def _settled(self, subject: Digest, wanted: Iterable[Digest]) -> bool:
        """Tell whether all are listed; where there is an API, after some patience."""
        missing = frozenset(wanted)
        if missing <= self._listed(subject):
            return True
        for wait in _WAITS if self._has_api else ():
            self.sleep(wait)
            if missing <= self._listed(subject):
                return True
        return False

    def _note_of_api(self, subject: Digest) -> tuple[str, ...]:
        if not self._has_api:
            return ()
        said = f"{self.store.name}: its referrers API does not list what was attached to "
        return (f"{said}{subject.short}; clients that trust it will not find that",)

    def _put_tag(self, subject: Digest, wanted: Mapping[Digest, Manifest]) -> None:
        """Write the fallback index: others' entries stay, ours are as the specification says."""
        tag = fallback_tag(subject)
        for wait in (0.0, 0.0, *_WAITS):
            self.sleep(wait)
            before = self._tagged(subject)
            entries = {each.digest: each for each in before}
            entries |= {digest: each.listing for digest, each in wanted.items()}
            ordered = tuple(entries[digest] for digest in sorted(entries))
            if ordered == before:
                return
            self.store.put_manifest(_index(ordered), tag)
        raise self._lost(subject)

    def _tagged(self, subject: Digest) -> tuple[Descriptor, ...]:
        """Give the entries under the fallback tag; nothing where it is no index."""
        if not isinstance(self.store, RegistryStore):
            return ()
        found = self.store.manifest(fallback_tag(subject))
        return found.children if found is not None and found.is_index else ()

    @cached_property
    def _api(self) -> Referrers | None:
        return Referrers(self.store) if isinstance(self.store, RegistryStore) else None

    @property
    def _has_api(self) -> bool:
        return self._api is not None and self._api.offered

    def _listed(self, subject: Digest) -> frozenset[Digest]:
        store = self.store
        if self._api is not None:
            try:
                return frozenset(self._api(subject))
            except CleanupError as error:
                raise PublishError(error.message, hint=error.hint) from error
        if isinstance(store, LayoutStore):
            artifacts = (each.digest for each in store.entries() if each.artifact_type)
        elif isinstance(store, MemoryStore):
            artifacts = (digest for digest in tuple(store.manifests))
        else:
            raise PublishError(f"{store.name}: nothing can be attached here")
        return frozenset(each for each in artifacts if _subject(store, each) == subject)

    def _lost(self, subject: Digest) -> PublishError:
        return PublishError(
            f"{self.store.reference(subject)}: what was attached can't be read back",
            hint="run the same command again; no tag has moved",
        )


def _subject(store: Store, digest: Digest) -> Digest | None:
    try:
        found = store.manifest(digest)
    except VerificationError:
        return None
    return found.subject.digest if found and found.subject else None


def _index(entries: Iterable[Descriptor]) -> Manifest:
    content = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_INDEX,
        "manifests": [each.to_json() for each in entries],
    }
    data = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    return Manifest(MediaType.OCI_INDEX, data)


def read_referrer(store: Store, digest: Digest, blobs_cap: int) -> Referrer | None:
    """Give a referrer with its blobs; None for one that is missing or larger than statements are.

    Raises as the store does, VerificationError for bytes that are not what was asked for.
    """
    manifest = store.manifest(digest)
    if manifest is None or sum(blob.size for blob in manifest.layers) > blobs_cap:
        return None
    blobs = []
    for blob in manifest.layers:
        with store.blob(blob) as source:
            blobs.append(b"".join(source.chunks()))
    return Referrer(manifest, tuple(blobs), ())
