"""Images to look into: what is staged here, or what a tag names on a registry.

Nothing but layers and configs is read, each layer once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from podbuild.build.engines import open_staging, source_of
from podbuild.build.examine.anatomy import Anatomy, anatomy_of
from podbuild.build.examine.blame import steps_of
from podbuild.build.model import BuildRecord
from podbuild.build.staging.area import repository_name
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.commands.attest import examiner_of
from podbuild.commands.relocate import plan_of, required_first
from podbuild.commands.verify import tag_there
from podbuild.errors import ConfigError, VersionError
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest, Platform
from podbuild.oci.store import Store
from podbuild.plan.destination import Destination, Planned, open_destinations
from podbuild.plan.journal import NAME, Section, read_journal
from podbuild.plan.model import Job, Plan, PlannedImage, Request
from podbuild.workspace import Services

_DIGEST = re.compile(r"(?:.*@)?(sha256:[0-9a-f]{64})")


@dataclass(frozen=True, kw_only=True)
class Looked:
    """One platform's image: where its bytes are, and how people name it."""

    job: Job
    store: Store = field(repr=False)
    manifest: Manifest = field(repr=False)
    reference: str


@dataclass(frozen=True, kw_only=True)
class Looking:
    """Finds images of a project and reads them. `tag` empty: what is staged here.

    A tag is a version, a tag, REPOSITORY:TAG or a digest; REPOSITORY must be of this project.
    """

    services: Services
    plan: Plan
    destinations: tuple[Destination, ...]

    @classmethod
    def at(cls, services: Services, images: tuple[str, ...]) -> Looking:
        """Open what is needed; raises ConfigError for an unknown image."""
        for name in images:
            services.config.image(name)
        plan = plan_of(services, Request(images=images))
        return cls(
            services=services, plan=plan, destinations=open_destinations(services.opener, plan)
        )

    def images(self, tag: str, platforms: tuple[Platform, ...]) -> tuple[Looked, ...]:
        """Give the images, sorted as configured.

        Raises ConfigError where nothing is staged or a platform is not built, VersionError where
        no registry has the tag.
        """
        wanted = [each for each in self.plan.images if each.published]
        found = [
            each
            for image in wanted
            for each in (self._tagged(image, tag) if tag else self._staged(image))
        ]
        left = [each for each in found if not platforms or each.job.platform in platforms]
        if not left:
            raise ConfigError(self._nothing(found, platforms), hint=self._hint(tag))
        return tuple(left)

    def anatomy(self, each: Looked) -> Anatomy:
        """Read one image; raises what reading its layers and its Containerfile raises."""
        planned = self.plan.image(each.job.image)
        build = Platform("linux", native_architecture())
        steps = steps_of(self.plan, planned, each.job.platform, build)
        named = (each.job.image, each.job.platform)
        return anatomy_of(examiner_of(self.services), each.store, each.manifest, named, steps)

    def _nothing(self, found: list[Looked], platforms: tuple[Platform, ...]) -> str:
        if found:
            known = ", ".join(sorted({str(each.job.platform) for each in found}))
            return f"no image for {', '.join(map(str, platforms))} (there are: {known})"
        return "nothing is staged here"

    def _hint(self, tag: str) -> str:
        return "" if tag else "podbuild build, or --tag for what is published"

    def _staged(self, image: PlannedImage) -> Iterator[Looked]:
        journal = read_journal(self.services.config.output / NAME)
        known = journal.sections[Section.BUILT] if journal else {}
        store = open_staging(self.services).repository(repository_name(image.name))
        for platform in image.platforms:
            job = Job(image.name, platform)
            record = BuildRecord.from_json(known.get(str(job)))
            manifest = store.manifest(record.digest) if record else None
            if manifest is not None and all(map(store.has_blob, manifest.layers)):
                yield Looked(job=job, store=store, manifest=manifest, reference=str(job))

    def _tagged(self, image: PlannedImage, text: str) -> Iterator[Looked]:
        mine = [each for each in self.destinations if each.image == image.name]
        repository, tag = _split(text)
        if repository:
            mine = [each for each in mine if each.store.name == repository]
            if not mine and len(self.plan.images) == 1:
                raise ConfigError(
                    f"{repository} is not where {image.name!r} is published",
                    hint="a tag or version alone, or one of its own repositories",
                )
        destination, top = self._named(image, tuple(mine), tag)
        if top is None or destination is None:
            if repository and not mine:
                return  # another image's
            names = ", ".join(each.store.name for each in mine) or "none"
            raise VersionError(
                f"no registry has {image.name}:{tag} (asked: {names})", hint="check the tag"
            )
        store = source_of(
            Planned(plan=self.plan, destinations=(destination,)), open_staging(self.services)
        )(image.name)
        for platform, child in _children(destination.store, top, image):
            yield Looked(
                job=Job(image.name, platform),
                store=store,
                manifest=child,
                reference=f"{destination.store.reference(child.digest)}",
            )

    def _named(
        self, image: PlannedImage, mine: tuple[Destination, ...], text: str
    ) -> tuple[Destination | None, Manifest | None]:
        found = _DIGEST.fullmatch(text)
        name = Digest(found[1]) if found else tag_there(self.services, text, image, mine)
        for each in required_first(mine):
            manifest = each.store.manifest(name)
            if manifest is not None:
                return each, manifest
        return None, None


def _split(text: str) -> tuple[str, str]:
    """Give repository and tag or digest of a reference; a tag alone has no repository.

    >>> _split("ghcr.io/acme/web:1.2"), _split("1.2"), _split("oci:dist/registry/web:1")
    (('ghcr.io/acme/web', '1.2'), ('', '1.2'), ('oci:dist/registry/web', '1'))
    """
    if found := _DIGEST.fullmatch(text):
        return text.removesuffix(found[1]).rstrip("@"), found[1]
    repository, _, tag = text.rpartition(":")
    return (repository, tag) if "/" in repository else ("", text)


def _children(
    store: Store, manifest: Manifest, image: PlannedImage
) -> Iterator[tuple[Platform, Manifest]]:
    if not manifest.is_index:
        yield image.platforms[0], manifest
        return
    for child in manifest.children:
        content = store.manifest(child.digest) if child.is_runnable else None
        if content is not None and child.platform is not None:
            yield child.platform, content
