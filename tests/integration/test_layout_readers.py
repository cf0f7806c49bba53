"""Other tools read our OCI folders, and we read theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from podbuild.oci.blobs import BytesBlob
from podbuild.oci.copy import copy_image, descendants
from podbuild.oci.layout import LayoutStore
from podbuild.oci.manifest import Manifest, MediaType
from podbuild.oci.names import Tag
from podbuild.oci.store import Store
from tests.images import blob_of, make_image, make_index
from tests.toolchains import skopeo

pytestmark = pytest.mark.integration

V1 = Tag("1.0.0")


def docker_image(store: Store) -> Manifest:
    config = json.dumps({"architecture": "arm64", "os": "linux", "rootfs": {"type": "layers"}})
    part = blob_of(config.encode(), MediaType.DOCKER_CONFIG)
    layer = blob_of(b"layer", "application/vnd.docker.image.rootfs.diff.tar.gzip")
    store.put_blob(part, BytesBlob(config.encode()))
    store.put_blob(layer, BytesBlob(b"layer"))
    content = {
        "schemaVersion": 2,
        "mediaType": MediaType.DOCKER_MANIFEST,
        "config": part.to_json(),
        "layers": [layer.to_json()],
    }
    manifest = Manifest(MediaType.DOCKER_MANIFEST, json.dumps(content).encode())
    store.put_manifest(manifest)
    return manifest


def test_skopeo_reads_our_folder_by_tag_and_copies_it_whole(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "ours")
    index = make_index(store, amd64=make_image(store, b"one"), arm64=docker_image(store))
    other = make_image(store, b"another")
    store.put_manifest(index, V1)
    store.put_manifest(index, Tag("latest"))
    store.put_manifest(other, Tag("2"))
    assert skopeo("inspect", "--raw", f"oci:{store.path}:1.0.0") == index.data
    assert skopeo("inspect", "--raw", f"oci:{store.path}:2") == other.data
    theirs = tmp_path / "theirs"
    skopeo("copy", "--all", "--preserve-digests", f"oci:{store.path}:latest", f"dir:{theirs}")
    assert (theirs / "manifest.json").read_bytes() == index.data
    for child in index.children:
        assert (theirs / f"{child.digest.hex}.manifest.json").is_file()


def test_we_read_and_extend_skopeos_folder(tmp_path: Path) -> None:
    ours = LayoutStore(tmp_path / "ours")
    index = make_index(ours, amd64=make_image(ours, b"one"))
    ours.put_manifest(index, V1)
    theirs = LayoutStore(tmp_path / "theirs")
    there = f"oci:{theirs.path}:1.0.0"
    skopeo("copy", "--all", "--preserve-digests", f"oci:{ours.path}:1.0.0", there)
    assert theirs.manifest(V1) == index
    copy_image(ours, theirs, make_image(ours, b"more"), tag=Tag("2"))
    assert theirs.tags() == (V1, Tag("2"))
    assert len(descendants(theirs, index)) == 2
    skopeo("inspect", "--raw", f"oci:{theirs.path}:2")
