"""Look into a staged image: is it what was ordered, and what a release writes into it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from podbuild.build.cache.remote import CACHED
from podbuild.config.choices import Format
from podbuild.errors import BuildError, VerificationError
from podbuild.oci.blobs import BytesBlob, read_blob
from podbuild.oci.manifest import Descriptor, Manifest
from podbuild.oci.names import Digest, Platform
from podbuild.oci.store import Store
from podbuild.system.records import JSONValue, string_map

_CACHE_NAME = re.compile(
    rb',"comment":"FROM 127\.0\.0\.1:\d+/%b/[^"\\]*"' % re.escape(CACHED.encode())
)
_CONFIG = re.compile(rb'"config":\{[^{}]*\}')


def read_config(store: Store, manifest: Manifest) -> dict[str, JSONValue]:
    """Give an image's config; raises VerificationError when it is missing or is none."""
    if manifest.config is None:
        raise VerificationError(f"{manifest.digest} is not an image: it has no config")
    try:
        value: JSONValue = json.loads(read_blob(store, manifest.config))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise VerificationError(f"{manifest.config.digest} is not a config: not a JSON object")
    return value


def check_platform(store: Store, manifest: Manifest, wanted: Platform, what: str) -> None:
    """Raise BuildError when the image is for another platform than was ordered."""
    found = Platform.from_json(read_config(store, manifest))
    if found != wanted:
        raise BuildError(
            f"{what}: the image is for {found or 'no platform'}",
            hint=f"is its base there for {wanted}?",
        )


def without_cache_names(store: Store, manifest: Manifest) -> Manifest:
    """Give the image as it is without a layer cache, stored beside the one that was found.

    An engine writes into the history which image a step was built on where that has a name, and
    only steps that came from a registry's cache have one (buildah's image.go, newer than 1.15). All
    other bytes are the same, so that taking them out gives the digests of a build from scratch.
    """
    old = manifest.config
    if old is None:
        return manifest
    data = read_blob(store, old)
    clean = _CACHE_NAME.sub(b"", data)
    if clean == data:
        return manifest
    new = Descriptor(media_type=old.media_type, digest=Digest.of(clean), size=len(clean))
    store.put_blob(new, BytesBlob(clean))
    named = _CONFIG.sub(lambda found: _renamed(found[0], old, new), manifest.data, count=1)
    cleaned = Manifest(manifest.media_type, named)
    store.put_manifest(cleaned)
    return cleaned


def _renamed(text: bytes, old: Descriptor, new: Descriptor) -> bytes:
    """Name another blob in a descriptor, whatever the order of its keys."""
    text = text.replace(str(old.digest).encode(), str(new.digest).encode())
    return text.replace(f'"size":{old.size}'.encode(), f'"size":{new.size}'.encode())


def layer_bytes(manifest: Manifest) -> int:
    """Give the compressed size of all layers, in bytes."""
    return sum(layer.size for layer in manifest.layers)


def stamp(store: Store, manifest: Manifest, texts: Mapping[str, str], form: Format) -> Manifest:
    """Write a release's texts into an image without building it again: same layers, same bytes.

    They become labels, and in oci format annotations too. Gives the new manifest, stored beside
    the old one; the same texts give the same digest.
    """
    config = read_config(store, manifest)
    inner = config.get("config")
    inner = dict(inner) if isinstance(inner, dict) else {}
    labels: dict[str, JSONValue] = {**string_map(inner.get("Labels")), **texts}
    inner["Labels"] = dict(sorted(labels.items()))
    data = _compact({**config, "config": inner})
    old = manifest.config
    assert old is not None  # noqa: S101  # read_config has looked
    blob = Descriptor(media_type=old.media_type, digest=Digest.of(data), size=len(data))
    store.put_blob(blob, BytesBlob(data))
    content = {**manifest.content, "config": blob.to_json()}
    if form is Format.OCI:
        notes: dict[str, JSONValue] = {**manifest.annotations, **texts}
        content["annotations"] = dict(sorted(notes.items()))
    stamped = Manifest(manifest.media_type, _compact(content))
    store.put_manifest(stamped)
    return stamped


def _compact(value: JSONValue) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
