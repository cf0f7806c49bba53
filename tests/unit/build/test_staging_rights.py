"""Who may do what in staging: one login per delivery, and few strangers at the door."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from podbuild.build.staging import server
from podbuild.build.staging.area import Pool, Staging
from podbuild.build.staging.rights import Login
from podbuild.build.staging.server import STRANGERS, StagingRegistry
from podbuild.oci.names import Digest, Tag
from tests.unit.build.test_staging import Client

TAG = Tag("linux-amd64")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[StagingRegistry]:
    pool = Pool(tmp_path / "blobs")
    with StagingRegistry(Staging(pool)) as found:
        yield found
    pool.close()


@pytest.fixture
def owner(registry: StagingRegistry) -> Client:
    """Give a client with the login that is good for everything."""
    return Client(registry)


def as_holder(registry: StagingRegistry, login: Login) -> Client:
    client = Client(registry)
    client.session.auth = (login.user, login.password)
    return client


def test_a_login_replaces_no_other_image(registry: StagingRegistry, owner: Client) -> None:
    right, wrong = owner.manifest(b"right"), owner.manifest(b"wrong")
    assert owner.put(right, str(TAG), "web").status_code == 201
    with registry.granted("api", TAG) as grant:
        thief = as_holder(registry, grant.login)
        for name in ("web", "api/../web", "base"):
            assert thief.put(wrong, str(TAG), name).status_code in (403, 404)
        assert thief.put(wrong, "index", "api").status_code == 403
        assert thief("POST", "/v2/web/blobs/uploads/").status_code == 403
    assert registry.staging.repository("web").manifest(TAG) == right


def test_a_tag_is_written_once_by_each_login(registry: StagingRegistry, owner: Client) -> None:
    first, second = owner.manifest(b"first"), owner.manifest(b"second")
    with registry.granted("web", TAG) as grant:
        engine = as_holder(registry, grant.login)
        assert engine.put(first, str(TAG)).status_code == 201
        assert engine.put(second, str(TAG)).status_code == 403
        assert engine.put(first, str(TAG)).status_code == 201  # asked again, the same
        assert grant.delivered == first
    with registry.granted("web", TAG) as again:  # a delivery that is tried again
        assert as_holder(registry, again.login).put(second, str(TAG)).status_code == 201
        assert again.delivered == second


def test_a_login_ends_with_its_delivery(registry: StagingRegistry) -> None:
    with registry.granted("web", TAG) as grant:
        assert as_holder(registry, grant.login)("GET", "/v2/").status_code == 200
    assert as_holder(registry, grant.login)("GET", "/v2/").status_code == 401


def test_a_login_reads_its_own_alone(registry: StagingRegistry, owner: Client) -> None:
    private = owner.manifest(b"of another image")
    owner.put(private, str(TAG), "web")
    blob = f"blobs/{Digest.of(b'of another image')}"
    with registry.granted("api", TAG, cache="api/cache") as grant:
        thief = as_holder(registry, grant.login)
        assert thief("HEAD", f"/v2/api/{blob}").status_code == 200  # known, need not be sent
        assert thief("GET", f"/v2/api/{blob}").status_code == 403
        for address in (blob, f"manifests/{TAG}", f"manifests/{private.digest}", "tags/list"):
            assert thief("GET", f"/v2/web/{address}").status_code == 403
    with registry.granted("web", Tag("index"), reads=True) as grant:
        reader = as_holder(registry, grant.login)
        assert reader("GET", f"/v2/web/{blob}").content == b"of another image"


def test_what_another_delivery_sent_need_not_be_sent_again(
    registry: StagingRegistry, owner: Client
) -> None:
    layer = owner.upload(b"of the base", "base")
    with registry.granted("web", TAG) as grant:
        engine = as_holder(registry, grant.login)
        # containers/image asks where it has put the layer, then mounts it (tryReusingBlob)
        assert engine("HEAD", f"/v2/base/blobs/{layer}").status_code == 200
        query = f"mount={layer}&from=base"
        assert engine("POST", f"/v2/web/blobs/uploads/?{query}").status_code == 201
        assert engine("GET", f"/v2/base/blobs/{layer}").status_code == 403


def test_thousands_of_strangers_keep_no_engine_out(registry: StagingRegistry) -> None:
    host, _, port = registry.login.host.partition(":")
    with ExitStack() as stack:
        calls = [
            stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
            for _ in range(STRANGERS + 200)
        ]
        with registry.granted("web", TAG) as grant:
            engine = as_holder(registry, grant.login)
            assert engine("GET", "/v2/").status_code == 200
            later = socket.create_connection((host, int(port)), timeout=60)
            stack.enter_context(later)
            assert calls[0].recv(1) == b""  # the oldest was turned away
            assert engine("GET", "/v2/").status_code == 200


def test_who_drips_its_request_is_turned_away(
    registry: StagingRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    host, _, port = registry.login.host.partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as slow:
        slow.sendall(b"GET /v2/ HTTP/1.1\r\nHost: ")
        assert slow.recv(1) == b""


def test_it_may_open_as_many_files_as_the_machine_allows(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    pool = Pool(tmp_path / "blobs")
    try:
        with StagingRegistry(Staging(pool)):
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 256
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        pool.close()
