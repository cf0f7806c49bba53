"""Artifacts: manifests that hold something else than an image.

Source: image-spec, manifest.md, "Guidelines for Artifact Usage".
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from podbuild.oci.blobs import BytesBlob
from podbuild.oci.manifest import Descriptor, Manifest, MediaType
from podbuild.oci.names import Digest, Tag
from podbuild.oci.store import Store
from podbuild.system.records import JSONValue

_NOTHING = b"{}"  # image-spec, manifest.md, "Guidance for an Empty Descriptor"
EMPTY = Descriptor(media_type=MediaType.OCI_EMPTY, digest=Digest.of(_NOTHING), size=len(_NOTHING))


def put_bytes(store: Store, media_type: str, data: bytes) -> Descriptor:
    """Put a blob that is at hand, unless it is there; raises as the store does."""
    blob = Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))
    if not store.has_blob(blob):
        store.put_blob(blob, BytesBlob(data))
    return blob


def put_artifact(
    store: Store,
    kind: str,
    layer: Descriptor,
    tag: Tag,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """Put the artifact of one layer, which is there already, under a tag; raises as the store does.

    `kind` is its artifact type. It has no config.
    """
    content: dict[str, JSONValue] = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST,
        "artifactType": kind,
        "config": EMPTY.to_json(),
        "layers": [layer.to_json()],
        **({"annotations": dict(annotations)} if annotations else {}),
    }
    data = json.dumps(content, separators=(",", ":")).encode()
    manifest = Manifest(MediaType.OCI_MANIFEST, data)
    put_bytes(store, EMPTY.media_type, _NOTHING)
    store.put_manifest(manifest, tag)
    return manifest
