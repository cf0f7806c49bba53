"""The layer cache that engines see: repositories of staging with a registry behind them.

An engine asks for an entry by its key, a tag that is a hash (buildah-build(1), --cache-from). What
is not here is looked for in the registry; what the engine leaves is taken at once and uploaded
while it goes on. A registry that fails is left alone from then on: no build fails for its cache.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from podbuild.build.cache.uses import merged, read_uses, write_uses
from podbuild.errors import CredentialError, PodbuildError, VersionError
from podbuild.oci.manifest import Descriptor, Manifest
from podbuild.oci.names import Digest, Tag
from podbuild.oci.store import Store, copy_blob, copy_image
from podbuild.system.cancel import Cancel

CACHED = "podbuild-cache"  # first part of the repositories' names in staging


@dataclass(frozen=True, kw_only=True)
class Tellers:
    """Who hears what a cache can't do: `note` for what is no fault, `warn` for failures."""

    note: Callable[[str], None] = lambda _text: None
    warn: Callable[[str], None] = lambda _text: None


class CacheRemote:
    """A registry's repository that holds cache entries. Safe to share between threads."""

    def __init__(
        self, store: Store, tellers: Tellers, cancel: Cancel, *, reads: bool, writes: bool
    ) -> None:
        self.store = store
        self.reads = reads
        self.writes = writes
        self._tellers = tellers
        self._cancel = cancel
        self._known: set[Tag] = set()
        self._lock = threading.Lock()
        self._uploads = ThreadPoolExecutor(1, thread_name_prefix="layer-cache")
        self._last: Future[None] | None = None

    def open(self) -> None:
        """Ask what is there and what this login may do; what it may not is turned off and told."""
        try:
            self._known = set(self.store.tags())
        except CredentialError as error:
            self._unreadable(error)
        except PodbuildError as error:
            self._failed(error)
            return
        if self.writes:
            self._check_push()

    @property
    def known(self) -> frozenset[Tag]:
        """Give the tags that are there."""
        with self._lock:
            return frozenset(self._known)

    def find(self, tag: Tag) -> Manifest | None:
        """Give an entry; None where there is none, or no answer."""
        if not self.reads or tag not in self._known:
            return None
        try:
            return self.store.manifest(tag)
        except PodbuildError as error:
            self._failed(error)
            return None

    def fetch(self, blob: Descriptor, sink: Store) -> None:
        """Bring a blob to `sink`; nothing where that fails, which the engine takes as a miss."""
        try:
            copy_blob(self.store, sink, blob)
        except PodbuildError as error:
            self._failed(error)

    def offer(self, tag: Tag, manifest: Manifest, source: Store) -> bool:
        """Upload an entry in the background unless it is there; tell whether it was new."""
        with self._lock:
            if not self.writes or tag in self._known:
                return False
            self._known.add(tag)
        self.later(lambda store: _copied(source, store, manifest, tag))
        return True

    @property
    def busy(self) -> bool:
        """Tell whether uploads are left."""
        return self._last is not None and not self._last.done()

    def close(self) -> None:
        """Wait for the uploads; after a stop they are left."""
        self._uploads.shutdown(wait=True, cancel_futures=self._cancel.requested)

    def later(self, action: Callable[[Store], None]) -> None:
        """Write something else in the background, after what was offered before."""
        self._last = self._uploads.submit(self._write, lambda: action(self.store))

    def record_use(self, record: Tag, used: frozenset[Tag], prefix: str, now: datetime) -> None:
        """Write in the background which entries were used, after what was offered before."""
        self.later(lambda _store: self._record(record, used, prefix, now))

    def _record(self, record: Tag, used: frozenset[Tag], prefix: str, now: datetime) -> None:
        before = read_uses(self.store, record) if record in self.known else {}
        mine = {tag for tag in self.known if tag.text.startswith(prefix)}
        here = {tag: when for tag, when in before.items() if tag in self.known}
        after = merged(here, used, mine - before.keys(), now)
        if after != before:
            write_uses(self.store, record, after)

    def _write(self, action: Callable[[], object]) -> None:
        if not self.writes or self._cancel.requested:
            return
        try:
            action()
        except PodbuildError as error:
            self.writes = False
            self._tell(f"the layer cache is not written any more: {error.message}")

    def _check_push(self) -> None:
        try:
            self.store.check_push()
        except CredentialError as error:
            self.writes = False
            self._tellers.note(f"the layer cache is only read: {error.message}")
        except PodbuildError as error:
            self._failed(error)

    def _unreadable(self, error: CredentialError) -> None:
        """Go on to fill it: some registries refuse to list what does not exist yet."""
        if not self.writes:
            self._tellers.note(f"no layer cache: {error.message}")
            self.reads = False

    def _failed(self, error: PodbuildError) -> None:
        with self._lock:
            first, self.reads, self.writes = self.reads or self.writes, False, False
        if first:
            self._tell(f"built without the layer cache: {error.message}")

    def _tell(self, text: str) -> None:
        if not self._cancel.requested:
            self._tellers.warn(text)


def _copied(source: Store, sink: Store, manifest: Manifest, tag: Tag) -> None:
    copy_image(source, sink, manifest, tag=tag)


@dataclass
class CachedRepository:
    """What one image has in the cache for one platform.

    `prefix` keeps apart in the registry what the engines' keys do not: platform, engine,
    compression. `local` holds the bytes here.
    """

    remote: CacheRemote
    prefix: str
    local: Store
    pulled: int = 0
    pushed: int = 0
    used: set[Tag] = field(default_factory=set)  # tags in the registry
    _entries: dict[Tag, Manifest] = field(default_factory=dict)
    _blobs: dict[Digest, Descriptor] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, key: Tag) -> Manifest | None:
        """Give an entry that was left before, or that the registry has."""
        if key in self._entries:
            return self._entries[key]
        tag = self._tag(key)
        found = self.remote.find(tag) if tag else None
        if found is None or tag is None or found.is_index:
            return None
        with self._lock:
            self.pulled += key not in self._entries
            self.used.add(tag)
            self._entries[key] = found
            self._blobs |= {blob.digest: blob for blob in found.blobs}
        return found

    def fetch(self, digest: Digest) -> None:
        """Bring a blob of an entry here; nothing where that is not possible."""
        blob = self._blobs.get(digest)
        if blob:
            self.remote.fetch(blob, self.local)

    def take(self, key: Tag, manifest: Manifest) -> None:
        """Take an entry from the engine; its blobs are here."""
        tag = self._tag(key)
        with self._lock:
            self._entries[key] = manifest
        if tag is None:
            return
        new = self.remote.offer(tag, manifest, self.local)
        with self._lock:
            self.pushed += new
            self.used.add(tag)

    def close(self, record: Tag, now: datetime) -> None:
        """Say in the registry what was used."""
        self.remote.record_use(record, frozenset(self.used), self.prefix, now)

    def _tag(self, key: Tag) -> Tag | None:
        try:
            return Tag(f"{self.prefix}{key}")
        except VersionError:
            return None


def cached_name(image: str, slug: str) -> str:
    """Give the repository in staging, for an engine's --cache-from and --cache-to."""
    return f"{CACHED}/{image}/{slug}"


def close_all(remotes: Iterable[CacheRemote]) -> None:
    """Wait for the uploads to every registry."""
    for remote in remotes:
        remote.close()
