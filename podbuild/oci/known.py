"""Manifests that this run has read: their bytes by digest, and which repositories hold them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest

_MOST = 64 << 20  # bytes of all manifests that are kept
FRESH = 3.0  # seconds for which what a registry said of a manifest is not asked again


class KnownManifests:
    """Keeps manifests, whichever registry gave them: a digest stands for the same bytes anywhere.

    The oldest ones go where all are larger than `most` bytes. Safe to share between threads.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._found: dict[Digest, Manifest] = {}
        self._size = 0

    def add(self, manifest: Manifest) -> None:
        """Keep a manifest."""
        with self._lock:
            before = self._found.pop(manifest.digest, None)
            self._found[manifest.digest] = manifest
            self._size += len(manifest.data) - (len(before.data) if before else 0)
            while self._size > self._most:
                self._size -= len(self._found.pop(next(iter(self._found))).data)

    def get(self, digest: Digest, media_type: str = "") -> Manifest | None:
        """Give a manifest, of this type where one is named; None where its bytes are not known."""
        with self._lock:
            found = self._found.get(digest)
        return found if found and media_type in ("", found.media_type) else None


class Presence:
    """Remembers which repositories of one registry hold which manifests, as they said.

    Safe to share between threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._said: dict[str, dict[Digest, float]] = {}  # by repository: when it was said

    def add(self, path: str, digest: Digest) -> None:
        """Note that a repository has just said that it holds a manifest."""
        with self._lock:
            self._said.setdefault(path, {})[digest] = self._clock()

    def forget(self, path: str, digest: Digest) -> None:
        """Note that it does not."""
        with self._lock:
            self._said.get(path, {}).pop(digest, None)

    def is_fresh(self, path: str, digest: Digest) -> bool:
        """Tell whether it has said so a moment ago."""
        with self._lock:
            said = self._said.get(path, {}).get(digest)
        return said is not None and self._clock() - said < FRESH

    def has_read(self, path: str) -> bool:
        """Tell whether anything was read in a repository."""
        with self._lock:
            return bool(self._said.get(path))
