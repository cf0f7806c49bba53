"""The staging registry over real HTTP, in the requests that containers/image makes."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from podbuild.build.staging.area import IncomingBlob, Pool, Staging, repository_name
from podbuild.build.staging.server import StagingRegistry
from podbuild.errors import BuildError, VerificationError
from podbuild.oci.layout import LayoutStore
from podbuild.oci.manifest import Descriptor, Manifest, MediaType
from podbuild.oci.names import Digest, Tag
from podbuild.oci.store import BytesBlob
from podbuild.system.locks import leased_folder
from tests.images import LAYER, blob_of

BIG = os.urandom(3 << 20)


@dataclass
class Client:
    """Speaks to a staging registry as an engine does."""

    registry: StagingRegistry

    def __post_init__(self) -> None:
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.auth = (self.registry.login.user, self.registry.login.password)

    def __call__(self, method: str, path: str, **options: object) -> requests.Response:
        url = path if path.startswith("http") else f"http://{self.registry.login.host}{path}"
        return self.session.request(method, url, timeout=60, **options)  # type: ignore[arg-type]

    def begin(self, name: str = "web") -> str:
        answer = self("POST", f"/v2/{name}/blobs/uploads/")
        assert answer.status_code == 202
        return answer.headers["Location"]

    def upload(self, data: bytes, name: str = "web") -> Digest:
        digest = Digest.of(data)
        location = self.begin(name)
        answer = self("PATCH", location, data=iter([data[:1000], data[1000:]]))  # chunked
        assert answer.status_code == 202
        assert answer.headers["Range"] == f"0-{len(data) - 1}"
        answer = self("PUT", f"{answer.headers['Location']}?digest={digest}")
        assert answer.status_code == 201
        return digest

    def manifest(self, *layers: bytes) -> Manifest:
        config = b'{"architecture":"amd64","os":"linux"}'
        content = {
            "schemaVersion": 2,
            "mediaType": MediaType.OCI_MANIFEST,
            "config": blob_of(config, MediaType.OCI_CONFIG).to_json(),
            "layers": [blob_of(layer).to_json() for layer in layers],
        }
        for part in (config, *layers):
            self.upload(part)
        return Manifest(MediaType.OCI_MANIFEST, json.dumps(content).encode())

    def put(self, manifest: Manifest, reference: str, name: str = "web") -> requests.Response:
        return self(
            "PUT",
            f"/v2/{name}/manifests/{reference}",
            data=manifest.data,
            headers={"Content-Type": manifest.media_type},
        )


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    found = Pool(tmp_path / "blobs")
    yield found
    found.close()


@pytest.fixture
def client(pool: Pool) -> Iterator[Client]:
    with StagingRegistry(Staging(pool)) as registry:
        found = Client(registry)
        yield found
        found.session.close()


def connected(client: Client) -> socket.socket:
    host, _, port = client.registry.login.host.partition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def code(answer: requests.Response) -> str:
    return str(answer.json()["errors"][0]["code"])


def test_only_this_runs_login_is_let_in(client: Client) -> None:
    assert client("GET", "/v2/").status_code == 200
    user, password = client.registry.login.user, client.registry.login.password
    for wrong in (None, (user, "wrong"), ("someone", password)):
        client.session.auth = wrong
        answer = client("GET", "/v2/")
        assert (answer.status_code, code(answer)) == (401, "UNAUTHORIZED")
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")


def test_the_password_is_new_for_every_run_and_in_no_text(pool: Pool) -> None:
    one, two = StagingRegistry(Staging(pool)), StagingRegistry(Staging(pool))
    with one, two:
        assert one.login.password != two.login.password
        assert one.login.password not in repr(one.login)
        assert one.reference("web", Tag("x")) == f"docker://{one.login.host}/web:x"


def test_it_listens_on_loopback_alone(client: Client) -> None:
    host, _, port = client.registry.login.host.partition(":")
    assert host == "127.0.0.1"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", int(port)), timeout=5)


@pytest.mark.parametrize("data", [b"x", BIG], ids=["small", "big"])
def test_a_blob_comes_back_as_it_went(client: Client, data: bytes) -> None:
    digest = client.upload(data)
    head = client("HEAD", f"/v2/web/blobs/{digest}")
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(data)))
    assert client("GET", f"/v2/web/blobs/{digest}").content == data


def test_one_request_can_bring_a_whole_blob(client: Client) -> None:
    digest = Digest.of(b"whole")
    answer = client("POST", f"/v2/web/blobs/uploads/?digest={digest}", data=b"whole")
    assert answer.status_code == 201
    answer = client("PUT", f"{client.begin()}?digest={Digest.of(b'put')}", data=b"put")
    assert answer.status_code == 201
    assert client("GET", answer.headers["Location"]).content == b"put"


def test_a_known_blob_is_known_under_every_name(client: Client) -> None:
    digest = client.upload(b"layer", "base")
    assert client("HEAD", f"/v2/other/name/blobs/{digest}").status_code == 200
    mounted = client("POST", f"/v2/web/blobs/uploads/?mount={digest}&from=base")
    assert mounted.status_code == 201
    unknown = Digest.of(b"unknown")
    assert client("HEAD", f"/v2/web/blobs/{unknown}").status_code == 404
    assert client("POST", f"/v2/web/blobs/uploads/?mount={unknown}").status_code == 202


def test_wrong_bytes_are_refused_and_not_kept(client: Client, pool: Pool) -> None:
    wrong = Digest.of(b"expected")
    answer = client("PUT", f"{client.begin()}?digest={wrong}", data=b"other")
    assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")
    assert pool.size(wrong) is None
    assert pool.size(Digest.of(b"other")) is None
    assert not [path for path in pool.folder.rglob("*") if path.is_file() and path.stat().st_size]


@pytest.mark.parametrize("digest", ["", "sha256:00", f"sha512:{'0' * 128}", "md5:x"])
def test_only_sha256_is_taken(client: Client, digest: str) -> None:
    answer = client("PUT", f"{client.begin()}?digest={digest}", data=b"x")
    assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")


def test_a_piece_out_of_order_is_refused(client: Client) -> None:
    location = client.begin()
    client("PATCH", location, data=b"0123", headers={"Content-Range": "0-3"})
    answer = client("PATCH", location, data=b"x", headers={"Content-Range": "9-9"})
    assert (answer.status_code, code(answer)) == (416, "BLOB_UPLOAD_INVALID")


def test_an_upload_that_is_given_up_is_gone(client: Client) -> None:
    location = client.begin()
    assert client("DELETE", location).status_code == 204
    assert client("PATCH", location, data=b"x").status_code == 404


def test_a_manifest_is_found_by_tag_and_digest(client: Client) -> None:
    manifest = client.manifest(b"one", b"two")
    answer = client.put(manifest, "linux-amd64")
    assert answer.status_code == 201
    assert answer.headers["Docker-Content-Digest"] == str(manifest.digest)
    for reference in ("linux-amd64", str(manifest.digest)):
        found = client("GET", f"/v2/web/manifests/{reference}")
        assert found.content == manifest.data
        assert found.headers["Content-Type"] == manifest.media_type
    assert client("GET", "/v2/web/tags/list").json() == {"name": "web", "tags": ["linux-amd64"]}
    assert client("HEAD", "/v2/web/manifests/other").status_code == 404
    assert client("GET", "/v2/other/tags/list").json()["tags"] == []


def test_a_manifest_needs_its_parts(client: Client) -> None:
    layer = blob_of(b"missing")
    content = {"config": layer.to_json(), "layers": []}
    manifest = Manifest(MediaType.OCI_MANIFEST, json.dumps(content).encode())
    answer = client.put(manifest, "x")
    assert (answer.status_code, code(answer)) == (404, "MANIFEST_BLOB_UNKNOWN")
    index = {"manifests": [manifest.descriptor.to_json()]}
    answer = client.put(Manifest(MediaType.OCI_INDEX, json.dumps(index).encode()), "x")
    assert (answer.status_code, code(answer)) == (404, "MANIFEST_BLOB_UNKNOWN")


def test_a_manifest_under_another_digest_is_refused(client: Client) -> None:
    answer = client.put(client.manifest(b"one"), str(Digest.of(b"other")))
    assert (answer.status_code, code(answer)) == (400, "DIGEST_INVALID")


@pytest.mark.parametrize(
    ("media_type", "data"), [("text/html", b"{}"), (MediaType.OCI_MANIFEST, b"<html>")]
)
def test_what_is_no_manifest_is_refused(client: Client, media_type: str, data: bytes) -> None:
    assert client.put(Manifest(media_type, data), "x").status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/web/nothing/x", 404),
        ("GET", "/v2/../blobs/x", 404),
        ("DELETE", f"/v2/web/blobs/{Digest.of(b'x')}", 405),
        ("DELETE", "/v2/web/manifests/x", 405),
        ("GET", "/v2/web/manifests/-bad", 400),
    ],
)
def test_nothing_else_is_answered(client: Client, method: str, path: str, status: int) -> None:
    assert client(method, path).status_code == status


def test_one_connection_serves_many_requests(client: Client) -> None:
    with connected(client) as raw:
        head = f"Host: x\r\nAuthorization: Basic {client.registry.login.basic}\r\n\r\n"
        for _ in range(3):
            raw.sendall(f"GET /v2/ HTTP/1.1\r\n{head}".encode())
            answer = b""
            while not answer.endswith(b"{}"):
                answer += raw.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200")


def test_a_connection_that_breaks_leaves_no_blob(client: Client, pool: Pool) -> None:
    location = client.begin()
    with connected(client) as raw:
        head = f"Authorization: Basic {client.registry.login.basic}\r\nContent-Length: 100\r\n\r\n"
        raw.sendall(f"PUT {location}?digest={Digest.of(b'x')} HTTP/1.1\r\n{head}half".encode())
    assert client("GET", "/v2/").status_code == 200
    assert not list((pool.folder / "sha256").iterdir())


def test_a_manifest_in_several_packets_is_put_together(client: Client) -> None:
    manifest = client.manifest(b"one")
    middle = len(manifest.data) // 2
    with connected(client) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f"Authorization: Basic {client.registry.login.basic}\r\n"
        head += f"Content-Type: {manifest.media_type}\r\n"
        head += f"Content-Length: {len(manifest.data)}\r\n\r\n"
        raw.sendall(f"PUT /v2/web/manifests/x HTTP/1.1\r\n{head}".encode())
        raw.sendall(manifest.data[:middle])
        client("GET", "/v2/")  # time passes: the first half has arrived alone
        raw.sendall(manifest.data[middle:])
        assert raw.recv(4096).startswith(b"HTTP/1.1 201")
    assert client("GET", "/v2/web/manifests/x").content == manifest.data


def test_a_manifest_has_a_limit(client: Client) -> None:
    big = Manifest(MediaType.OCI_MANIFEST, b"{" + b" " * (5 << 20) + b"}")
    with suppress(requests.ConnectionError):  # it may be closed in the middle
        assert client.put(big, "x").status_code == 413
    assert client("HEAD", "/v2/web/manifests/x").status_code == 404


def test_it_stops_while_connections_are_open(pool: Pool) -> None:
    with StagingRegistry(Staging(pool)) as registry:
        client = Client(registry)
        client("GET", "/v2/")
    with pytest.raises(requests.ConnectionError):
        client("GET", "/v2/")
    client.session.close()


def test_stores_in_this_process_see_what_engines_delivered(client: Client) -> None:
    manifest = client.manifest(b"one", BIG)
    client.put(manifest, "linux-amd64")
    store = client.registry.staging.repository("web")
    assert store.manifest(Tag("linux-amd64")) == manifest
    assert store.head(manifest.digest) == manifest.descriptor
    assert store.tags() == (Tag("linux-amd64"),)
    layer = manifest.layers[1]
    assert store.has_blob(layer)
    with store.blob(layer) as source:
        assert b"".join(source.chunks()) == BIG
        assert b"".join(source.chunks(len(BIG) - 3)) == BIG[-3:]


def test_a_damaged_blob_is_noticed_and_removed(client: Client, pool: Pool) -> None:
    manifest = client.manifest(b"one", b"two")
    store = client.registry.staging.repository("web")
    pool.path(manifest.layers[0].digest).write_bytes(b"ont")
    with (
        store.blob(manifest.layers[0]) as source,
        pytest.raises(VerificationError, match="was removed"),
    ):
        b"".join(source.chunks())
    assert not store.has_blob(manifest.layers[0])


def test_what_a_power_cut_left_of_a_blob_is_sent_again(client: Client, pool: Pool) -> None:
    manifest = client.manifest(b"one", b"two")
    digest = manifest.layers[0].digest
    os.truncate(pool.path(digest), 2)
    assert client("HEAD", f"/v2/web/blobs/{digest}").status_code == 404
    assert client.put(manifest, "x").status_code == 404
    client.upload(b"one")
    assert client.put(manifest, "x").status_code == 201


def test_part_of_a_blob_whose_size_nobody_noted_goes(client: Client, pool: Pool) -> None:
    manifest = client.manifest(b"one", b"two")
    digest = manifest.layers[0].digest
    pool.path(digest).unlink()
    pool.path(digest).write_bytes(b"on")  # as on a file system without attributes
    assert client.put(manifest, "x").status_code == 404
    assert client("HEAD", f"/v2/web/blobs/{digest}").status_code == 404


def test_a_manifest_that_lies_about_a_size_costs_no_blob(client: Client) -> None:
    whole = client.manifest(b"one")
    lies = json.loads(whole.data)
    lies["layers"][0]["size"] = 2
    lying = Manifest(MediaType.OCI_MANIFEST, json.dumps(lies).encode())
    assert client.put(lying, "x").status_code == 404
    assert client.put(whole, "x").status_code == 201


def test_a_damaged_manifest_is_stored_anew(pool: Pool) -> None:
    digest = pool.add(b"a manifest")
    pool.path(digest).write_bytes(b"a monifest")
    pool.add(b"a manifest")
    assert pool.path(digest).read_bytes() == b"a manifest"


def test_a_layout_that_finds_a_damaged_blob_has_it_removed(client: Client, tmp_path: Path) -> None:
    layer = client.manifest(b"one").layers[0]
    store = client.registry.staging.repository("web")
    client.registry.staging.pool.path(layer.digest).write_bytes(b"ont")
    with (
        store.blob(layer) as source,
        pytest.raises(VerificationError, match="was removed"),
    ):
        LayoutStore(tmp_path / "layout").put_blob(layer, source)
    assert not store.has_blob(layer)


def test_a_store_takes_only_the_right_bytes(pool: Pool) -> None:
    store = Staging(pool).repository("web")
    blob = Descriptor(media_type=LAYER, digest=Digest.of(b"right"), size=5)
    with pytest.raises(VerificationError):
        store.put_blob(blob, BytesBlob(b"wrong"))
    counted: list[int] = []
    store.put_blob(blob, BytesBlob(b"right"), counted.append)
    assert sum(counted) == 5
    assert store.has_blob(blob)
    assert not store.has_blob(Descriptor(media_type=LAYER, digest=blob.digest, size=6))


def test_manifests_and_blobs_last_and_tags_do_not(tmp_path: Path) -> None:
    pool = Pool(tmp_path)
    with StagingRegistry(Staging(pool)) as registry:
        client = Client(registry)
        manifest = client.manifest(b"one")
        client.put(manifest, "linux-amd64")
        client.session.close()
    pool.close()
    again = Pool(tmp_path)
    store = Staging(again).repository("web")
    assert store.manifest(manifest.digest) == manifest
    assert store.manifest(Tag("linux-amd64")) is None
    assert all(store.has_blob(blob) for blob in manifest.blobs)
    again.close()


def test_a_layer_is_no_manifest(pool: Pool) -> None:
    staging = Staging(pool)
    for data in (b"{}", b"layer", b'{"mediaType":"x"}'):
        assert staging.repository("web").manifest(pool.add(data)) is None


def test_an_image_with_any_name_has_a_repository() -> None:
    assert repository_name("web-1.api") == "web-1.api"
    odd = [repository_name(name) for name in ("Web", "WEB", "a._b")]
    assert len(set(odd)) == len(odd)
    assert all(name.startswith("image-") for name in odd)


def test_what_a_dead_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    removed: list[str] = []

    def remove(folder: Path) -> None:
        removed.append(folder.name)

    with leased_folder(tmp_path, remove) as living:
        dead = tmp_path / "dead"
        dead.mkdir()
        (dead / "lease").touch()
        with leased_folder(tmp_path, remove) as mine:
            assert removed == ["dead"]
            assert mine != living
        assert removed == ["dead", mine.name]
    assert removed == ["dead", mine.name, living.name]


class FullPool(Pool):
    """A pool on a disk that is full."""

    def receive(self) -> IncomingBlob:
        link = self.folder / "full"
        if not link.is_symlink():
            link.symlink_to("/dev/full")
        return IncomingBlob(self, link)


def test_a_full_disk_is_told_to_the_engine_and_to_us(tmp_path: Path) -> None:
    pool = FullPool(tmp_path)
    staging = Staging(pool)
    with StagingRegistry(staging) as registry:
        client = Client(registry)
        answer = client("PUT", f"{client.begin()}?digest={Digest.of(b'x')}", data=b"x")
        client.session.close()
    assert answer.status_code == 507
    assert "no space left on device" in answer.json()["errors"][0]["message"]
    assert isinstance(staging.failure, BuildError)
    pool.close()
