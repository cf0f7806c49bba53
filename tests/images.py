"""Small images made from bytes, for tests of stores and what stands on them."""

from __future__ import annotations

import json

from podbuild.oci.manifest import Descriptor, Manifest, MediaType
from podbuild.oci.names import Digest, Platform
from podbuild.oci.store import BytesBlob, Store

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def blob_of(data: bytes, media_type: str = LAYER) -> Descriptor:
    """Give the descriptor of some bytes."""
    return Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))


def make_image(store: Store, *layers: bytes, architecture: str = "amd64") -> Manifest:
    """Put an image with these layers (not real archives) into a store, by digest."""
    config = json.dumps({"architecture": architecture, "os": "linux"}).encode()
    parts = [blob_of(config, MediaType.OCI_CONFIG), *map(blob_of, layers)]
    for part, data in zip(parts, (config, *layers), strict=True):
        store.put_blob(part, BytesBlob(data))
    content = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST,
        "config": parts[0].to_json(),
        "layers": [part.to_json() for part in parts[1:]],
    }
    manifest = Manifest(MediaType.OCI_MANIFEST, json.dumps(content).encode())
    store.put_manifest(manifest)
    return manifest


def make_index(store: Store, **children: Manifest) -> Manifest:
    """Put an index over images named by architecture into a store, by digest."""
    manifests = []
    for architecture, child in children.items():
        entry = child.descriptor.to_json()
        manifests.append({**entry, "platform": Platform("linux", architecture).to_json()})
    content = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_INDEX,
        "manifests": manifests,
    }
    index = Manifest(MediaType.OCI_INDEX, json.dumps(content).encode())
    store.put_manifest(index)
    return index
