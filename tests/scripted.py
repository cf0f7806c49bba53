"""Stores that fail, lose replies or change under one's hands exactly when a test says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from podbuild.errors import VerificationError
from podbuild.oci.manifest import Descriptor, Manifest
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest, Tag
from podbuild.oci.store import BlobSource, PushRight
from podbuild.oci.transport.problem import BlobsMissingError, Problem
from podbuild.system.cancel import Cancel


@dataclass(frozen=True)
class Asked:
    """One request to a store: what is done to what."""

    verb: str
    target: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.target}".strip()


Hook = Callable[[Asked], None]


def nothing(_asked: Asked) -> None:
    """Let it happen."""


@dataclass(kw_only=True)
class ScriptedStore:
    """A store in memory. `before` may refuse a request, `after` may lose its reply."""

    inner: MemoryStore = field(default_factory=MemoryStore)
    before: Hook = nothing
    after: Hook = nothing
    log: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.inner.name

    def reference(self, target: Tag | Digest) -> str:
        return self.inner.reference(target)

    def head(self, target: Tag | Digest) -> Descriptor | None:
        with self._asked("head", target):
            return self.inner.head(target)

    def manifest(self, target: Tag | Digest) -> Manifest | None:
        with self._asked("get", target):
            return self.inner.manifest(target)

    def put_manifest(self, manifest: Manifest, tag: Tag | None = None) -> None:
        with self._asked("put", tag or manifest.digest):
            try:
                self.inner.put_manifest(manifest, tag)
            except VerificationError as error:  # as registries say it
                raise BlobsMissingError(error.message, Problem(status=404)) from error

    def has_blob(self, blob: Descriptor) -> bool:
        with self._asked("has", blob.digest):
            return self.inner.has_blob(blob)

    def put_blob(
        self,
        blob: Descriptor,
        source: BlobSource,
        on_bytes: Callable[[int], None] = lambda _count: None,
    ) -> None:
        with self._asked("upload", blob.digest):
            self.inner.put_blob(blob, source, on_bytes)

    @contextmanager
    def blob(self, blob: Descriptor) -> Iterator[BlobSource]:
        with self._asked("read", blob.digest), self.inner.blob(blob) as source:
            yield source

    def tags(self) -> tuple[Tag, ...]:
        with self._asked("tags"):
            return self.inner.tags()

    def check_push(self) -> PushRight:
        return self.inner.check_push()

    @contextmanager
    def _asked(self, verb: str, target: object = "") -> Iterator[None]:
        asked = Asked(verb, str(target))
        self.log.append(str(asked))
        self.before(asked)
        yield
        self.after(asked)


def failing(error: Exception, *requests: str) -> Hook:
    """Give a hook that raises on these requests, such as `put latest` (a verb alone: on all)."""

    def hook(asked: Asked) -> None:
        if str(asked) in requests or asked.verb in requests:
            raise error

    return hook


def once(request: str, action: Callable[[], object]) -> Hook:
    """Give a hook that does something at the first such request."""
    left = [action]

    def hook(asked: Asked) -> None:
        if str(asked) == request and left:
            left.pop()()

    return hook


class Hasty(Cancel):
    """Waits for nothing, and remembers how long it should have."""

    waited = 0.0

    def sleep(self, seconds: float) -> None:
        self.waited += seconds
