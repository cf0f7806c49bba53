"""A real registry behind a proxy that breaks things."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from podbuild.errors import CredentialError, PublishError, VerificationError
from podbuild.oci.client import RegistryClient
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest, Repository, Tag
from podbuild.oci.registry import RegistryStore
from podbuild.oci.store import BytesBlob, copy_image, descendants, settled_head
from podbuild.oci.transport.endpoint import Conduct, Endpoint, Timeouts, UploadPolicy, WayOut
from podbuild.system.retry import Retry
from tests.faults import (
    HTML,
    Delay,
    Down,
    Fault,
    LostReply,
    On,
    Proxy,
    RandomFaults,
    Reset,
    Script,
    Stale,
    Status,
    Truncate,
    fault_proxy,
    too_many,
)
from tests.images import blob_of, make_image, make_index
from tests.registries import AT_ONCE, IN_TESTS, Server, registry_server

pytestmark = pytest.mark.integration

V1 = Tag("1.0.0")
BIG = bytes(range(256)) * 8192  # 2 MiB
UPLOADS = "/blobs/uploads/"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with registry_server() as running:
        yield running


def store_at(
    proxy: Proxy, path: str, policy: UploadPolicy | None = None, conduct: Conduct | None = None
) -> RegistryStore:
    client = RegistryClient(
        Endpoint(host=proxy.host, insecure=True),
        conduct=conduct or Conduct(retry=AT_ONCE),
        network=IN_TESTS,
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


READS: dict[str, Fault] = {
    "503": Status(503),
    "reset": Reset(),
    "reply lost": LostReply(),
    "cut off": Truncate(40),
    "429": too_many(),
    "a gateway's web page": Status(502, b"<html>", HTML.headers),
}


@pytest.mark.parametrize("name", READS)
def test_reads_survive(server: Server, name: str) -> None:
    path = f"reads/{Digest.of(name.encode()).hex}"
    image = make_image(server.store(path), b"layer of more than forty bytes, so it can be cut")
    server.store(path).put_manifest(image, V1)
    fault = READS[name]
    script = Script(
        *(On("GET|HEAD", where, fault=fault) for where in ("/manifests", "/tags", "/blobs"))
    )
    with fault_proxy(server.host, script) as proxy:
        store = store_at(proxy, path)
        assert store.manifest(V1) == image
        assert store.tags() == (V1,)
        with store.blob(image.layers[0]) as content:
            assert b"".join(content.chunks()) == b"layer of more than forty bytes, so it can be cut"
        assert len([one for one in proxy.seen if one.fault]) == 3


def test_a_broken_download_goes_on_where_it_stopped(server: Server) -> None:
    blob = blob_of(BIG)
    server.store("broken/download").put_blob(blob, BytesBlob(BIG))
    script = Script(
        On("GET", "/blobs/", fault=Truncate(700_001)),
        On("GET", "/blobs/", fault=Truncate(300_000), nth=2),
    )
    with fault_proxy(server.host, script) as proxy:
        with store_at(proxy, "broken/download").blob(blob) as content:
            assert b"".join(content.chunks()) == BIG
        ranges = [one.headers.get("Range") for one in proxy.requests("GET", "/blobs/")]
    assert ranges == [None, "bytes=700001-", "bytes=1000001-"]


@pytest.mark.parametrize(
    "fault", [Status(503), Reset(), Reset(after=20), LostReply(), too_many()], ids=repr
)
def test_a_manifest_is_put_in_spite_of(server: Server, fault: Fault) -> None:
    path = f"manifests/{Digest.of(repr(fault).encode()).hex}"
    with fault_proxy(server.host, Script(On("PUT", "/manifests/", fault=fault, times=2))) as proxy:
        image = make_image(store_at(proxy, path), b"layer")
        store_at(proxy, path).put_manifest(image, V1)
    assert server.store(path).manifest(V1) == image


def test_a_manifest_put_fails_for_good_and_leaves_the_tag(server: Server) -> None:
    old, new = (make_image(server.store("for/good"), data) for data in (b"old", b"new"))
    server.store("for/good").put_manifest(old, V1)
    script = Script(On("PUT", "/manifests/", fault=Status(503), times=99))
    with fault_proxy(server.host, script) as proxy:
        with pytest.raises(PublishError, match="503"):
            store_at(proxy, "for/good").put_manifest(new, V1)
        assert len(proxy.requests("PUT")) == AT_ONCE.attempts
    assert server.store("for/good").manifest(V1) == old


def test_what_was_just_written_may_be_seen_late(server: Server) -> None:
    old, new = (make_image(server.store("late"), data) for data in (b"old", b"new"))
    server.store("late").put_manifest(old, V1)
    with fault_proxy(server.host, Script(On("PUT", "/manifests/", fault=Stale(2)))) as proxy:
        store = store_at(proxy, "late")
        store.put_manifest(new, V1)
        assert store.head(V1) == old.descriptor
        assert settled_head(store, V1, new.digest, waits=(0.0, 0.0)) == new.descriptor


def test_a_write_that_is_never_seen_is_not_made_up(server: Server) -> None:
    image = make_image(server.store("never"), b"layer")
    with fault_proxy(server.host, Script(On("PUT", "/manifests/", fault=Stale(9)))) as proxy:
        store = store_at(proxy, "never")
        store.put_manifest(image, V1)
        assert settled_head(store, V1, image.digest, waits=(0.0, 0.0)) is None


def test_blobs_that_the_registry_lost_are_sent_again(server: Server) -> None:
    source = MemoryStore()
    image = make_image(source, b"one layer", b"another layer")
    lost = Status(400, b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"unknown"}]}')
    script = Script(
        On("PUT", "/manifests/", fault=lost, times=2),
        On("HEAD", "/blobs/", fault=Status(404), nth=4, times=1),
    )
    with fault_proxy(server.host, script) as proxy:
        copy_image(source, store_at(proxy, "lost/blobs"), image, tag=V1)
        # Three, then the one that is gone; refused again, those of which it said that it has them.
        assert len(proxy.requests("POST", UPLOADS)) == 3 + 1 + 2
    assert server.store("lost/blobs").manifest(V1) == image


def test_a_registry_that_keeps_losing_blobs_is_given_up(server: Server) -> None:
    source = MemoryStore()
    image = make_image(source, b"a layer")
    lost = Status(400, b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}')
    with fault_proxy(server.host, Script(On("PUT", "/manifests/", fault=lost, times=99))) as proxy:
        with pytest.raises(PublishError, match="MANIFEST_BLOB_UNKNOWN"):
            copy_image(source, store_at(proxy, "lost/for/good"), image)
        assert len(proxy.requests("PUT", "/manifests/")) == 3


def test_a_registry_that_is_down_for_a_moment(server: Server) -> None:
    with fault_proxy(server.host, Script(On("POST", UPLOADS, fault=Down()))) as proxy:

        def wait(_seconds: float) -> None:
            proxy.up()

        retry = Retry(base=0.0, sleep=wait)
        store = store_at(proxy, "down", conduct=Conduct(retry=retry))
        store.put_blob(blob_of(BIG), BytesBlob(BIG))
    assert server.store("down").has_blob(blob_of(BIG))


def test_a_mirror_takes_no_pushes(server: Server) -> None:
    server.store("mirrored").put_manifest(make_image(server.store("mirrored"), b"layer"), V1)
    with registry_server(proxy=f"http://{server.host}") as mirror:
        store = mirror.store("mirrored")
        assert store.tags() == (V1,)
        with pytest.raises(CredentialError, match="mirror or read-only"):
            store.check_push()


def test_a_slow_answer_is_a_failure_that_passes(server: Server) -> None:
    never = threading.Event()
    with fault_proxy(server.host, Script(On("GET", "/tags/", fault=Delay(never)))) as proxy:
        quick = WayOut(timeouts=Timeouts(connect=60.0, read=2.0))
        told: list[str] = []
        conduct = Conduct(retry=AT_ONCE, observe=told.append)
        client = RegistryClient(
            Endpoint(host=proxy.host, insecure=True), conduct=conduct, network=quick
        )
        assert RegistryStore(client, Repository(proxy.host, "slow")).tags() == ()
        never.set()
    assert "timed out" in told[0]


@pytest.mark.parametrize("seed", range(12))
def test_random_faults_never_damage_a_copy(server: Server, seed: int) -> None:
    copy_with_faults(server, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 300))
def test_random_faults_never_damage_a_copy_at_length(server: Server, seed: int) -> None:
    copy_with_faults(server, seed)


def copy_with_faults(server: Server, seed: int) -> None:
    """A copy either arrives whole or fails with the tag unmoved; the next try completes it."""
    source = MemoryStore()
    layers = [
        bytes([seed % 256]) * 300_000,
        b"shared",
        bytes([number % 251 for number in range(90_000)]),
    ]
    index = make_index(
        source,
        amd64=make_image(source, *layers),
        arm64=make_image(source, *layers[1:], b"arm", architecture="arm64"),
    )
    path = f"random/{seed}"
    chunk = None if seed % 2 else 50_000
    policy = UploadPolicy() if chunk is None else UploadPolicy(whole_up_to=0, chunk=chunk)
    heard: list[int] = []
    with fault_proxy(server.host, RandomFaults(seed, rate=0.25, total=60)) as proxy:
        for _ in range(60):
            try:
                copy_image(
                    source, store_at(proxy, path, policy), index, tag=V1, on_bytes=heard.append
                )
            except (PublishError, VerificationError):
                assert server.store(path).head(V1) in (None, index.descriptor)
            else:
                break
    there = server.store(path)
    assert there.manifest(V1) == index
    assert descendants(there, index) == descendants(source, index)
    for each in descendants(there, index):
        for blob in each.blobs:
            with there.blob(blob) as content:
                assert b"".join(content.chunks()) == source.blobs[blob.digest]
    # Less, where a blob arrived whose upload seemed to fail for good.
    assert 0 < sum(heard) <= sum(map(len, source.blobs.values()))
