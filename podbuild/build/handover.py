"""What goes from machine to machine: `dist/staging`, an OCI layout, and `dist/state.json`.

Each image of one platform is tagged `<name>-<platform>` there, what is published of an image
`<name>-index`, or `<name>-image` where it has no index.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from podbuild.build.model import BuildRecord, Origin
from podbuild.build.staging.area import Staging, repository_name, staged_tag
from podbuild.build.staging.pool import Pool
from podbuild.errors import ConfigError, PodbuildError, VerificationError
from podbuild.oci.blobs import CheckedFileBlob
from podbuild.oci.copy import copy_blob
from podbuild.oci.layout import LayoutStore, placed, pushed_at, tag_of
from podbuild.oci.manifest import Descriptor, Manifest
from podbuild.oci.names import Digest, Platform, Tag
from podbuild.oci.store import Store
from podbuild.plan.journal import NAME, Binding, Journal, Section, read_journal
from podbuild.plan.model import Job, Plan
from podbuild.semver import Version
from podbuild.system.files import unwritable, write_whole
from podbuild.system.records import JSONValue

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
    return Tag(f"{_name(job.image)}-{job.platform.slug}")


def image_tag(image: str, manifest: Manifest) -> Tag:
    """Give the tag of what is published of an image."""
    return Tag(f"{_name(image)}-{'index' if manifest.is_index else 'image'}")


def _name(image: str) -> str:
    name = repository_name(image)
    if len(name) <= _LONGEST:
        return name
    return f"image-{hashlib.sha256(image.encode()).hexdigest()[:12]}"


# Writing.


def hand_over(folder: Path, journal: Journal, staging: Staging) -> None:
    """Make `folder/staging` hold what a release has staged: links to the pool's files, else copies.

    Layers that are not in the pool lie in a registry and stay there. What podbuild put there
    for another release goes; what others put there stays. Raises BuildError when no space is
    left, ConfigError when the folder can't be written.
    """
    layout, pool = layout_of(folder), staging.pool
    named = dict(_staged(journal, staging))
    if not named and not layout.path.exists():
        return
    try:
        with layout.editing() as entries:
            for manifest in named.values():
                for part in (*manifest.blobs, manifest.descriptor):
                    _place(pool, layout, part)
            before, entries[:] = list(entries), _entries(layout, entries, named)
            _sweep(layout, pool, before, entries)
    except OSError as error:
        raise unwritable(layout.path, error) from error


@contextmanager
def handing_over(
    folder: Path, journal: Journal, staging: Staging, warn: Callable[[str], None]
) -> Iterator[None]:
    """Leave in the output folder what another machine needs, also when something fails."""
    try:
        yield
    except PodbuildError:
        try:
            hand_over(folder, journal, staging)
        except PodbuildError as problem:
            warn(problem.message)
        raise
    hand_over(folder, journal, staging)


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
    for tag, manifest in named.items():
        kept = placed(kept, manifest.descriptor, tag, layout.clock())
    return [each for each in kept if not pushed_at(each) or tag_of(each) in named]


def _place(pool: Pool, layout: LayoutStore, blob: Descriptor) -> None:
    source, target = pool.path(blob.digest), layout.blob_file(blob.digest)
    if pool.size(blob.digest) is None or _is_there(source, target):
        return
    part = target.with_name(f".{target.name}.{os.urandom(8).hex()}.part")
    try:
        os.link(source, part)
    except OSError:  # another file system, or one without links
        write_whole(target, CheckedFileBlob(source, blob).chunks())
    else:
        part.replace(target)


def _is_there(source: Path, target: Path) -> bool:
    """Tell whether a link, or a whole copy on another file system, stands there."""
    try:
        here, there = source.stat(), target.stat()
    except FileNotFoundError:
        return False
    if here.st_dev == there.st_dev:
        return here.st_ino == there.st_ino
    return here.st_size == there.st_size


def _sweep(
    layout: LayoutStore, pool: Pool, before: list[Descriptor], now: list[Descriptor]
) -> None:
    """Remove the blobs that only dropped entries need, and those of runs that were killed."""
    needed = _reached(layout, now)
    dropped = _reached(layout, before) - needed
    for file in (layout.path / "blobs" / "sha256").iterdir():
        with suppress(VerificationError):
            digest = Digest(f"sha256:{file.name}")
            ours = digest in dropped or pool.size(digest) is not None
            if ours and digest not in needed:
                file.unlink()


def _reached(layout: LayoutStore, entries: Iterable[Descriptor]) -> frozenset[Digest]:
    found: set[Digest] = set()
    waiting = [each.digest for each in entries]
    while waiting:
        digest = waiting.pop()
        if digest not in found:
            found.add(digest)
            with suppress(PodbuildError):
                manifest = layout.manifest(digest)
                waiting += [part.digest for part in manifest.children] if manifest else []
                found |= {part.digest for part in manifest.blobs} if manifest else set()
    return frozenset(found)


# Taking over.


@dataclass(frozen=True, kw_only=True)
class Handed:
    """One image for one platform that another machine staged in `folder`."""

    job: Job
    record: BuildRecord
    folder: Path
    provenance: JSONValue = None  # how it says that the image was made


def read_handed_over(folders: Iterable[Path], plan: Plan, here: Binding) -> tuple[Handed, ...]:
    """Give what output folders of other machines hold for a plan, nothing copied yet.

    Raises ConfigError for a folder of another release, commit or configuration, for one without
    staging, and for two that hold different images for one job.
    """
    found: dict[Job, Handed] = {}
    for folder in folders:
        for each in _read(folder, plan, here):
            other = found.setdefault(each.job, each)
            if other.record.digest != each.record.digest:
                raise ConfigError(
                    f"{each.job}: {other.folder} has {other.record.digest}, "
                    f"{folder} has {each.record.digest}",
                    hint="hand over one of them; only one machine should build a platform",
                )
    return tuple(found.values())


def _read(folder: Path, plan: Plan, here: Binding) -> Iterator[Handed]:
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder", hint="--from names existing folders")
    _refuse_links(folder)
    try:
        state = read_journal(folder / NAME)
    except ConfigError as error:
        raise ConfigError(error.message, hint="hand over the whole dist folder") from error
    if state is None or not (folder / FOLDER / "index.json").is_file():
        missing = NAME if state is None else f"{FOLDER}/index.json"
        raise ConfigError(
            f"{folder}: there is no {missing}",
            hint="--from takes the dist folder of `podbuild build`, or of `release --platform`",
        )
    differences = _differences(here, state.binding)
    if differences:
        raise ConfigError(
            f"{folder} belongs to another release: {'; '.join(differences)}",
            hint=_same(here, state.binding),
        )
    for job in plan.jobs:
        record = BuildRecord.from_json(state.sections[Section.BUILT].get(str(job)))
        if record is not None and plan.image(job.image).published:
            provenance = state.sections[Section.PROVENANCE].get(str(job))
            yield Handed(job=job, record=record, folder=folder, provenance=provenance)


def _refuse_links(folder: Path) -> None:
    """Refuse links that lead out: other machines' folders are read, and those of this one not."""
    walked = (
        Path(here, name)
        for here, folders, files in os.walk(folder / FOLDER)
        for name in (*folders, *files)
    )
    top = os.path.realpath(folder)
    for path in (folder / NAME, folder / FOLDER, *walked):
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(top):
            raise ConfigError(
                f"{path} is a link that leads out of the folder",
                hint="hand over the folder as podbuild made it",
            )


def _differences(here: Binding, there: Binding) -> tuple[str, ...]:
    """Name what differs; the engine that built may be another one.

    Where no version was known there, as without the git tag, and the configuration with all that
    it says of images is the same, no input uses the version.
    """
    if _is_unversioned(here, there) and there.configuration == here.configuration:
        there = replace(there, release=here.release)
    pairs = {
        "version": (there.release, here.release),
        "commit": (there.commit, here.commit),
        "configuration": (there.configuration, here.configuration),
    }
    return tuple(
        f"its {name} is {theirs or 'unknown'}, here it is {ours or 'unknown'}"
        for name, (theirs, ours) in pairs.items()
        if theirs != ours
    )


def _is_unversioned(here: Binding, there: Binding) -> bool:
    return Version.read(there.release) is None and Version.read(here.release) is not None


def _same(here: Binding, there: Binding) -> str:
    if _is_unversioned(here, there) and here.commit == there.commit:
        return f"an input uses the version: podbuild build --version {here.release}, there"
    return "build it from the same commit, version and configuration"


def take_over(
    handed: Iterable[Handed],
    journal: Journal,
    staging: Staging,
    elsewhere: Callable[[str], Store],
) -> None:
    """Stage what was handed over and record it; `elsewhere` has layers that registries keep.

    Raises ConfigError for what is incomplete, VerificationError for what is damaged.
    """
    records: dict[str, JSONValue] = {}
    provenance: dict[str, JSONValue] = {}
    for each in handed:
        _stage(each, staging, elsewhere(each.job.image))
        record = replace(each.record, origin=Origin.JOINED, folder=str(each.folder))
        records[str(each.job)] = record.to_json()
        if each.provenance is not None:
            provenance[str(each.job)] = each.provenance
    journal.record_all(Section.BUILT, records)
    journal.record_all(Section.PROVENANCE, provenance)


def _stage(handed: Handed, staging: Staging, elsewhere: Store) -> None:
    job, layout = handed.job, layout_of(handed.folder)
    manifest = layout.manifest(handed.record.digest)
    if manifest is None:
        raise _incomplete(handed, handed.record.digest)
    sink = staging.repository(repository_name(job.image))
    for blob in manifest.blobs:
        if layout.has_blob(blob):
            copy_blob(layout, sink, blob)
        elif not elsewhere.has_blob(blob):
            raise _incomplete(handed, blob.digest)
    sink.put_manifest(manifest, staged_tag(job))


def _incomplete(handed: Handed, digest: Digest) -> ConfigError:
    if handed.record.origin is Origin.REUSED:
        return ConfigError(
            f"{handed.folder}: {handed.job} is re-used from a registry that has lost {digest}",
            hint=f"build it again: podbuild build {handed.job.image} "
            f"--platform {handed.job.platform} --no-reuse",
        )
    return ConfigError(
        f"{handed.folder}: {handed.job} is incomplete, {digest} is missing",
        hint="hand over the whole dist folder",
    )


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
