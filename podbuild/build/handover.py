"""What goes from machine to machine: `dist/staging`, an OCI layout, and `dist/state.json`.

Each image of one platform is tagged `<name>-<platform>` there, what is published of an image
`<name>-index`, or `<name>-image` where it has no index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from pathlib import Path

from podbuild.build.model import BuildRecord
from podbuild.build.staging.area import Pool, Staging, repository_name
from podbuild.errors import PodbuildError, VerificationError
from podbuild.oci.layout import LayoutStore, placed_all, pushed_at, tag_of
from podbuild.oci.manifest import Descriptor, Manifest
from podbuild.oci.names import Digest, Platform, Tag
from podbuild.oci.store import copy_blob
from podbuild.plan.journal import Journal, Section
from podbuild.plan.model import Job
from podbuild.system.files import unwritable

FOLDER = "staging"
_LONGEST = 80  # characters of a repository's name; a tag has at most 128


def layout_of(folder: Path) -> LayoutStore:
    """Give the layout in an output folder."""
    return LayoutStore(path=folder / FOLDER)


def job_tag(job: Job) -> Tag:
    """Give the tag of one platform's image.

    >>> job_tag(Job("web", Platform("linux", "arm64")))
    Tag(text='web-linux-arm64')
    """
    return Tag(f"{repository_name(job.image, _LONGEST)}-{job.platform.slug}")


def image_tag(image: str, manifest: Manifest) -> Tag:
    """Give the tag of what is published of an image."""
    kind = "index" if manifest.is_index else "image"
    return Tag(f"{repository_name(image, _LONGEST)}-{kind}")


def hand_over(folder: Path, journal: Journal, staging: Staging, *, thin: bool = False) -> None:
    """Make `folder/staging` hold what a release has staged: links to the pool's files, else copies.

    Layers that are not in the pool lie in a registry and stay there; with `thin`, all do. What
    podbuild put there for another release goes; what others put there stays. Raises BuildError
    when no space is left, ConfigError when the folder can't be written.
    """
    layout, pool = layout_of(folder), staging.pool
    named = dict(_staged(journal, staging))
    if not named and not layout.path.exists():
        return
    try:
        with layout.editing() as entries:
            for manifest in named.values():
                for part in _parts(manifest, thin=thin):
                    if pool.size(part.digest) is not None:
                        layout.put_whole(part, pool.path(part.digest))
            before, entries[:] = list(entries), _entries(layout, entries, named)
            left = {layer.digest for each in named.values() for layer in each.layers if thin}
            _sweep(layout, pool, before, entries, left)
    except OSError as error:
        raise unwritable(layout.path, error) from error


def _parts(manifest: Manifest, *, thin: bool) -> tuple[Descriptor, ...]:
    blobs = manifest.blobs
    if thin:
        blobs = tuple(each for each in blobs if each not in manifest.layers)
    return (*blobs, manifest.descriptor)


@contextmanager
def handing_over(
    folder: Path,
    journal: Journal,
    staging: Staging,
    warn: Callable[[str], None],
    *,
    thin: bool = False,
) -> Iterator[None]:
    """Leave in the output folder what another machine needs, also when something fails."""
    try:
        yield
    except PodbuildError:
        try:
            hand_over(folder, journal, staging, thin=thin)
        except PodbuildError as problem:
            warn(problem.message)
        raise
    hand_over(folder, journal, staging, thin=thin)


def _staged(journal: Journal, staging: Staging) -> Iterator[tuple[Tag, Manifest]]:
    for key, value in journal.items(Section.BUILT):
        record = BuildRecord.from_json(value)
        manifest = staging.manifest(record.digest) if record else None
        if manifest is not None:
            image, _, platform = key.rpartition(" ")
            yield job_tag(Job(image, Platform.parse(platform))), manifest
    for image, _ in journal.items(Section.ASSEMBLED):
        digest = journal.digest(Section.ASSEMBLED, image)
        manifest = staging.manifest(digest) if digest else None
        if manifest is not None:
            yield image_tag(image, manifest), manifest


def _entries(
    layout: LayoutStore, entries: list[Descriptor], named: Mapping[Tag, Manifest]
) -> list[Descriptor]:
    """Keep other tools' entries, and the time of those that stay."""
    wanted = {(tag, manifest.digest) for tag, manifest in named.items()}
    kept = [
        each for each in entries if not pushed_at(each) or (tag_of(each), each.digest) in wanted
    ]
    descriptors = {tag: manifest.descriptor for tag, manifest in named.items()}
    kept = placed_all(kept, descriptors, layout.clock())
    return [each for each in kept if not pushed_at(each) or tag_of(each) in named]


def _sweep(
    layout: LayoutStore,
    pool: Pool,
    before: list[Descriptor],
    now: list[Descriptor],
    left: AbstractSet[Digest],
) -> None:
    """Remove the blobs that only dropped entries need, those of killed runs, and those `left`."""
    known: dict[Digest, Manifest | None] = {}  # most stand in both
    needed = _reached(layout, now, known) - left
    dropped = _reached(layout, before, known) - needed
    layout.sweep(needed, lambda found, _: found in dropped or pool.size(found) is not None)


def _reached(
    layout: LayoutStore, entries: Iterable[Descriptor], known: dict[Digest, Manifest | None]
) -> frozenset[Digest]:
    found: set[Digest] = set()
    waiting = list(entries)
    while waiting:
        entry = waiting.pop()
        if entry.digest not in found:
            found.add(entry.digest)
            with suppress(PodbuildError):
                if entry.digest not in known:
                    known[entry.digest] = layout.listed(entry)
                manifest = known[entry.digest]
                waiting += manifest.children if manifest else ()
                found |= {part.digest for part in manifest.blobs} if manifest else set()
    return frozenset(found)


def restock(folder: Path, journal: Journal, staging: Staging) -> None:
    """Stage again what this release has in `folder/staging`, where the cache has lost it.

    What is damaged or missing there is left out, so that it is made again.
    """
    layout = layout_of(folder)
    records = (BuildRecord.from_json(value) for _, value in journal.items(Section.BUILT))
    digests = [record.digest for record in records if record is not None]
    digests += [
        found
        for key, _ in journal.items(Section.ASSEMBLED)
        if (found := journal.digest(Section.ASSEMBLED, key))
    ]
    for digest in digests:
        with suppress(VerificationError):
            manifest = layout.manifest(digest)
            if manifest is not None:
                _copy(layout, staging, manifest)


def _copy(layout: LayoutStore, staging: Staging, manifest: Manifest) -> None:
    sink = staging.repository(FOLDER)
    for blob in manifest.blobs:
        if layout.has_blob(blob):
            copy_blob(layout, sink, blob)
    if sink.manifest(manifest.digest) is None:
        sink.put_manifest(manifest)
