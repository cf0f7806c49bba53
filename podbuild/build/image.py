"""Look into a staged image: is it what was ordered, and what a release writes into it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from podbuild.config.choices import Format
from podbuild.errors import BuildError, VerificationError
from podbuild.oci.manifest import Descriptor, Manifest
from podbuild.oci.names import Digest, Platform
from podbuild.oci.store import BytesBlob, Store, read_blob
from podbuild.system.records import JSONValue, object_of, string_map


def read_config(store: Store, manifest: Manifest) -> dict[str, JSONValue]:
    """Give an image's config; raises VerificationError when it is missing or is none."""
    if manifest.config is None:
        raise VerificationError(f"{manifest.digest} is not an image: it has no config")
    return parse_config(read_blob(store, manifest.config), manifest.config.digest)


def parse_config(data: bytes, digest: Digest) -> dict[str, JSONValue]:
    """Read a config's bytes; raises VerificationError where they are none."""
    value = object_of(data)
    if value is None:
        raise VerificationError(f"{digest} is not a config: not a JSON object")
    return value


def check_platform(store: Store, manifest: Manifest, wanted: Platform, what: str) -> None:
    """Raise BuildError when the image is for another platform than was ordered."""
    found = Platform.from_json(read_config(store, manifest))
    if found != wanted:
        raise BuildError(
            f"{what}: the image is for {found or 'no platform'}",
            hint=f"is its base there for {wanted}?",
        )


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
    data = compact({**config, "config": inner})
    old = manifest.config
    assert old is not None  # noqa: S101  # read_config has looked
    blob = Descriptor(media_type=old.media_type, digest=Digest.of(data), size=len(data))
    store.put_blob(blob, BytesBlob(data))
    content = {**manifest.content, "config": blob.to_json()}
    if form is Format.OCI:
        notes: dict[str, JSONValue] = {**manifest.annotations, **texts}
        content["annotations"] = dict(sorted(notes.items()))
    stamped = Manifest(manifest.media_type, compact(content))
    store.put_manifest(stamped)
    return stamped


def compact(value: JSONValue) -> bytes:
    """Give the bytes of a manifest or config: the same value, the same bytes."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def as_go(value: JSONValue) -> bytes:
    """Give the same as Go's encoding/json writes it, which also escapes what HTML would read."""
    text = compact(value).decode()
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text.encode()
