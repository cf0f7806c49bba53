"""Read what a registry's tag stands for: its commit, version, configuration and platforms."""

from __future__ import annotations

import json
from collections.abc import Mapping

from podbuild import labels
from podbuild.errors import PublishError, VerificationError, VersionError
from podbuild.model import Descriptor, JSONValue, Manifest, Platform, Tag, string_map
from podbuild.store import Store
from podbuild.store.blobs import read_blob
from podbuild.tags import RemoteTag
from podbuild.versions import Version


def remote_tag(store: Store, tag: Tag) -> RemoteTag | None:
    """Give what a tag names now and what that says of itself; None where there is no such tag.

    Raises what the store raises.
    """
    manifest = store.manifest(tag)
    return None if manifest is None else read_remote(store, tag, manifest)


def read_remote(store: Store, tag: Tag, manifest: Manifest) -> RemoteTag:
    """Give what a manifest says of itself: on the index, else in a child's config."""
    said = said_of(store, manifest)
    return RemoteTag(
        tag=tag,
        digest=manifest.digest,
        revision=said.get(labels.REVISION, ""),
        version=_version(said.get(labels.VERSION, "")),
        fingerprint=said.get(labels.CONFIGURATION, ""),
        platforms=_platforms(store, manifest),
    )


def version_of(store: Store, manifest: Manifest) -> Version | None:
    """Give the version that a manifest says it is; None where it says none."""
    return _version(said_of(store, manifest).get(labels.VERSION, ""))


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
        value: JSONValue = json.loads(read_blob(store, config))
    except (VerificationError, ValueError, RecursionError):
        return None
    except PublishError:
        if store.has_blob(config):
            raise
        return None
    return value


def _platforms(store: Store, manifest: Manifest) -> frozenset[Platform]:
    if manifest.is_index:
        named = (child.platform for child in manifest.children if child.is_runnable)
        return frozenset(platform for platform in named if platform)
    only = Platform.from_json(find_config(store, manifest.config))
    return frozenset((only,)) if only else frozenset()


def _version(text: str) -> Version | None:
    try:
        return Version.parse(text)
    except VersionError:
        return None
