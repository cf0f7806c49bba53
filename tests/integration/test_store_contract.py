"""What every Store promises, asked of each: a real registry, an OCI folder, memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from podbuild.errors import PodbuildError, VerificationError
from podbuild.oci.layout import LayoutStore
from podbuild.oci.manifest import Descriptor, Manifest, MediaType
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest, Tag
from podbuild.oci.store import (
    BytesBlob,
    FileBlob,
    PushRight,
    Store,
    copy_image,
    descendants,
    settled_head,
)
from podbuild.oci.transport.endpoint import UploadPolicy
from tests.images import blob_of, make_image, make_index
from tests.registries import Server, registry_server

pytestmark = pytest.mark.integration

V1, LATEST = Tag("1.0.0"), Tag("latest")
NOTHING = Digest.of(b"nothing has this digest")
NUMBERS = count()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with registry_server() as running:
        yield running


@dataclass(frozen=True)
class Chunky:
    """Sends all blobs in chunks."""

    server: Server

    def store(self) -> Store:
        policy = UploadPolicy(whole_up_to=0, chunk=100_000)
        return self.server.store(f"chunky/{next(NUMBERS)}", policy=policy)


MAKERS: dict[str, Callable[[Server, Path], Store]] = {
    "registry": lambda server, _folder: server.store(f"contract/{next(NUMBERS)}"),
    "registry in chunks": lambda server, _folder: Chunky(server).store(),
    "layout": lambda _server, folder: LayoutStore(folder / "layout"),
    "memory": lambda _server, _folder: MemoryStore(),
}


@pytest.fixture(params=MAKERS)
def store(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Store:
    maker: str = request.param
    return MAKERS[maker](server, tmp_path)


def test_an_empty_repository_has_nothing(store: Store) -> None:
    assert store.tags() == ()
    for target in (V1, NOTHING):
        assert store.head(target) is None
        assert store.manifest(target) is None
    assert not store.has_blob(blob_of(b"nothing has this digest"))


def test_a_manifest_comes_back_byte_for_byte(store: Store) -> None:
    image = make_image(store, b"layer")
    odd = Manifest(image.media_type, image.data.replace(b"{", b"{\n  ", 1) + b"\n")
    store.put_manifest(odd, V1)
    assert store.manifest(V1) == store.manifest(odd.digest) == odd
    assert store.head(V1) == store.head(odd.digest) == odd.descriptor


def test_a_docker_manifest_keeps_its_type(store: Store) -> None:
    config = json.dumps({"architecture": "amd64", "os": "linux"}).encode()
    part = blob_of(config, MediaType.DOCKER_CONFIG)
    store.put_blob(part, BytesBlob(config))
    content = {
        "schemaVersion": 2,
        "mediaType": MediaType.DOCKER_MANIFEST,
        "config": part.to_json(),
        "layers": [],
    }
    docker = Manifest(MediaType.DOCKER_MANIFEST, json.dumps(content).encode())
    store.put_manifest(docker, V1)
    assert store.manifest(V1) == docker
    found = store.head(V1)
    assert found is not None
    assert found.media_type == MediaType.DOCKER_MANIFEST


def test_a_tag_moves_and_the_old_manifest_stays(store: Store) -> None:
    old, new = make_image(store, b"old"), make_image(store, b"new")
    store.put_manifest(old, LATEST)
    store.put_manifest(old, V1)
    store.put_manifest(new, LATEST)
    assert store.manifest(LATEST) == new
    assert store.manifest(V1) == store.manifest(old.digest) == old
    assert store.tags() == (V1, LATEST)


def test_putting_again_changes_nothing(store: Store) -> None:
    image = make_image(store, b"layer")
    for _ in range(2):
        store.put_manifest(image, V1)
        store.put_manifest(image)
    assert store.tags() == (V1,)
    assert store.manifest(V1) == image


@pytest.mark.parametrize("size", [0, 1, 262_143, 262_144, 1_000_001])
def test_blobs_of_any_size_come_back(store: Store, size: int) -> None:
    data = bytes(size)
    blob = blob_of(data)
    heard: list[int] = []
    store.put_blob(blob, BytesBlob(data), heard.append)
    assert sum(heard) == size
    assert store.has_blob(blob)
    with store.blob(blob) as content:
        assert b"".join(content.chunks()) == data
        assert b"".join(content.chunks(size // 2)) == data[size // 2 :]


def test_a_blob_can_come_from_a_file(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "source"
    file.write_bytes(b"z" * 500_000)
    blob = blob_of(file.read_bytes())
    store.put_blob(blob, FileBlob(file))
    file.unlink()
    with store.blob(blob) as content:
        assert b"".join(content.chunks()) == b"z" * 500_000


@pytest.mark.parametrize("data", [b"other bytes!", b"short", b"much longer than that"])
def test_a_blob_with_wrong_bytes_is_refused(store: Store, data: bytes) -> None:
    blob = blob_of(b"right bytes!")
    heard: list[int] = []
    with pytest.raises(PodbuildError):
        store.put_blob(blob, BytesBlob(data), heard.append)
    assert sum(heard) == 0
    assert not store.has_blob(blob)


def test_a_manifest_without_its_parts_is_refused(store: Store) -> None:
    elsewhere = MemoryStore()
    image = make_image(elsewhere, b"never uploaded")
    index = make_index(elsewhere, amd64=image)
    for manifest in (image, index):
        with pytest.raises(PodbuildError):
            store.put_manifest(manifest, V1)
    assert store.tags() == ()


def test_a_blob_that_is_not_there_is_an_error(store: Store) -> None:
    with pytest.raises(PodbuildError), store.blob(blob_of(b"not here")) as content:
        tuple(content.chunks())


def test_whole_images_are_copied_once(store: Store) -> None:
    source = MemoryStore()
    inner = make_index(source, arm64=make_image(source, b"shared", b"a", architecture="arm64"))
    outer = make_index(source, amd64=make_image(source, b"shared", b"b"), nested=inner)
    heard: list[int] = []
    assert copy_image(source, store, outer, tag=V1, on_bytes=heard.append) == 5
    assert sum(heard) == sum(map(len, source.blobs.values()))
    assert store.tags() == (V1,)
    everything = descendants(store, outer)
    assert {each.digest for each in everything} == set(source.manifests)
    assert all(store.has_blob(blob) for each in everything for blob in each.blobs)
    heard.clear()
    assert copy_image(source, store, outer, tag=V1, on_bytes=heard.append) == 0
    assert heard == []


def test_a_missing_child_stops_a_copy_before_anything_is_put(store: Store) -> None:
    source = MemoryStore()
    child = make_image(source, b"layer")
    index = make_index(source, amd64=child)
    del source.manifests[child.digest]
    with pytest.raises(VerificationError, match=str(child.digest)):
        copy_image(source, store, index, tag=V1)
    assert store.tags() == ()


def test_a_settled_reference_is_read_once(store: Store) -> None:
    image = make_image(store, b"layer")
    store.put_manifest(image, V1)
    assert settled_head(store, V1, image.digest, waits=()) == image.descriptor


def test_the_right_to_push_is_not_refused(store: Store) -> None:
    store.put_manifest(make_image(store, b"layer"), V1)
    assert store.check_push() is PushRight.ALLOWED


def test_references_name_tag_or_digest(store: Store) -> None:
    assert store.reference(V1) == f"{store.name}:1.0.0"
    assert store.reference(NOTHING) == f"{store.name}@{NOTHING}"


def test_a_descriptor_of_a_part_knows_its_size(store: Store) -> None:
    image = make_image(store, b"12345")
    assert image.layers == (
        Descriptor(media_type=image.layers[0].media_type, digest=Digest.of(b"12345"), size=5),
    )


@pytest.mark.parametrize("policy", [UploadPolicy(), UploadPolicy(whole_up_to=0)], ids=str)
def test_a_damaged_file_is_blamed_and_not_the_registry(
    server: Server, tmp_path: Path, policy: UploadPolicy
) -> None:
    file = tmp_path / "layer"
    file.write_bytes(b"damaged!")
    with pytest.raises(VerificationError, match="do not have the digest"):
        server.store("damaged", policy=policy).put_blob(blob_of(b"complete"), FileBlob(file))
