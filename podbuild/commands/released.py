"""What a version or a tag is on every registry: one digest for each image, or it is said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from podbuild.commands.relocate import ask_each, by_image, plan_of, required_first
from podbuild.errors import VerificationError, VersionError
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import DOCKER_HUB, Digest, Platform, Tag
from podbuild.oci.store import Store
from podbuild.plan.destination import Destination, find_config
from podbuild.plan.git.history import Resolved, ci_facts, resolve_version
from podbuild.plan.git.worktree import NoFacts, read_facts
from podbuild.plan.model import Plan, PlannedImage, Request
from podbuild.plan.tags import owned_versions
from podbuild.report.json import Lock, LockedImage
from podbuild.semver import Version
from podbuild.workspace import Services


@dataclass(frozen=True, kw_only=True)
class HeldImage:
    """An image at one destination: its tag there, and what that names."""

    tag: Tag
    manifest: Manifest = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class ReleasedImage:
    """An image under one version or tag, and the stable version before, where one was asked for."""

    name: str
    held: Mapping[Destination, HeldImage] = field(hash=False)
    before: Manifest | None = field(default=None, repr=False)
    before_version: Version | None = None

    @property
    def digest(self) -> Digest:
        """Give what the tag names, the same everywhere."""
        return next(iter(self.held.values())).manifest.digest

    @property
    def tag(self) -> Tag:
        """Give the tag, as the first registry has it."""
        return next(iter(self.held.values())).tag

    @property
    def source(self) -> Destination:
        """Give where to read it from: a GET on Docker Hub counts as a pull."""
        others = (each for each in self.held if not each.store.name.startswith(f"{DOCKER_HUB}/"))
        return next(others, next(iter(self.held)))


def asked_version(services: Services, text: str | None) -> Resolved:
    """Give the version that is meant: the text's, else the one that a release here would have.

    Raises VersionError, and ConfigError where nothing tells it.
    """
    form = services.config.project.form
    facts = read_facts(services.runner, services.config.root)
    if text is None:
        return resolve_version(None, facts, ci_facts(services.environment), form)
    version = form.parse(text)
    known = {} if isinstance(facts, NoFacts) else facts.tags
    tags = sorted(tag for tag in known if form.read(tag) == version)
    usual = form.tag(version)
    tag = next((each for each in (text, usual, *tags) if each in tags), usual)
    return Resolved(version=version, tag=tag)


def released_version(
    services: Services, version: Version, request: Request
) -> tuple[ReleasedImage, ...]:
    """Give the images of a version, and what came before each; optional registries may be silent.

    Raises VersionError where no registry has it, VerificationError where they disagree, and what
    required registries raise.
    """
    plan = plan_of(services, request)
    found = tuple(_of_version(services, plan, version))
    if not found:
        raise VersionError(
            f"{version} is on none of the registries", hint="`podbuild release` puts it there"
        )
    _tell_of_absent(services, plan, found)
    return found


def released_tag(services: Services, tag: Tag, request: Request) -> tuple[ReleasedImage, ...]:
    """Give the images that a tag names; raises as `released_version` does."""
    found: list[ReleasedImage] = []
    plan = plan_of(services, request)
    for image, destinations in by_image(services, plan):
        answers, _ = ask_each(services, destinations, lambda each: each.store.manifest(tag))
        held = {
            each: HeldImage(tag=tag, manifest=named) for each, named in answers.items() if named
        }
        found += _agreed(services, image.name, held, destinations)
    if not found:
        raise VersionError(f"no registry has the tag {tag}", hint="check the tag")
    _tell_of_absent(services, plan, found)
    return tuple(found)


def _tell_of_absent(services: Services, plan: Plan, found: Iterable[ReleasedImage]) -> None:
    """Warn of images that only some others' name is known of; where all lack it, an error says."""
    known = {each.name for each in found}
    for image in plan.images:
        if image.published and image.name not in known:
            services.ui.warn(f"{image.name} is left out: no registry has it under that name")


def _of_version(services: Services, plan: Plan, version: Version) -> Iterator[ReleasedImage]:
    for image, destinations in by_image(services, plan):

        def ask(each: Destination, image: PlannedImage = image) -> Mapping[Version, Tag]:
            tags = tuple(each.store.tags())
            versions = owned_versions(tags, image.readers, plan.readers_beside(image.name))
            return {found: tag for tag, found in versions.items()}

        answers, _ = ask_each(services, destinations, ask)
        held: dict[Destination, HeldImage] = {}
        for each, versions in answers.items():
            manifest = each.store.manifest(versions[version]) if version in versions else None
            if manifest is not None:
                held[each] = HeldImage(tag=versions[version], manifest=manifest)
        for released in _agreed(services, image.name, held, destinations):
            yield _with_before(released, answers, version, plan.yanked)


def _agreed(
    services: Services,
    name: str,
    held: Mapping[Destination, HeldImage],
    destinations: tuple[Destination, ...],
) -> Iterator[ReleasedImage]:
    """Give the image where it is held; raises VerificationError for two digests of one tag."""
    if not held:
        return
    for each in destinations:
        if each not in held:
            services.ui.warn(f"{each} lacks it and is left out")
    if len({each.manifest.digest for each in held.values()}) > 1:
        differing = (
            f"{where.store.reference(each.tag)} names {each.manifest.digest}"
            for where, each in held.items()
        )
        raise VerificationError(
            f"{name} is not the same image on every registry",
            hint="`podbuild release` of that version puts right what differs",
            details=tuple(differing),
        )
    yield ReleasedImage(name=name, held=held)


def _with_before(
    released: ReleasedImage,
    answers: Mapping[Destination, Mapping[Version, Tag]],
    version: Version,
    yanked: frozenset[Version],
) -> ReleasedImage:
    """Add the highest stable version below that the first required registry holds."""
    first = required_first(answers)[0]
    lower = [
        each for each in answers[first] if each < version and each.is_stable and each not in yanked
    ]
    if not lower:
        return released
    before = max(lower)
    source = released.source if before in answers.get(released.source, {}) else first
    return ReleasedImage(
        name=released.name,
        held=released.held,
        before=source.store.manifest(answers[source][before]),
        before_version=before,
    )


def images_of(store: Store, manifest: Manifest) -> Mapping[Platform, Manifest]:
    """Give the manifest of each platform of an image or index.

    Raises VerificationError where one is missing.
    """
    if not manifest.is_index:
        only = Platform.from_json(find_config(store, manifest.config))
        return {only: manifest} if only else {}
    found = {}
    for child in manifest.children:
        if child.platform is None or not child.is_runnable:
            continue
        image = store.manifest(child.digest)
        if image is None:
            raise VerificationError(f"{store.reference(child.digest)} is missing")
        found[child.platform] = image
    return found


def lock_from(project: str, version: str, found: tuple[ReleasedImage, ...]) -> Lock:
    """Give the lock of what registries hold."""
    return Lock(
        project=project,
        version=version,
        images=tuple(
            LockedImage(
                name=each.name,
                tag=str(each.tag),
                digest=each.digest,
                platforms={
                    str(platform): image.digest
                    for platform, image in images_of(
                        each.source.store, each.held[each.source].manifest
                    ).items()
                },
                repositories={where.registry: where.store.name for where in each.held},
            )
            for each in found
        ),
    )
