"""Manifests that this run has read: their bytes by digest, and which repositories hold them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest

FRESH = 3.0  # seconds for which what a registry said of a manifest is not asked again


@dataclass(frozen=True)
class KnownManifests:
    """Keeps manifests, whichever registry gave them: a digest stands for the same bytes anywhere.

    Safe to share between threads.
    """

    _found: dict[Digest, Manifest] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, manifest: Manifest) -> None:
        """Keep a manifest."""
        with self._lock:
            self._found[manifest.digest] = manifest

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
