"""Which repositories of one registry hold a blob, and who is uploading one right now."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from podbuild.cancel import Cancel
from podbuild.model import Digest

_LOOK = 0.2  # seconds between two looks whether work must stop, while another uploads


class Holders:
    """Remembers what one registry holds where, so that other repositories can mount it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._paths: dict[Digest, set[str]] = {}
        self._turns: dict[Digest, threading.Lock] = {}

    @contextmanager
    def turn(self, digest: Digest, cancel: Cancel) -> Iterator[None]:
        """Let one thread at a time upload a blob: the next one then finds it and mounts it."""
        with self._lock:
            turn = self._turns.setdefault(digest, threading.Lock())
        while not turn.acquire(timeout=_LOOK):
            cancel.check()
        try:
            yield
        finally:
            turn.release()

    def add(self, digest: Digest, path: str) -> None:
        """Note that a repository holds a blob."""
        with self._lock:
            self._paths.setdefault(digest, set()).add(path)

    def forget(self, digest: Digest, path: str) -> None:
        """Note that it does not, whatever was said before."""
        with self._lock:
            self._paths.get(digest, set()).discard(path)

    def other(self, digest: Digest, path: str) -> str:
        """Give another repository that holds a blob; empty where none is known."""
        with self._lock:
            return min(self._paths.get(digest, set()) - {path}, default="")
