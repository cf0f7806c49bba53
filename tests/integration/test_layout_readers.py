"""Other tools read our OCI folders, and we read theirs."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path

import pytest

from podbuild.build.assemble import mark_zstd
from podbuild.build.image import as_go
from podbuild.oci.layout import LayoutStore
from podbuild.oci.manifest import Manifest, MediaType
from podbuild.oci.names import Digest, Tag
from podbuild.oci.store import BytesBlob, Store, copy_image, descendants
from podbuild.system.records import JSONValue
from tests.images import blob_of, make_image, make_index
from tests.toolchains import skopeo

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

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


def zstd_image(store: Store, architecture: str) -> Manifest:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(architecture))
    data = zstd.compress(archive.getvalue())
    layer = blob_of(data, "application/vnd.oci.image.layer.v1.tar+zstd")
    plain = str(Digest.of(archive.getvalue()))
    config = {
        "architecture": architecture,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [plain]},
    }
    whole = json.dumps(config).encode()
    part = blob_of(whole, MediaType.OCI_CONFIG)
    store.put_blob(part, BytesBlob(whole))
    store.put_blob(layer, BytesBlob(data))
    content = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST,
        "config": part.to_json(),
        "layers": [layer.to_json()],
    }
    manifest = Manifest(MediaType.OCI_MANIFEST, json.dumps(content).encode())
    store.put_manifest(manifest)
    return manifest


def test_skopeo_copies_an_index_of_zstd_images_unchanged(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "ours")
    children = {name: zstd_image(store, name) for name in ("amd64", "arm64")}
    plain = make_index(store, **children)
    notes: dict[str, JSONValue] = {"a": "R&D <é>\u2028"}
    index = mark_zstd(
        Manifest(plain.media_type, as_go({**plain.content, "annotations": notes})),
        children.values(),
    )
    store.put_manifest(index, V1)
    there = tmp_path / "theirs"
    skopeo("copy", "--all", "--preserve-digests", f"oci:{store.path}:1.0.0", f"dir:{there}")
    assert (there / "manifest.json").read_bytes() == index.data
    assert index.annotations == notes
    mark = {"io.github.containers.compression.zstd": "true"}
    assert [dict(child.annotations) for child in index.children] == [mark, mark]
    assert mark_zstd(index, children.values()).digest == index.digest
    assert mark_zstd(plain, [make_image(store, b"one")]) is plain


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
