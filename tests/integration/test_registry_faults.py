from collections.abc import Iterator

import pytest

from podbuild.cancel import Cancel
from podbuild.model import Digest, Repository
from podbuild.store.blobs import BytesBlob
from podbuild.store.client import Conduct, Endpoint, RegistryClient
from podbuild.store.registry import RegistryStore
from podbuild.store.upload import UploadPolicy
from tests.faults import (
    HTML,
    LostReply,
    On,
    Proxy,
    Reset,
    Script,
    Status,
    fault_proxy,
    too_many,
)
from tests.images import blob_of
from tests.registries import AT_ONCE, IN_TESTS, Server, registry_server

pytestmark = pytest.mark.integration

BIG = bytes(range(256)) * 8192  # 2 MiB
UPLOADS = "/blobs/uploads/"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with registry_server() as running:
        yield running


def store_at(proxy: Proxy, path: str, policy: UploadPolicy | None = None) -> RegistryStore:
    conduct = Conduct(retry=AT_ONCE, cancel=Cancel())
    client = RegistryClient(
        Endpoint(host=proxy.host, insecure=True), conduct=conduct, network=IN_TESTS
    )
    return RegistryStore(client, Repository(proxy.host, path), policy=policy or UploadPolicy())


BAD_UPLOADS = {
    "reset before the upload opens": On("POST", UPLOADS, fault=Reset()),
    "reset in the middle of the body": On("PUT", UPLOADS, fault=Reset(after=300_000)),
    "the reply to the upload is lost": On("PUT", UPLOADS, fault=LostReply()),
    "the reply to the opening is lost": On("POST", UPLOADS, fault=LostReply()),
    "503": On("PUT", UPLOADS, fault=Status(503)),
    "a gateway's web page": On("POST", UPLOADS, fault=Status(502, b"<html>", HTML.headers)),
    "429": On("POST", UPLOADS, fault=too_many()),
    "upload unknown": On(
        "PUT",
        UPLOADS,
        fault=Status(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"gone"}]}'),
    ),
    "upload invalid": On(
        "PUT", UPLOADS, fault=Status(404, b'{"errors":[{"code":"BLOB_UPLOAD_INVALID"}]}')
    ),
    "a body that is too large for a proxy": On("PUT", UPLOADS, fault=Status(413)),
}


@pytest.mark.parametrize("name", BAD_UPLOADS)
@pytest.mark.parametrize("chunk", [None, 500_000])
def test_an_upload_survives(server: Server, name: str, chunk: int | None) -> None:
    blob = blob_of(BIG)
    heard: list[int] = []
    path = f"faults/{len(name)}/{chunk or 'whole'}/{Digest.of(name.encode()).hex}"
    policy = UploadPolicy() if chunk is None else UploadPolicy(whole_up_to=0, chunk=chunk)
    with fault_proxy(server.host, Script(BAD_UPLOADS[name])) as proxy:
        store_at(proxy, path, policy).put_blob(blob, BytesBlob(BIG), heard.append)
        assert any(one.fault for one in proxy.seen)
    with server.store(path).blob(blob) as content:
        assert b"".join(content.chunks()) == BIG
    assert sum(heard) == len(BIG)
