"""Publish by digest: the same bytes to every registry at once, then read back. Moves no tag.

An image may be offered as soon as it is staged, while others still build; what is offered twice
goes out once. Whether a login may push everywhere is asked before any build, not after an hour.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import field
from functools import cached_property
from typing import Self

from podbuild.errors import CredentialError, PodbuildError, PublishError, VerificationError
from podbuild.oci.manifest import FRESH, Descriptor, Manifest
from podbuild.oci.names import Digest
from podbuild.oci.store import PushRight, Store, settled_head
from podbuild.oci.transport import problem
from podbuild.plan.destination import Destination, ask_all, failures, own_failure
from podbuild.plan.journal import ImageKey, Journal, Section
from podbuild.plan.model import by_image
from podbuild.system.cancel import Cancel
from podbuild.system.later import dataclass
from podbuild.system.retry import Retry, Transient


@dataclass(frozen=True, kw_only=True)
class Ready:
    """Where a release can go. `unavailable` are optional registries that are left out."""

    destinations: tuple[Destination, ...]
    unknown: tuple[Destination, ...]  # the right to push shows only when pushing
    unavailable: tuple[tuple[Destination, PodbuildError], ...]


def preflight(destinations: Iterable[Destination], cancel: Cancel) -> Ready:
    """Ask every registry whether we may push.

    Raises a stop, CredentialError naming each refusal one by one, or the first other failure of a
    required registry.
    """
    answers = ask_all(destinations, lambda each: each.store.check_push(), cancel)
    refused = [error for each, error in answers.failed.items() if each.required]
    if refused:
        raise _summary(refused)
    rights = answers.found.items()
    return Ready(
        destinations=tuple(answers.found),
        unknown=tuple(each for each, right in rights if right is PushRight.UNKNOWN),
        unavailable=tuple(answers.failed.items()),
    )


def _summary(refused: list[PodbuildError]) -> PodbuildError:
    """Give one error for all refusals; of several kinds, credentials are named first."""
    errors = sorted(refused, key=lambda error: not isinstance(error, CredentialError))
    first = errors[0]
    others = {error.message: None for error in errors[1:] if error.message != first.message}
    if not others:
        return first
    return type(first)(first.message, hint=first.hint, details=("also:", *others, *first.details))


UPLOADS = 6  # blobs on their way to one registry at a time
DELIVERIES = 16  # images on their way to one registry; they wait for blobs most of the time


@dataclass(frozen=True, kw_only=True)
class Published:
    """What every destination holds now, by digest, read back.

    `present` are the blobs that destinations held before, as they said when asked for them, and
    the images of earlier releases that stand there, whose blobs nobody was asked for.
    """

    images: Mapping[str, Manifest]
    at: tuple[Destination, ...]
    failed: Mapping[Destination, PodbuildError]  # optional registries only
    present: frozenset[tuple[Destination, Digest]] = frozenset()


@dataclass(frozen=True, kw_only=True)
class UploadProgress:
    """Hears of every transfer: destination, blob, and how many bytes more (negative: again)."""

    began: Callable[[Destination, Descriptor], None] = lambda _destination, _blob: None
    moved: Callable[[Destination, Descriptor, int], None] = lambda _destination, _blob, _count: None
    present: Callable[[Destination, Descriptor], None] = lambda _destination, _blob: None


@dataclass(frozen=True, kw_only=True)
class _Lane:
    """What works for one registry alone, so that one that hangs keeps no other waiting."""

    deliveries: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(DELIVERIES, thread_name_prefix="deliver")
    )
    uploads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(UPLOADS, thread_name_prefix="upload")
    )


@dataclass(frozen=True, kw_only=True)
class Publisher:
    """Copies staged images to all their destinations; use as a context manager.

    `earlier` are images and indexes of earlier releases: one that a destination holds is whole
    there, as registries take no image without its blobs. So are the layers of the image that stood
    `before` at a destination, by its key; a registry that misses one after all is believed no more.
    Those of earlier releases that are `expected` there, as an index of it names them, are asked for
    once, when their new index is there: early enough for what has to be copied nowhere.
    """

    destinations: tuple[Destination, ...]
    source: Callable[[str], Store]  # the staging store of an image
    journal: Journal
    retry: Retry
    cancel: Cancel
    progress: UploadProgress = field(default_factory=UploadProgress)
    earlier: frozenset[Digest] = frozenset()
    before: Mapping[str, Digest] = field(default_factory=dict)
    expected: Mapping[str, frozenset[Digest]] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    _offered: dict[tuple[Destination, Digest], Future[None]] = field(default_factory=dict)
    _blobs: dict[tuple[Destination, Digest], Future[bool]] = field(default_factory=dict)
    _kept: dict[Destination, frozenset[Digest]] = field(default_factory=dict)
    _reused: set[tuple[Destination, Digest]] = field(default_factory=set)
    _standing: set[tuple[Destination, Digest]] = field(default_factory=set)
    _read_back: dict[tuple[Destination, Digest], float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _lanes: dict[str, _Lane] = field(default_factory=dict)  # by registry
    _turns: dict[Destination, threading.Lock] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._turns.update((each, threading.Lock()) for each in self.destinations)
        self._lanes.update((each.registry, _Lane()) for each in self.destinations)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for lane in self._lanes.values():
            lane.deliveries.shutdown(cancel_futures=True)
            lane.uploads.shutdown(cancel_futures=True)

    def offer(self, image: str, manifest: Manifest, *, earlier: bool = False) -> None:
        """Begin to copy a staged image (or index) to all its destinations, by digest."""
        for destination in self._here.get(image, ()):
            if earlier and manifest.digest in self.expected.get(destination.key, ()):
                self._reused.add((destination, manifest.digest))
            else:
                self._offer(destination, manifest, earlier=earlier)

    @cached_property
    def _here(self) -> Mapping[str, tuple[Destination, ...]]:
        return by_image(self.destinations)

    def finish(self, images: Iterable[tuple[str, Manifest]]) -> Published:
        """Copy these images, by name, completely, read them back, and give what is where.

        A failure lets the others go on, so that the next run has less to do. Then raises
        PublishError, CredentialError or VerificationError of a required registry; those of
        optional ones are in `Published.failed`.
        """
        pairs = tuple(images)
        wanted = {
            self._offer(destination, manifest, earlier=manifest.digest in self.earlier): (
                destination,
                manifest,
            )
            for image, manifest in pairs
            for destination in self._here.get(image, ())
        }
        failed = failures({future: where for future, (where, _) in wanted.items()}, self.cancel)
        raise_required(failed)
        # The first registry may have waited long for the last one, and others clean up there.
        since = self.clock() - FRESH
        again = {
            self._lanes[each.registry].deliveries.submit(self._keep, each, manifest): each
            for each, manifest in wanted.values()
            if each not in failed and self._read_back[each, manifest.digest] < since
        }
        failed |= failures(again, self.cancel)
        raise_required(failed)
        return Published(
            images=dict(pairs),
            at=tuple(dict.fromkeys(each for each, _ in wanted.values() if each not in failed)),
            failed=failed,
            present=frozenset((*self._present(), *self._standing)),
        )

    def _present(self) -> Iterator[tuple[Destination, Digest]]:
        """Give the blobs that were there already, of those that went well."""
        for key, asked in self._blobs.items():
            if asked.done() and not asked.cancelled() and not asked.exception() and asked.result():
                yield key

    def _keep(self, destination: Destination, manifest: Manifest) -> None:
        """Put again what was taken away from an index since it was read back."""
        parts = (*self._children(destination, manifest), manifest)
        if not all(destination.store.head(part.digest) for part in parts):
            self.retry(lambda: self._put(destination, manifest))

    def _offer(
        self, destination: Destination, manifest: Manifest, *, earlier: bool
    ) -> Future[None]:
        """Queue children before their parent: a parent that runs never waits for a place."""
        children = [
            self._offer(destination, child, earlier=earlier)
            for child in self._children(destination, manifest)
        ]
        key = (destination, manifest.digest)
        earlier = earlier or key in self._reused
        with self._lock:
            if key not in self._offered:
                self._offered[key] = self._lanes[destination.registry].deliveries.submit(
                    self._deliver, destination, manifest, children, earlier=earlier
                )
            return self._offered[key]

    def _children(self, destination: Destination, manifest: Manifest) -> list[Manifest]:
        source = self.source(destination.image)
        found = [(child, source.manifest(child.digest)) for child in manifest.children]
        for child, content in found:
            if content is None:
                raise PublishError(f"{source.reference(child.digest)} is not staged")
        return [content for _, content in found if content is not None]

    def _deliver(
        self,
        destination: Destination,
        manifest: Manifest,
        children: list[Future[None]],
        *,
        earlier: bool,
    ) -> None:
        """Children before parents, blobs before manifests; then read back."""
        known = ImageKey(destination.key, manifest.digest)
        sink = destination.store
        for child in children:
            child.result()
        asked = earlier or self.journal.get(Section.PUBLISHED, known)
        there = asked and sink.head(manifest.digest)
        if there and earlier:
            self._standing.add((destination, manifest.digest))
        if not there and not self.retry(lambda: self._stands(destination, manifest)):
            self.retry(lambda: self._put(destination, manifest))
            if not settled_head(sink, manifest.digest, manifest.digest, cancel=self.cancel):
                raise VerificationError(
                    f"{sink.reference(manifest.digest)} can't be read back after the push",
                    hint="run the same command again; no tag has moved",
                )
        self._read_back[destination, manifest.digest] = self.clock()
        self.journal.record(Section.PUBLISHED, known, True)

    def _stands(self, destination: Destination, manifest: Manifest) -> bool:
        """Tell whether an image is there with all its blobs; a put tells where one is believed."""
        uploads = [self._upload(destination, blob) for blob in manifest.blobs]
        present = [upload.result() for upload in uploads]
        if not present or not all(present) or self._kept.get(destination):
            return False
        return bool(destination.store.head(manifest.digest))

    def _put(self, destination: Destination, manifest: Manifest) -> None:
        self.cancel.check()
        uploads = [self._upload(destination, blob) for blob in manifest.blobs]
        for upload in uploads:
            upload.result()
        children = self._children(destination, manifest)
        since = self.clock() - FRESH
        for child in children:
            if self._read_back.get((destination, child.digest), 0.0) > since:
                continue
            if destination.store.head(child.digest) is None:  # taken away since it was put
                self._put_again(destination, child)
        try:
            destination.store.put_manifest(manifest)
        except problem.BlobsMissingError as error:  # registries lose blobs; they go out once more
            self._forget_uploads(destination, manifest)
            for child in children:
                self._put_again(destination, child)
            raise Transient(error) from error

    def _put_again(self, destination: Destination, manifest: Manifest) -> None:
        self._forget_uploads(destination, manifest)
        self._put(destination, manifest)

    def _forget_uploads(self, destination: Destination, manifest: Manifest) -> None:
        with self._lock:
            self._kept[destination] = frozenset()
            for blob in manifest.blobs:
                self._blobs.pop((destination, blob.digest), None)

    def _upload(self, destination: Destination, blob: Descriptor) -> Future[bool]:
        """Send a blob once, also when several images of this destination hold it.

        The result tells whether it was there already.
        """
        key = (destination, blob.digest)
        with self._lock:
            running = self._blobs.get(key)
            if running is None or (running.done() and running.exception() is not None):
                lane = self._lanes[destination.registry]
                self._blobs[key] = lane.uploads.submit(self._send, destination, blob)
            return self._blobs[key]

    def _send(self, destination: Destination, blob: Descriptor) -> bool:
        self.cancel.check()
        sink = destination.store
        if blob.digest in self._layers_before(destination) or sink.has_blob(blob):
            self.progress.present(destination, blob)
            return True
        self.progress.began(destination, blob)
        with self.source(destination.image).blob(blob) as content:
            sink.put_blob(
                blob, content, lambda count: self.progress.moved(destination, blob, count)
            )
        return False

    def _layers_before(self, destination: Destination) -> frozenset[Digest]:
        """Give the layers that a destination holds with an image from before, asked for once."""
        digest = self.before.get(destination.key)
        if digest is None:
            return frozenset()
        with self._turns[destination]:
            if destination not in self._kept:
                self._kept.setdefault(destination, self._layers_of(destination.store, digest))
            return self._kept[destination]

    def _layers_of(self, store: Store, digest: Digest) -> frozenset[Digest]:
        try:
            found = store.manifest(digest) if store.head(digest) else None
        except PodbuildError as error:  # nothing is wrong with what is to be published
            own_failure(error, self.cancel)
            return frozenset()
        return frozenset(layer.digest for layer in found.layers) if found else frozenset()


def raise_required(failed: Mapping[Destination, PodbuildError]) -> None:
    """Raise the failure of a required destination, if any, with the others as details."""
    required = [error for found, error in failed.items() if found.required]
    if not required:
        return
    first = required[0]
    others = {str(error): None for error in required if str(error) != str(first)}
    if others:
        first.details = (*first.details, "also:", *others)
    raise first
