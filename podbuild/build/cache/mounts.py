"""Cache mounts between runners: a job's folder as an artifact beside its cached layers.

The files belong to ids of the user namespace, so they are listed, packed and unpacked inside it.
Nothing that fails here fails a build.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from podbuild.build.cache.archive import LARGEST, LOCKS, MOST_ENTRIES, rewrite
from podbuild.build.cache.job import JobCache
from podbuild.build.engine.session import Workplace
from podbuild.errors import PodbuildError
from podbuild.oci.manifest import Descriptor, Manifest
from podbuild.oci.names import Digest, Tag
from podbuild.oci.store import FileBlob, Store, put_artifact
from podbuild.plan.model import Job
from podbuild.system.files import file_digest, move

_KIND = "application/vnd.podbuild.cache.mounts.v1"
_LAYER = f"{_KIND}.tar+gzip"

Tell = Callable[[str], None]


def mounts_tag(image: str, slug: str) -> Tag:
    """Give the tag of an image's cache mounts for one platform."""
    return Tag(f"mounts-{slug}-{hashlib.sha256(image.encode()).hexdigest()[:12]}")


@contextmanager
def carried_mounts(
    workplace: Workplace, job: Job, cache: JobCache | None, warn: Tell
) -> Iterator[None]:
    """Bring a job's cache mounts here before it is built, and leave them there if it succeeds."""
    if cache is None or cache.mounts is None:
        yield
        return
    carrier = _Carrier(workplace, job, cache, cache.mounts)
    before = frozenset[str]()
    with _tolerated(f"{job}: its cache mounts were not fetched", warn):
        carrier.bring()
        before = carrier.listing()
    yield
    with _tolerated(f"{job}: its cache mounts are not carried on", warn):
        carrier.leave(before, warn)


@contextmanager
def _tolerated(what: str, warn: Tell) -> Iterator[None]:
    try:
        yield
    except (PodbuildError, OSError) as error:
        warn(f"{what}: {error}")


class _Carrier:
    """Carries one job's mounts."""

    def __init__(self, workplace: Workplace, job: Job, cache: JobCache, tag: Tag) -> None:
        self._workplace = workplace
        self._job = job
        self._cache = cache
        self._tag = tag
        self._folder = workplace.mounts(job)

    def bring(self) -> None:
        """Unpack what the registry has, where this machine has nothing yet."""
        if not self._cache.reads or any(self._folder.iterdir()):
            return
        found = self._cache.cached.remote.find(self._tag)
        if found is None or not _is_ours(found):
            return
        with self._workplace.aside(self._job) as aside:
            packed, clean, unpacked = aside / "came.tar.gz", aside / "clean.tar", aside / "mounts"
            with self._cache.cached.remote.store.blob(found.layers[0]) as source:
                _write(packed, source.chunks())
            rewrite(packed, clean)
            packed.unlink()
            unpacked.mkdir(mode=0o700)
            # As root of the namespace: owners and modes are kept.
            self._workplace.inside(
                "tar", "--extract", f"--file={clean}", f"--directory={unpacked}",
                "--numeric-owner", "--same-permissions",
            )  # fmt: skip
            move(unpacked, self._folder)  # only where it is still empty

    def leave(self, before: Collection[str], warn: Tell) -> None:
        """Pack and upload, in the background, what a build has changed."""
        after = self.listing()
        remote = self._cache.cached.remote
        if not self._cache.writes or not after or (after == before and self._tag in remote.known):
            return
        size, count = sum(int(line.split("|", 1)[0]) for line in after), len(after)
        if size > LARGEST or count > MOST_ENTRIES:
            much = f"{size >> 20} MiB" if size > LARGEST else f"{count} files"
            most = f"{LARGEST >> 20} MiB" if size > LARGEST else str(MOST_ENTRIES)
            warn(
                f"{self._job}: its cache mounts are not carried on: {much}, and {most} is the most"
            )
            return
        packed = self._workplace.scratch(f"{self._job.slug}-mounts.tar.gz")
        self._workplace.inside(
            "tar", "--create", "--gzip", f"--file={packed}", f"--directory={self._folder}",
            "--format=gnu", "--numeric-owner", "--one-file-system", f"--exclude=./{LOCKS}", ".",
        )  # fmt: skip
        remote.later(lambda store: _upload(store, packed, self._tag))

    def listing(self) -> frozenset[str]:
        """Give size, time, mode, owner and name of each file; nothing for an empty folder."""
        if not any(self._folder.iterdir()):
            return frozenset()
        each = r"%s|%T@|%m|%U|%G|%P\0"  # a name can hold whatever else there is
        found = self._workplace.inside("find", str(self._folder), "-mindepth", "1", "-printf", each)
        return frozenset(line for line in found.out.split("\0") if line)


def _is_ours(manifest: Manifest) -> bool:
    layers = manifest.layers
    return len(layers) == 1 and layers[0].media_type == _LAYER and layers[0].size <= LARGEST


def _write(path: Path, chunks: Iterator[bytes]) -> None:
    with path.open("wb") as file:
        for chunk in chunks:
            file.write(chunk)


def _upload(store: Store, packed: Path, tag: Tag) -> None:
    digest = Digest(f"sha256:{file_digest(packed)}")
    layer = Descriptor(media_type=_LAYER, digest=digest, size=packed.stat().st_size)
    if not store.has_blob(layer):
        store.put_blob(layer, FileBlob(packed))
    put_artifact(store, _KIND, layer, tag)
    packed.unlink()
