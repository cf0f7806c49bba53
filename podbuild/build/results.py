"""Which images need not be built: this release built them before, or their inputs are the same.

Three places are asked in turn: the journal of this release, this machine's records of results,
and the indexes that registries hold.

Find images that were built from the same inputs before, on any machine.

The input hash of each platform stands on the published index, or as a label on a single-platform
image (design, invariant 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field, replace
from functools import cached_property
from pathlib import Path

from podbuild.build.attest import vouched
from podbuild.build.model import BuildRecord, BuiltImage, InputHash, Known, Origin
from podbuild.build.staging.area import Staging, repository_name, staged_tag
from podbuild.config.toml import shown
from podbuild.errors import PodbuildError
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest, Platform, Tag
from podbuild.oci.store import Store, copy_blob
from podbuild.plan.destination import Destination, Planned, said_of
from podbuild.plan.journal import Journal, Section
from podbuild.plan.labels import inputs_of
from podbuild.plan.model import Job, Plan, by_image
from podbuild.system.files import write_atomically
from podbuild.system.later import dataclass
from podbuild.workspace import Services

Vouches = Callable[[Store, Digest], bool]
_TAGS_READ = 3  # per repository: what moving tags name, and the version before


def everybody(_store: Store, _digest: Digest) -> bool:
    """Believe what registries say of themselves: without signatures there is nobody to ask."""
    return True


def vouches_of(services: Services) -> Vouches:
    """Give who is asked, by the configuration, whether an index is one of a release's."""
    attest = services.config.attest
    if attest is None or attest.sign is None:
        return everybody
    return vouched.Vouched.by(services, attest.sign)


@dataclass(frozen=True, kw_only=True)
class EarlierImage:
    """A platform's image of an earlier release, and a repository that holds it."""

    manifest: Manifest = field(repr=False)
    store: Store = field(repr=False)
    reference: str


@dataclass(frozen=True)
class Earlier:
    """Earlier results of one image, found one by one as they are asked for.

    `results` gives input hashes, and where to find the image: store, digest, reference.
    """

    results: Iterator[tuple[str, tuple[Store, Digest, str]]]
    stores: tuple[Store, ...]  # all that the image goes to
    _found: dict[str, tuple[Store, Digest, str]] = field(default_factory=dict)

    def image(self, inputs: str) -> EarlierImage | None:
        """Give the image with these inputs, if it can still be had where it was found."""
        while inputs not in self._found:
            found = next(self.results, None)
            if found is None:
                return None
            self._found.setdefault(*found)
        store, digest, reference = self._found[inputs]
        try:
            manifest = store.manifest(digest)
            if manifest is None or not self._is_whole(store, manifest):
                return None
        except PodbuildError:
            return None
        return EarlierImage(manifest=manifest, store=store, reference=reference)

    def _is_whole(self, store: Store, manifest: Manifest) -> bool:
        """Ask for the blobs only where they must be copied from: another store lacks the image."""
        others = (each for each in self.stores if each is not store)
        return all(each.head(manifest.digest) for each in others) or all(
            map(store.has_blob, manifest.blobs)
        )


def earlier_results(
    destinations: Iterable[Destination],
    tags: Mapping[str, Iterable[Tag]],
    platforms: Iterable[Platform],
    vouches: Vouches = everybody,
) -> Earlier:
    """Give what earlier releases of one image left, by input hash.

    `tags` are those worth reading, by `Destination.key`. A registry that can't be read has
    nothing to offer, nor has an optional one beside required ones: what it says of itself is not
    carried to these.
    """
    wanted, every = tuple(platforms), tuple(destinations)
    asked = tuple(each for each in every if each.required) or every
    results = (
        (inputs, (destination.store, digest, destination.store.reference(tag)))
        for destination in asked
        for tag in tuple(tags.get(destination.key, ()))[:_TAGS_READ]
        for inputs, digest in _inputs(destination.store, tag, wanted, vouches)
    )
    return Earlier(results, tuple(each.store for each in every))


def _inputs(
    store: Store, tag: Tag, platforms: tuple[Platform, ...], vouches: Vouches
) -> Iterator[tuple[str, Digest]]:
    try:
        manifest = store.manifest(tag)
        said = said_of(store, manifest) if manifest else {}
    except PodbuildError:
        return
    if manifest is None or not vouches(store, manifest.digest):
        return
    children = {child.platform: child.digest for child in manifest.children}
    for platform in platforms:
        inputs = said.get(inputs_of(platform))
        digest = children.get(platform) if manifest.is_index else manifest.digest
        if inputs and digest:
            yield inputs, digest


def recorded(
    plan: Plan, journal: Journal, staging: Staging
) -> Iterator[tuple[Job, BuildRecord, Known]]:
    """Give what the journal says of images to publish that are staged, whatever their inputs."""
    for job in plan.jobs:
        record = BuildRecord.from_json(journal.get(Section.BUILT, str(job)))
        if record is None or not plan.image(job.image).published:
            continue
        store = staging.repository(repository_name(job.image))
        manifest = store.manifest(record.digest)
        if manifest is None or manifest.config is None or not store.has_blob(manifest.config):
            continue
        store.put_manifest(manifest, staged_tag(job))
        joined = record.origin is Origin.JOINED
        here = shown(Path(record.folder))
        reason = f"handed over in {here}" if joined else "built before by this release"
        yield job, record, Known(manifest=manifest, reason=reason)


@dataclass(frozen=True, kw_only=True)
class Results:
    """Knows results by input hash. `folder` holds this machine's records."""

    planned: Planned
    journal: Journal
    staging: Staging
    folder: Path
    hashes: Mapping[Job, InputHash]
    reuse: bool  # False: only what this release has built itself
    vouches: Vouches = everybody  # who is asked whether a registry's index is a release's
    _earlier: dict[str, Earlier] = field(default_factory=dict)

    @cached_property
    def known(self) -> Mapping[Job, Known]:
        """Give every job whose result is known and complete."""
        found = {job: self.find(job) for job in self.planned.plan.jobs}
        return {job: known for job, known in found.items() if known is not None}

    def remember(self, built: BuiltImage) -> None:
        """Record a result, for this release and for later ones."""
        inputs = self.hashes[built.job]
        record = self._recording(built, Origin.BUILT)
        self.journal.record(Section.BUILT, str(built.job), record.to_json())
        if inputs.reusable:
            write_atomically(self._record(inputs), str(record.digest).encode())

    def remember_reused(self, images: Iterable[BuiltImage]) -> None:
        """Record what was not built, so that a machine it is handed to knows it too."""
        self.journal.record_all(
            Section.BUILT,
            {
                str(each.job): self._recording(each, self._origin(each)).to_json()
                for each in images
                if each.reused and not self._is_recorded(each)
            },
        )

    def _recording(self, image: BuiltImage, origin: Origin) -> BuildRecord:
        return BuildRecord(
            digest=image.manifest.digest,
            inputs=self.hashes[image.job],
            origin=origin,
            dirty=self.planned.plan.source.dirty,
            asked=image.job.image in self._asked,
        )

    @property
    def _asked(self) -> frozenset[str]:
        """Give the images that are wanted for themselves."""
        plan = self.planned.plan
        return frozenset(plan.request.images or (image.name for image in plan.images))

    def _origin(self, image: BuiltImage) -> Origin:
        """Tell whether this release has made it itself, maybe from a tree with other changes."""
        record = BuildRecord.from_json(self.journal.get(Section.BUILT, str(image.job)))
        mine = record is not None and record.digest == image.manifest.digest
        return record.origin if record and mine else Origin.REUSED

    def _is_recorded(self, image: BuiltImage) -> bool:
        record = BuildRecord.from_json(self.journal.get(Section.BUILT, str(image.job)))
        now = self._recording(image, record.origin if record else Origin.REUSED)
        return record is not None and replace(record, folder="") == now

    def find(self, job: Job) -> Known | None:
        """Give a job's result, where one is known and complete."""
        record = BuildRecord.from_json(self.journal.get(Section.BUILT, str(job)))
        inputs = self.hashes[job]
        mine = record is not None and record.inputs.text == inputs.text
        if record and mine and (self.reuse or record.origin is Origin.BUILT):
            manifest = self._staged(job, record.digest)
            if manifest is not None:
                return Known(manifest=manifest, reason="built before by this release")
        if not self.reuse or not inputs.reusable:
            return None
        return self._recorded(job) or self._published(job)

    def _recorded(self, job: Job) -> Known | None:
        try:
            digest = Digest(self._record(self.hashes[job]).read_text())
        except (OSError, PodbuildError):
            return None
        manifest = self._staged(job, digest)
        return Known(manifest=manifest, reason="unchanged, built here before") if manifest else None

    def _published(self, job: Job) -> Known | None:
        """Take what a registry holds: its layers stay there, the engine needs its config only."""
        found = self._earlier_of(job.image).image(self.hashes[job].text)
        if found is None:
            return None
        sink = self.staging.repository(repository_name(job.image))
        try:
            if found.manifest.config is not None:
                copy_blob(found.store, sink, found.manifest.config)
            sink.put_manifest(found.manifest, staged_tag(job))
        except PodbuildError:
            return None
        reason = f"unchanged since {found.reference}"
        return Known(manifest=found.manifest, reason=reason, made_here=False)

    @cached_property
    def _destinations(self) -> Mapping[str, tuple[Destination, ...]]:
        return by_image(self.planned.destinations)

    def _earlier_of(self, image: str) -> Earlier:
        if image not in self._earlier:
            planned = self.planned
            self._earlier[image] = earlier_results(
                self._destinations.get(image, ()),
                planned.earlier,
                planned.plan.image(image).platforms,
                self.vouches,
            )
        return self._earlier[image]

    def _staged(self, job: Job, digest: Digest) -> Manifest | None:
        store = self.staging.repository(repository_name(job.image))
        manifest = store.manifest(digest)
        if manifest is None or not all(map(store.has_blob, manifest.blobs)):
            return None
        store.put_manifest(manifest, staged_tag(job))
        return manifest

    def _record(self, inputs: InputHash) -> Path:
        return self.folder / inputs.text.removeprefix("sha256:")


def jobs_to_do(plan: Plan, known: Iterable[Job]) -> tuple[Job, ...]:
    """Give the jobs that count: published ones, and what must be built for those not known."""
    have = frozenset(known)
    published = {image.name for image in plan.images if image.published}
    asked = set(plan.request.images)
    wanted = {job for job in plan.jobs if job.image in published or job.image in asked}
    if not wanted:
        return plan.jobs
    for job in reversed(plan.jobs):
        if job in wanted and job not in have:
            wanted.update(plan.needs[job])
    return tuple(job for job in plan.jobs if job in wanted)
