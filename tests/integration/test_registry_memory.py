"""Blobs of any size go through in pieces: memory stays flat."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from podbuild.oci.layout import LayoutStore
from podbuild.oci.manifest import Descriptor
from podbuild.oci.names import Digest
from podbuild.oci.store import CheckedFileBlob, Store, copy_blob
from podbuild.oci.transport.endpoint import UploadPolicy
from tests.images import LAYER
from tests.registries import registry_server

pytestmark = pytest.mark.integration

SIZE = 256 * 1024 * 1024  # bytes
MOST = 8 * 1024 * 1024  # bytes of Python's memory, whatever the blob's size


@pytest.fixture
def sparse(tmp_path: Path) -> tuple[Descriptor, Path]:
    file = tmp_path / "layer"
    with file.open("wb") as out:
        out.truncate(SIZE)
    with file.open("rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    return Descriptor(media_type=LAYER, digest=Digest(f"sha256:{digest}"), size=SIZE), file


def peak(action: Callable[[], object]) -> int:
    """Give the most memory that Python took while the action ran, in bytes."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("policy", [UploadPolicy(), UploadPolicy(whole_up_to=0)], ids=str)
def test_memory_is_flat_both_ways(
    sparse: tuple[Descriptor, Path], tmp_path: Path, policy: UploadPolicy
) -> None:
    blob, file = sparse
    with registry_server() as server:
        store: Store = server.store(policy=policy)
        assert peak(lambda: store.put_blob(blob, CheckedFileBlob(file, blob))) < MOST
        layout = LayoutStore(tmp_path / "layout")
        assert peak(lambda: copy_blob(store, layout, blob)) < MOST
        assert layout.has_blob(blob)
        with registry_server() as second:
            assert peak(lambda: copy_blob(server.store(), second.store(), blob)) < MOST
