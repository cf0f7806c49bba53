"""Assemble: from the staged images of every platform to what is published, an index each.

Lists are made with the engine's own `manifest create` and `manifest push --all=false`, from
staging and back to it, so that no child is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from podbuild.build.engine.failure import explain
from podbuild.build.engine.session import Workplace
from podbuild.build.image import as_go, check_platform, stamp
from podbuild.build.staging.area import Staging, repository_name
from podbuild.build.staging.server import StagingRegistry
from podbuild.errors import BuildError, VerificationError
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest, Platform, Tag
from podbuild.oci.store import Store
from podbuild.plan.model import PlannedImage
from podbuild.system.process import CommandError
from podbuild.system.records import JSONValue, string_map

INDEX_TAG = Tag("index")
_ZSTD_MARK = {"io.github.containers.compression.zstd": "true"}
_NOWHERE = Platform("unknown", "unknown")
_AT_ONCE = 4  # images; an engine waits for its own start most of the time


@dataclass(frozen=True, kw_only=True)
class Members:
    """An image, its children by platform, and the release's texts for what is published."""

    image: PlannedImage
    children: Mapping[Platform, Manifest]
    texts: Mapping[str, str]
    attested: Mapping[Platform, Manifest] = field(default_factory=dict)

    @property
    def sorted(self) -> tuple[tuple[Platform, Manifest], ...]:
        """Give the children in the order in which every index lists them."""
        return tuple(sorted(self.children.items(), key=lambda found: found[0]))


def assemble(
    workplace: Workplace, staging: StagingRegistry, members: Iterable[Members]
) -> Mapping[str, Manifest]:
    """Give what is published of each image: an index, or the plain image of a single platform.

    Raises VerificationError when an index does not hold exactly the planned platforms, and
    BuildError when the engine fails.
    """
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="assemble") as pool:
        waiting = {
            found.image.name: pool.submit(_assembled, workplace, staging, found)
            for found in members
        }
        return {name: assembled.result() for name, assembled in waiting.items()}


def _assembled(workplace: Workplace, staging: StagingRegistry, members: Members) -> Manifest:
    name = members.image.name
    if not members.image.is_index:
        return plain_image(staging.staging, members)
    _need_all(members)
    store = staging.staging.repository(repository_name(name))
    try:
        index = _make_list(workplace, staging, members)
    except CommandError as error:
        raise explain(f"{name} (manifest list)", error, staging.staging.failure) from error
    if index is None:
        raise BuildError(f"{name}: the engine delivered no manifest list")
    bare = replace(members, attested={})
    check_index(store, index, bare)
    marked = with_attestations(mark_zstd(index, members.children.values()), members)
    if marked is not index:
        store.put_manifest(marked, INDEX_TAG)
    return marked


def mark_zstd(index: Manifest, children: Iterable[Manifest]) -> Manifest:
    """Give the index in which children with zstd layers say so, as the containers' tools do.

    They would add the mark to a copy, which is another digest, and choose by it among an image's
    children (containers/image, internal/manifest/oci_index.go). The same index where none has any.
    """
    packed = {
        str(child.digest)
        for child in children
        if any(layer.media_type.endswith("zstd") for layer in child.layers)
    }
    listed = index.content["manifests"]
    if not packed or not isinstance(listed, list):
        return index
    marked = [
        _with_mark(each) if isinstance(each, dict) and each.get("digest") in packed else each
        for each in listed
    ]
    return Manifest(index.media_type, as_go({**index.content, "manifests": marked}))


def with_attestations(index: Manifest, members: Members) -> Manifest:
    """Give the index that lists attestations too, after the images, as BuildKit does."""
    listed = index.content["manifests"]
    if not members.attested or not isinstance(listed, list):
        return index
    entries: list[JSONValue] = [
        {
            "mediaType": attestation.media_type,
            "digest": str(attestation.digest),
            "size": len(attestation.data),
            "annotations": {
                "vnd.docker.reference.digest": str(child.digest),
                "vnd.docker.reference.type": "attestation-manifest",
            },
            "platform": {"architecture": "unknown", "os": "unknown"},
        }
        for platform, child in members.sorted
        if (attestation := members.attested.get(platform))
    ]
    return Manifest(index.media_type, as_go({**index.content, "manifests": [*listed, *entries]}))


def _with_mark(child: Mapping[str, JSONValue]) -> JSONValue:
    """Go's order of keys: annotations stand before the platform (image-spec, Descriptor)."""
    notes: dict[str, JSONValue] = {**string_map(child.get("annotations")), **_ZSTD_MARK}
    last = ("data", "platform", "artifactType")
    first = {key: value for key, value in child.items() if key not in (*last, "annotations")}
    rest = {key: child[key] for key in last if key in child}
    return {**first, "annotations": dict(sorted(notes.items())), **rest}


def plain_image(staging: Staging, members: Members) -> Manifest:
    """Give the image of a single platform with the release's texts; needs no engine.

    Raises VerificationError when it is not staged.
    """
    _need_all(members)
    name = members.image.name
    store = staging.repository(repository_name(name))
    ((platform, child),) = members.sorted
    check_platform(store, child, platform, name)
    return stamp(store, child, members.texts, members.image.image.format)


def _need_all(members: Members) -> None:
    missing = sorted(set(members.image.platforms) - members.children.keys())
    if missing:
        raise VerificationError(
            f"{members.image.name}: not staged for {', '.join(map(str, missing))}",
            hint="build it first",
        )


def _make_list(workplace: Workplace, staging: StagingRegistry, members: Members) -> Manifest | None:
    """Two short processes: create with everything in one call, deliver the list alone."""
    repository = repository_name(members.image.name)
    command = workplace.command
    name = f"localhost/{workplace.name}/{repository}"
    children = tuple(staging.reference(repository, child.digest) for _, child in members.sorted)
    with (
        staging.granted(repository, INDEX_TAG, reads=True) as grant,
        workplace.logged_in(workplace.list_runner(), grant.login, for_lists=True) as run,
    ):
        run(*command.create_list(name, children, members.texts))
        run(*command.push_list(name, staging.reference(repository, INDEX_TAG)))
    return grant.delivered


def check_index(store: Store, index: Manifest, members: Members) -> None:
    """Raise VerificationError unless the index lists exactly the members, unchanged, in order."""
    name = members.image.name
    listed = [(child.platform, child.digest) for child in index.children]
    wanted: list[tuple[Platform | None, Digest]] = [
        (platform, child.digest) for platform, child in members.sorted
    ]
    wanted += [
        (_NOWHERE, members.attested[platform].digest)
        for platform, _ in members.sorted
        if platform in members.attested
    ]
    if not index.is_index or listed != wanted:
        raise VerificationError(
            f"{name}: the index lists {_shown(listed)} instead of {_shown(wanted)}",
            hint="please report this: the engine made another list than it was asked for",
        )
    if dict(index.annotations) != dict(members.texts):
        raise VerificationError(f"{name}: the index has other annotations than were planned")
    for platform, child in members.sorted:
        check_platform(store, child, platform, f"{name} {platform}")


def _shown(listed: Iterable[tuple[Platform | None, Digest]]) -> str:
    return ", ".join(f"{platform} {digest.short}" for platform, digest in listed) or "nothing"
