"""Deleting from an OCI layout folder, and the files that nothing reaches any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from podbuild.errors import CleanupError
from podbuild.oci.delete import Abilities, Inventory, ListedManifest, Removal, RemovalKind
from podbuild.oci.layout import LayoutStore, pushed_at, released, tag_of, touched_at
from podbuild.oci.manifest import Descriptor, Manifest
from podbuild.oci.names import Digest, Tag
from podbuild.system.files import read_plain

_ABANDONED = 24 * 3600.0  # seconds after which an upload that no manifest names is given up


@dataclass(frozen=True)
class LayoutRemover:
    """Deletes from one folder. `clock` gives seconds since 1970, as file times do."""

    store: LayoutStore
    clock: Callable[[], float] = field(default=time.time, kw_only=True)
    _left: set[Digest] = field(default_factory=set, kw_only=True, repr=False)

    @property
    def referrers(self) -> Callable[[Digest], tuple[Digest, ...]]:
        """Give none: every manifest of a layout is listed, so subjects are seen there."""
        return lambda _digest: ()

    def abilities(self) -> Abilities:
        """Give all abilities: it is a folder."""
        return Abilities(tags=True, manifests=True)

    def inventory(self, on_page: Callable[[int], None] = lambda _count: None) -> Inventory:
        """Give every manifest, tagged or not, with the time at which it was pushed."""
        found: dict[Digest, ListedManifest] = {}
        for entry in self.store.entries():
            known = found.get(entry.digest, ListedManifest(digest=entry.digest))
            tag = tag_of(entry)
            pushed = filter(None, (known.pushed, pushed_at(entry)))
            touched = filter(None, (known.touched, touched_at(entry)))
            found[entry.digest] = ListedManifest(
                digest=entry.digest,
                tags=(*known.tags, *((tag,) if tag else ())),
                pushed=min(pushed, default=None),
                touched=max(touched, default=None),
            )
            on_page(1)
        return Inventory(entries=tuple(found.values()), untagged=True)

    def listed(self) -> frozenset[Tag | Digest]:
        """List tags and manifests again."""
        entries = self.store.entries()
        tags = (tag_of(entry) for entry in entries)
        return frozenset({entry.digest for entry in entries}) | {tag for tag in tags if tag}

    def remove_tag(self, tag: Tag, expected: Digest) -> Removal:
        """Remove one tag if it still names what the plan saw."""
        with self.store.editing() as entries:
            found = next((entry for entry in entries if tag_of(entry) == tag), None)
            if found is None:
                return Removal(RemovalKind.GONE)
            if found.digest != expected:
                return Removal(RemovalKind.KEPT, f"{tag} moved to {found.digest} meanwhile")
            entries[:] = released(entries, tag)
        return Removal(RemovalKind.REMOVED)

    def remove_manifest(self, digest: Digest, tags: frozenset[Tag] = frozenset()) -> Removal:
        """Remove a manifest's entry, if no tag but those of the plan names it."""
        with self.store.editing() as entries:
            ours = [entry for entry in entries if entry.digest == digest]
            others = {tag for entry in ours if (tag := tag_of(entry))} - tags
            if others:
                return Removal(RemovalKind.KEPT, f"{min(others)} names it now")
            if not ours:
                return Removal(RemovalKind.GONE)
            self._left.update(self._named_by(ours[0]))
            entries[:] = [entry for entry in entries if entry.digest != digest]
        return Removal(RemovalKind.REMOVED)

    def sweep(self) -> None:
        """Delete the files of removed manifests that nothing reaches, and abandoned uploads."""
        with self.store.editing() as entries:
            needed = {part for entry in entries for part in self._named_by(entry)}
            self.store.sweep(needed, lambda x, file: x in self._left or self._is_abandoned(file))
        self._left.clear()

    def _named_by(self, entry: Descriptor) -> frozenset[Digest]:
        """Give a manifest's own digest and all that it names, all the way down.

        Other tools list an index without its children (`skopeo copy --all`).
        """
        found = {entry.digest}
        waiting = [entry]
        while waiting:
            part = waiting.pop()
            if part is not entry and not self.store.blob_file(part.digest).exists():
                continue
            manifest = self._read(part)
            below = (*manifest.children, *((manifest.subject,) if manifest.subject else ()))
            waiting.extend(each for each in below if each.digest not in found)
            found |= {each.digest for each in (*manifest.blobs, *below)}
        return frozenset(found)

    def _read(self, part: Descriptor) -> Manifest:
        try:
            return Manifest(part.media_type, read_plain(self.store.blob_file(part.digest)))
        except OSError as error:
            where = self.store.reference(part.digest)
            raise CleanupError(f"{where} is needed and can't be read: {error.strerror}") from error

    def _is_abandoned(self, file: Path) -> bool:
        """Judge by the inode's change time: a linked blob has the age of the link."""
        return self.clock() - file.stat().st_ctime > _ABANDONED
