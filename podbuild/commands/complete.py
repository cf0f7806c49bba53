"""`podbuild attest`: say of a published version what is not said of it yet.

`podbuild sbom`: which packages an image holds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from podbuild.build.engines import open_staging, source_of
from podbuild.build.model import BuildRecord
from podbuild.commands.attest import Attesting, check_signing, sbom_maker
from podbuild.commands.relocate import plan_of, required_first
from podbuild.commands.verify import tag_there
from podbuild.config.attest import SbomSource
from podbuild.errors import ConfigError, VersionError
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Platform, Tag
from podbuild.oci.store import Store
from podbuild.plan.destination import Destination, Planned, everywhere, open_destinations
from podbuild.plan.journal import NAME, Binding, Journal, Section, read_journal
from podbuild.plan.model import Job, PlannedImage, Request
from podbuild.publish.attach import Attached
from podbuild.system.records import JSONValue
from podbuild.workspace import Services


@dataclass(frozen=True, kw_only=True)
class Completed:
    """What is attached to the images of a version now, and who could not be asked."""

    attached: Attached
    images: dict[str, Manifest]


def attest_version(services: Services, request: Request, text: str) -> Completed:
    """Attach what is missing to what a version's tags name; what is there stays.

    Nobody knows any more how it was made: it gets an SBOM and a signature, no provenance. Raises
    ConfigError without [attest], CredentialError for a key that can't sign, VersionError where a
    registry lacks the version or holds another image, PublishError where attaching fails.
    """
    if services.config.attest is None:
        raise ConfigError(
            "the configuration has no [attest]: there is nothing to say of images",
            hint='such as [attest] with sign = { key = "env:COSIGN_PRIVATE_KEY" }',
        )
    version = services.config.project.form.find(text)
    plan = replace(plan_of(services, request), version=version)
    check_signing(services, plan)
    destinations = open_destinations(services.opener, plan)
    images = {}
    for image in plan.images:
        mine = tuple(each for each in destinations if each.image == image.name)
        if mine:
            images[image.name] = _published(services, mine, tag_there(services, text, image, mine))
    planned = Planned(plan=plan, destinations=destinations)
    journal = Journal(
        services.config.output / "relocation.json",
        Binding(release=f"attest {text}", commit="", configuration="", toolchain=""),
        {},
    )
    try:
        attesting = Attesting(
            services=services,
            planned=planned,
            source=source_of(planned, open_staging(services)),
            journal=journal,
        )
        attached = attesting.attach(images, destinations)
    finally:
        journal.path.unlink(missing_ok=True)
    return Completed(attached=attached, images=images)


def _published(services: Services, destinations: tuple[Destination, ...], tag: Tag) -> Manifest:
    """Give what a tag names, the same everywhere."""
    asking = everywhere(destinations, lambda each: each.store.manifest(tag), services.cancel)
    named = asking.found
    first = required_first(named)[0]
    top = named[first]
    for each, found in named.items():
        if top is None or found is None or found.digest != top.digest:
            lacks = each if found is None else None
            raise VersionError(
                f"{(lacks or first).store.reference(tag)} does not exist"
                if lacks or top is None
                else f"{each.store.reference(tag)} names {found and found.digest}, "
                f"{first.store.reference(tag)} {top.digest}",
                hint="`podbuild release` of that version puts the same image everywhere",
            )
    if top is None:
        raise VersionError(f"{first.store.reference(tag)} does not exist")
    return top


def print_sbom(
    services: Services, name: str, tag: str, platform: Platform | None
) -> dict[str, JSONValue]:
    """Give the SBOM of a published image, or without a tag of what is staged here.

    Raises ConfigError for an unknown image or platform, and where nothing is staged;
    VersionError where no registry has the tag.
    """
    services.config.image(name)
    plan = plan_of(services, Request(images=(name,)))
    image = plan.image(name)
    wanted = _platform(image, platform)
    destinations = open_destinations(services.opener, plan)
    planned = Planned(plan=plan, destinations=destinations)
    source = source_of(planned, open_staging(services))
    if tag:
        store, manifest = tagged_image(services, image, destinations, tag, wanted)
    else:
        store, manifest = source(name), staged_image(services, Job(name, wanted), source(name))
    maker = sbom_maker(services)
    if maker.source is SbomSource.OFF:
        maker = replace(maker, source=SbomSource.AUTO)
    return maker.document(f"{name} {wanted}", store, manifest)


def _platform(image: PlannedImage, asked: Platform | None) -> Platform:
    if asked is None and len(image.platforms) == 1:
        return image.platforms[0]
    if asked is None or asked not in image.platforms:
        what = f"{image.name} is not made for {asked}" if asked else f"{image.name}: which platform"
        known = ", ".join(map(str, image.platforms))
        raise ConfigError(what, hint=f"--platform, one of: {known}")
    return asked


def tagged_image(
    services: Services,
    image: PlannedImage,
    destinations: tuple[Destination, ...],
    text: str,
    platform: Platform,
) -> tuple[Store, Manifest]:
    """Give a platform's image of a tag, from the first registry that has it.

    Raises VersionError where none has it.
    """
    tag = tag_there(services, text, image, destinations)
    for each in required_first(destinations):
        found = each.store.manifest(tag)
        if found is not None:
            return each.store, _child(each.store, found, platform)
    names = ", ".join(each.store.name for each in destinations) or "none"
    raise VersionError(f"no registry has the tag {tag} (asked: {names})", hint="check the tag")


def _child(store: Store, manifest: Manifest, platform: Platform) -> Manifest:
    if not manifest.is_index:
        return manifest
    for child in manifest.children:
        content = store.manifest(child.digest) if child.platform == platform else None
        if content is not None:
            return content
    raise VersionError(f"{store.reference(manifest.digest)} has no image for {platform}")


def staged_image(services: Services, job: Job, store: Store) -> Manifest:
    """Give what is staged of a job; raises ConfigError where nothing is."""
    journal = read_journal(services.config.output / NAME)
    value = journal.sections[Section.BUILT].get(str(job)) if journal else None
    record = BuildRecord.from_json(value)
    found = store.manifest(record.digest) if record else None
    if found is None:
        raise ConfigError(
            f"{job} is not staged here", hint="build it first, or name a tag: IMAGE:TAG"
        )
    return found
