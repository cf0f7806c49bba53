from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from podbuild.oci.layout import LayoutStore
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Tag
from podbuild.oci.store import BytesBlob, PushRight, copy_image
from tests.images import blob_of, make_image, make_index
from tests.registries import registry_server

pytestmark = pytest.mark.integration


def test_an_index_goes_through_two_registries_and_a_folder_and_stays_the_same(
    tmp_path: Path,
) -> None:
    source = MemoryStore()
    index = make_index(
        source,
        amd64=make_image(source, b"a" * 3_000_000, b"shared"),
        arm64=make_image(source, b"b" * 10, b"shared", architecture="arm64"),
    )
    with registry_server() as one, registry_server() as two:
        assert one.store().check_push() is PushRight.UNKNOWN
        assert copy_image(source, one.store(), index, tag=Tag("1.0.0")) == 5
        layout = LayoutStore(tmp_path / "layout")
        copy_image(one.store(), layout, index, tag=Tag("1.0.0"))
        copy_image(layout, two.store(), index, tag=Tag("1.0.0"))
        found = two.store().manifest(Tag("1.0.0"))
        assert found == index
        assert two.store().tags() == (Tag("1.0.0"),)
        assert one.store().check_push() is PushRight.ALLOWED
        assert copy_image(source, one.store(), index) == 0


def test_repositories_that_want_the_same_blob_at_once_share_one_upload() -> None:
    data = b"a base layer" * 100_000
    blob = blob_of(data)
    with registry_server() as server:
        client = server.client()
        stores = [server.store(f"acme/image{number}", client=client) for number in range(6)]
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda store: store.put_blob(blob, BytesBlob(data)), stores))
        assert all(store.has_blob(blob) for store in stores)
        assert client.counts.sent == len(data)
        assert client.counts.mounted == 5


def test_a_lender_that_lost_its_blob_is_no_obstacle() -> None:
    data = b"a layer"
    blob = blob_of(data)
    with registry_server() as server:
        client = server.client()
        client.holders.add(blob.digest, "acme/never")
        store = server.store(client=client)
        store.put_blob(blob, BytesBlob(data))
        assert store.has_blob(blob)
        assert client.counts.mounted == 0
