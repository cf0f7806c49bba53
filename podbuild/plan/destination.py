"""Where a plan publishes: one image on one registry, opened; and what the registries hold already.

That is all tags, and what those say that the plan writes: a tag stands for a commit, a version, a
configuration and platforms. A plan and all the facts that it rests on are what every step takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import field
from typing import Generic, TypeVar

from podbuild.errors import ConfigError, PodbuildError, PublishError, VerificationError
from podbuild.oci.manifest import Descriptor, Manifest
from podbuild.oci.names import Digest, Platform, RegistryKind, Tag
from podbuild.oci.store import Store, read_blob
from podbuild.plan import labels
from podbuild.plan.decide import Held, Standing
from podbuild.plan.guards import Ancestry, RemoteTag
from podbuild.plan.journal import Binding, TagKey
from podbuild.plan.model import Plan, Target
from podbuild.semver import Version
from podbuild.system.cancel import Cancel
from podbuild.system.later import dataclass
from podbuild.system.records import JSONValue, document_of, string_map
from podbuild.workspace import Opener

ASKED_AT_ONCE = 8

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Destination:
    """One image on one registry, with the open store behind it."""

    image: str
    registry: str
    required: bool
    store: Store = field(compare=False, repr=False)

    @property
    def key(self) -> str:
        """Give the name that the journal and the reports use."""
        return f"{self.registry}/{self.image}"

    def __str__(self) -> str:
        return self.store.name


def open_destinations(opener: Opener, plan: Plan) -> tuple[Destination, ...]:
    """Open the store of every target of a plan, in the plan's order."""
    return tuple(
        Destination(
            image=target.image,
            registry=target.registry.name,
            required=target.registry.required,
            store=opener.open(target.registry, target.place),
        )
        for target in plan.targets
    )


def own_failure(error: PodbuildError, cancel: Cancel) -> PodbuildError:
    """Give an error that is a registry's own; raises the stop that it comes from.

    What a stop breaks off may fail in any way: a login's helper that the same ^C has ended.
    """
    if error.is_stop:
        raise error
    cancel.check()
    return error


def failures(
    work: Mapping[Future[T], Destination], cancel: Cancel
) -> dict[Destination, PodbuildError]:
    """Wait for work at destinations, and give what failed there; raises a stop."""
    failed: dict[Destination, PodbuildError] = {}
    stops = []
    for future, destination in work.items():
        try:
            future.result()
        except PodbuildError as error:
            failed.setdefault(destination, error)
            stops += [error] if error.is_stop else []
    for each in (*stops, *failed.values()):
        own_failure(each, cancel)
    return failed


@dataclass(frozen=True)
class Replies(Generic[T]):
    """What each destination said, or why it said nothing, in the order in which they were named."""

    found: Mapping[Destination, T]
    failed: Mapping[Destination, PodbuildError]


def ask_all(
    destinations: Iterable[Destination],
    ask: Callable[[Destination], T],
    cancel: Cancel,
    *,
    at_once: int = ASKED_AT_ONCE,
) -> Replies[T]:
    """Ask every destination, several at once. A stop is nobody's silence: it is raised."""

    def one(destination: Destination) -> T:
        cancel.check()
        return ask(destination)

    asked = cancel.passing_on(one)  # what finishes after a stop is asked after it too
    with ThreadPoolExecutor(at_once, thread_name_prefix="ask") as pool:
        work = {pool.submit(asked, each): each for each in destinations}
        failed = failures(work, cancel)
    found = {each: future.result() for future, each in work.items() if each not in failed}
    return Replies(found, failed)


def everywhere(
    destinations: Iterable[Destination],
    ask: Callable[[Destination], T],
    cancel: Cancel,
    *,
    at_once: int = ASKED_AT_ONCE,
) -> Replies[T]:
    """Ask every destination; only optional ones may fail.

    Raises a stop, and the first of what required destinations raise.
    """
    answers = ask_all(destinations, ask, cancel, at_once=at_once)
    for destination, error in answers.failed.items():
        if destination.required:
            raise error
    return answers


def remote_tag(store: Store, tag: Tag) -> RemoteTag | None:
    """Give what a tag names now and what that says of itself; None where there is no such tag.

    Raises what the store raises.
    """
    manifest = store.manifest(tag)
    return None if manifest is None else read_remote(store, tag, manifest)


def read_remote(store: Store, tag: Tag, manifest: Manifest) -> RemoteTag:
    """Give what a manifest says of itself: on the index, else in a child's config."""
    said = said_of(store, manifest)
    platforms = _platforms(store, manifest)
    sources = {each: said.get(labels.sources_of(each), "") for each in platforms}
    return RemoteTag(
        tag=tag,
        digest=manifest.digest,
        revision=said.get(labels.REVISION, ""),
        version=Version.read(said.get(labels.VERSION, "")),
        fingerprint=said.get(labels.CONFIGURATION, ""),
        platforms=platforms,
        dirty=said.get(labels.DIRTY) == labels.TRUE,
        sources=sources,
        children=frozenset(child.digest for child in manifest.children),
    )


def version_of(store: Store, manifest: Manifest) -> Version | None:
    """Give the version that a manifest says it is; None where it says none."""
    return Version.read(said_of(store, manifest).get(labels.VERSION, ""))


def said_of(store: Store, manifest: Manifest) -> Mapping[str, str]:
    """Give the annotations of an index or image, completed by the labels of an image's config."""
    if labels.REVISION in manifest.annotations:
        return manifest.annotations
    image = manifest
    if manifest.is_index:
        first = next((child for child in manifest.children if child.is_runnable), None)
        found = store.manifest(first.digest) if first else None
        if found is None or found.is_index:
            return manifest.annotations
        image = found
    return {**config_labels(store, image.config), **image.annotations, **manifest.annotations}


def revision_of(store: Store, manifest: Manifest) -> str:
    """Give the commit that a manifest was made from; empty where it does not say."""
    return said_of(store, manifest).get(labels.REVISION, "")


def config_labels(store: Store, config: Descriptor | None) -> Mapping[str, str]:
    """Give the labels of an image's config; none where it can't be read as one."""
    match find_config(store, config):
        case {"config": {"Labels": found}}:
            return string_map(found)
        case _:
            return {}


def find_config(store: Store, config: Descriptor | None) -> JSONValue:
    """Give an image's config as JSON; None where it is none, or is not there.

    A registry that can't be asked raises: what is unknown then must not count as nothing.
    """
    if config is None:
        return None
    try:
        return document_of(read_blob(store, config))
    except VerificationError:
        return None
    except PublishError:
        if store.has_blob(config):
            raise
        return None


def _platforms(store: Store, manifest: Manifest) -> frozenset[Platform]:
    if manifest.is_index:
        named = (child.platform for child in manifest.children if child.is_runnable)
        return frozenset(platform for platform in named if platform)
    only = Platform.from_json(find_config(store, manifest.config))
    return frozenset((only,)) if only else frozenset()


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What each target holds, by its key; optional registries that could not be asked apart."""

    facts: Mapping[str, Held]
    silent: Mapping[Destination, PodbuildError]


def survey(plan: Plan, destinations: Iterable[Destination], cancel: Cancel) -> Survey:
    """Give what the targets of a plan hold. Raises a stop, and what a required registry raises."""
    by_key = {target.key: target for target in (*plan.targets, *plan.beside)}
    answers = everywhere(destinations, lambda each: _ask(each, by_key[each.key]), cancel)
    facts = {destination.key: held for destination, held in answers.found.items()}
    return Survey(facts=facts, silent=answers.failed)


def _ask(destination: Destination, target: Target) -> Held:
    held = destination.store.tags()
    found = (_said(destination, move.named.tag) for move in target.tags if move.named.tag in held)
    return Held(tags=held, found={remote.tag: remote for remote in found if remote})


def _said(destination: Destination, tag: Tag) -> RemoteTag | None:
    return remote_tag(destination.store, tag)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A plan and the facts it rests on; `destinations` are the targets that answered.

    So did those `beside`, which are not asked for: what they hold is adopted and copied.
    """

    plan: Plan
    tag: str = ""  # the git tag
    previous_tag: str = ""
    git: str = ""  # HEAD and the tags on it, an input of images whose context has .git
    destinations: tuple[Destination, ...] = ()
    beside: tuple[Destination, ...] = ()
    silent: Mapping[Destination, PodbuildError] = field(default_factory=dict)
    replaced: Mapping[TagKey, Digest] = field(default_factory=dict)
    earlier: Mapping[str, tuple[Tag, ...]] = field(default_factory=dict)  # by Target.key
    before: Mapping[str, Tag] = field(default_factory=dict)  # what sizes are compared with, by key
    standing: Standing = field(default_factory=Standing)
    ancestry: Callable[[str], Ancestry] = lambda _revision: Ancestry.UNKNOWN
    warnings: tuple[str, ...] = ()
    refusal: ConfigError | None = None  # what a release ends with before it begins

    @property
    def alone_before(self) -> Mapping[str, Digest]:
        """Give what the first tag of each destination names that moves, of one platform's images.

        By the key of the registry's destination. The config of such an image is new with each
        version, while its layers stay.
        """
        at = {
            target.key
            for target in self.plan.targets
            if target.registry.kind is not RegistryKind.LAYOUT
            and len(self.plan.image(target.image).platforms) == 1
        }
        found: dict[str, Digest] = {}
        for key, digest in self.replaced.items():
            if key.place in at:
                found.setdefault(key.place, digest)
        return found


def binding_of(plan: Plan, toolchain: str = "") -> Binding:
    """Give what this plan's journal is bound to."""
    return Binding(
        release=plan.name,
        commit=plan.source.commit,
        configuration=plan.fingerprint,
        toolchain=toolchain,
    )
