"""What is said of each published image and index, made only where it is not there yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from podbuild.build.attest.embedded import reproducible
from podbuild.build.attest.provenance import Builder, Making, image_provenance, index_provenance
from podbuild.build.attest.sbom import SBOM_TYPES, SbomMaker
from podbuild.build.model import BuildRecord
from podbuild.config.attest import Attest, Placement, SbomSource
from podbuild.errors import PublishError
from podbuild.oci.manifest import Descriptor, Manifest
from podbuild.oci.names import Digest, Platform
from podbuild.oci.statements import (
    ORIGIN_BUILT,
    PROVENANCE,
    SIGNATURE,
    VEX,
    Described,
    Statement,
    statement,
)
from podbuild.oci.store import Store
from podbuild.plan.destination import Planned
from podbuild.plan.journal import Journal, Section
from podbuild.plan.model import Job
from podbuild.system.records import JSONValue

if TYPE_CHECKING:  # what builds costs time
    from podbuild.build.engines import Engines
    from podbuild.build.model import Staged
    from podbuild.build.resolve import Inputs


def remember_making(planned: Planned, staged: Staged, inputs: Inputs, engines: Engines) -> None:
    """Keep how each image was made that this machine made, where provenance is asked for.

    What was recorded of the same image stays: a run that continues did not make it again.
    """
    services, journal = engines.services, engines.journal
    attest = services.config.attest
    if attest is None or not attest.provenance:
        return
    manifests = {job: each.manifest for job, each in staged.images.items()}
    found: dict[str, JSONValue] = {}
    for job, each in staged.images.items():
        known = journal.get(Section.PROVENANCE, str(job))
        if _recorded(known, each.manifest.digest) is not None:
            continue
        if not each.made_here and attest.placement is not Placement.INDEX:
            continue
        making = Making(
            recipe=inputs.recipes[job],
            inputs=inputs.hashes[job].text,
            engine=str(engines.toolchain().engine),
            inner=manifests,
            here=not each.reused,
        )
        builder = Builder.of(services.environment)
        predicate = image_provenance(planned, services.config.project.source, builder, making)
        record: dict[str, JSONValue] = {"digest": str(each.manifest.digest)}
        if each.made_here:  # nobody claims what another machine did
            record["predicate"] = predicate
        if attest.placement is Placement.INDEX:
            record["embedded"] = reproducible(predicate)
        found[str(job)] = record
    journal.record_all(Section.PROVENANCE, found)


def _recorded(value: JSONValue, digest: Digest) -> dict[str, JSONValue] | None:
    match value:
        case {"digest": str(text), "predicate": dict(predicate)} if text == str(digest):
            return predicate
        case _:
            return None


@dataclass(frozen=True, kw_only=True)
class Describer:
    """Says what there is to say of published images.

    Without a journal, nobody knows here how they were made.
    """

    settings: Attest
    source: Callable[[str], Store]  # where an image's bytes are
    maker: SbomMaker
    vex: Mapping[str, dict[str, JSONValue]]  # by image
    planned: Planned
    project: str = ""  # the URL of its source
    builder: Builder = field(default_factory=Builder)
    journal: Journal | None = None

    def subjects(self, images: Mapping[str, Manifest]) -> Iterator[Described]:
        """Give all subjects of these images, by name: children before their index.

        Raises PublishError for a child that is gone.
        """
        for name, manifest in images.items():
            if not manifest.is_index:
                platform = self._platform(name, manifest)
                yield self._image(name, platform, manifest)
                continue
            children = [child for child in manifest.children if child.is_runnable]
            contents = {child.digest: self._child(name, child) for child in children}
            for child in children:
                yield self._image(name, child.platform, contents[child.digest])
            yield self._index(name, manifest, children, contents)

    def _child(self, name: str, child: Descriptor) -> Manifest:
        content = self.source(name).manifest(child.digest)
        if content is None:
            raise PublishError(f"{name}: {child.digest} is gone", hint="run the same command again")
        return content

    def _platform(self, name: str, manifest: Manifest) -> Platform | None:
        platforms = self.planned.plan.image(name).platforms
        if len(platforms) == 1:
            return platforms[0]
        config = manifest.config
        return config.platform if config else None

    def _image(self, image: str, platform: Platform | None, manifest: Manifest) -> Described:
        name = f"{image} {platform}" if platform else image
        digest = manifest.digest
        found = self._own(image, name, digest)
        if self.settings.sbom is not SbomSource.OFF:
            kind, source = SBOM_TYPES[self.maker.form], self.source(image)
            found[kind] = lambda: statement(
                name, digest, kind, self.maker.document(name, source, manifest)
            )
        made = self._made(image, platform, manifest)
        if made is not None:
            predicate = made
            found[PROVENANCE] = lambda: statement(name, digest, PROVENANCE, predicate)
        return Described(image=image, name=name, manifest=manifest, statements=found)

    def _index(
        self,
        image: str,
        index: Manifest,
        children: list[Descriptor],
        contents: Mapping[Digest, Manifest],
    ) -> Described:
        found = self._own(image, image, index.digest)
        if self.settings.provenance and self._is_assembled(image, index):
            origins = [
                (
                    str(child.platform),
                    child.digest,
                    self._origin(image, child, contents[child.digest]),
                )
                for child in children
            ]
            predicate = index_provenance(self.planned, self.project, self.builder, image, origins)
            found[PROVENANCE] = lambda: statement(image, index.digest, PROVENANCE, predicate)
        return Described(image=image, name=image, manifest=index, statements=found)

    def _own(self, image: str, name: str, digest: Digest) -> dict[str, Callable[[], Statement]]:
        """Give what is said of images and indexes alike."""
        found: dict[str, Callable[[], Statement]] = {}
        if self.settings.sign is not None:
            found[SIGNATURE] = lambda: statement(name, digest, SIGNATURE, {})
        if image in self.vex:
            document = self.vex[image]
            found[VEX] = lambda: statement(name, digest, VEX, document)
        return found

    def _made(
        self, image: str, platform: Platform | None, manifest: Manifest
    ) -> dict[str, JSONValue] | None:
        """Give how an image was made, where that is known; a plain one was stamped after it."""
        if platform is None or self.journal is None or not self.settings.provenance:
            return None
        job, digest = Job(image, platform), manifest.digest
        if self._is_assembled(image, manifest):
            built = BuildRecord.from_json(self.journal.get(Section.BUILT, str(job)))
            digest = built.digest if built else digest
        return _recorded(self.journal.get(Section.PROVENANCE, str(job)), digest)

    def _is_assembled(self, image: str, manifest: Manifest) -> bool:
        """Tell whether this release has made what is published of an image."""
        if self.journal is None:
            return False
        return self.journal.digest(Section.ASSEMBLED, image) == manifest.digest

    def _origin(self, image: str, child: Descriptor, manifest: Manifest) -> str:
        known = self._made(image, child.platform, manifest) is not None
        return ORIGIN_BUILT if known else "re-used"
