"""What a run knows of a registry is not asked again: a GET is a pull on Docker Hub."""

from __future__ import annotations

import base64
import json

from podbuild.oci.auth.files import AccessScope, claimed
from podbuild.oci.client import RegistryClient
from podbuild.oci.manifest import FRESH, KnownManifests, Manifest, MediaType, Presence
from podbuild.oci.names import Digest, Repository, Tag
from podbuild.oci.registry import RegistryStore
from podbuild.oci.transport.endpoint import Endpoint, Pace
from tests.fakes.answering import Answer, Answering, Asked, answering
from tests.registries import IN_TESTS

MANIFEST = Manifest(MediaType.OCI_INDEX, b'{"schemaVersion":2,"manifests":[]}')
HEADERS = {
    "Content-Type": MANIFEST.media_type,
    "Docker-Content-Digest": str(MANIFEST.digest),
}


def store_at(server: Answering, known: KnownManifests | None = None) -> RegistryStore:
    client = RegistryClient(
        Endpoint(host=server.host, insecure=True), network=IN_TESTS, manifests=known
    )
    return RegistryStore(client, Repository(server.host, "acme/web"))


def asked(server: Answering) -> list[str]:
    return [f"{each.method} {each.path.rpartition('/')[2]}" for each in server.asked]


def test_a_second_tag_of_one_image_costs_no_get() -> None:
    with answering(lambda _asked: Answer(200, MANIFEST.data, HEADERS)) as server:
        store = store_at(server)
        assert store.manifest(Tag("1.2.3")) == MANIFEST
        assert store.manifest(Tag("latest")) == MANIFEST
        assert store.manifest(MANIFEST.digest) == MANIFEST
        assert asked(server) == ["GET 1.2.3", "HEAD latest"]


def test_what_another_registry_gave_is_only_asked_for() -> None:
    known = KnownManifests()
    known.add(MANIFEST)
    with answering(lambda _asked: Answer(200, MANIFEST.data, HEADERS)) as server:
        assert store_at(server, known).manifest(MANIFEST.digest) == MANIFEST
        assert asked(server) == [f"HEAD {MANIFEST.digest}"]
    with answering(lambda _asked: Answer(404)) as server:
        assert store_at(server, known).manifest(MANIFEST.digest) is None


def stores(request: Asked) -> Answer:
    return Answer(201 if request.method == "PUT" else 200, MANIFEST.data, HEADERS)


def test_what_was_stored_on_docker_hub_is_read_back_without_a_get() -> None:
    with answering(stores) as server:
        store = RegistryStore(store_at(server).client, Repository("docker.io", "acme/web"))
        store.put_manifest(MANIFEST, Tag("1.2.3"))
        assert store.manifest(MANIFEST.digest) == MANIFEST
        assert store.manifest(Tag("1.2.3")) == MANIFEST
        assert asked(server) == ["PUT 1.2.3", f"HEAD {MANIFEST.digest}", "HEAD 1.2.3"]


def test_what_was_stored_elsewhere_is_read_back() -> None:
    with answering(stores) as server:
        store = store_at(server)
        store.put_manifest(MANIFEST, Tag("1.2.3"))
        assert store.manifest(MANIFEST.digest) == MANIFEST
        assert asked(server) == ["PUT 1.2.3", f"GET {MANIFEST.digest}"]


def test_a_tag_that_names_something_else_now_is_read() -> None:
    other = Manifest(MediaType.OCI_INDEX, b'{"schemaVersion":2,"manifests":[] }')
    now = [MANIFEST]

    def answer(_asked: object) -> Answer:
        headers = {**HEADERS, "Docker-Content-Digest": str(now[0].digest)}
        return Answer(200, now[0].data, headers)

    with answering(answer) as server:
        store = store_at(server)
        assert store.manifest(Tag("latest")) == MANIFEST
        now[0] = other
        assert store.manifest(Tag("latest")) == other
        assert asked(server) == ["GET latest", "HEAD latest", "GET latest"]


def test_what_a_repository_said_holds_for_a_moment() -> None:
    now = [0.0]
    presence = Presence(clock=lambda: now[0])
    digest = Digest.of(b"x")
    assert not presence.has_read("acme/web")
    presence.add("acme/web", digest)
    assert presence.is_fresh("acme/web", digest)
    assert not presence.is_fresh("acme/api", digest)
    now[0] = FRESH
    assert not presence.is_fresh("acme/web", digest)
    now[0] = 0.0
    presence.forget("acme/web", digest)
    assert not presence.is_fresh("acme/web", digest)


def test_a_right_to_push_is_asked_once_for_a_namespace_and_for_each_package_of_ghcr() -> None:
    def answer(request: object) -> Answer:
        if getattr(request, "method") == "POST":  # noqa: B009  # what a fake was asked
            return Answer(202, b"", {"Location": "/v2/upload"})
        return Answer(200, b'{"name": "x", "tags": ["a"]}', {"Content-Type": "application/json"})

    with answering(answer) as server:
        first = store_at(server)
        for path in ("acme/web", "acme/api", "other/web"):
            RegistryStore(first.client, Repository(server.host, path)).check_push()
        posts = [each.path for each in server.asked if each.method == "POST"]
        assert posts == ["/v2/acme/web/blobs/uploads/", "/v2/other/web/blobs/uploads/"]
    with answering(answer) as server:
        client = store_at(server).client
        for path in ("acme/web", "acme/api"):
            RegistryStore(client, Repository("ghcr.io", path)).check_push()
        assert len([each for each in server.asked if each.method == "POST"]) == 2


def test_rights_are_read_from_tokens_that_can_be_read() -> None:
    rights = {"type": "repository", "name": "a/b", "actions": ["pull", "push"]}
    claims = base64.urlsafe_b64encode(json.dumps({"access": [rights, 7]}).encode()).decode()
    token = f"e30.{claims.rstrip('=')}.c2ln"
    assert list(claimed(token)) == [AccessScope.repository("a/b", "pull", "push")]
    for opaque in ("", "djE6YWNtZQ==", "a.b.c", "a.%.c", "e30.W10.x", "a.bnVsbA.c"):
        assert list(claimed(opaque)) == []


def test_after_a_complaint_all_requests_come_slower_and_then_faster_again() -> None:
    now = [100.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    pace = Pace(clock=lambda: now[0])
    for _ in range(40):
        pace.wait(sleep)
    assert now[0] == 100.0  # no limit until somebody complains
    pace.complained(wait=5.0)
    pace.complained(wait=5.0)  # the same burst
    assert pace.rate == 20.0
    pace.wait(sleep)
    assert now[0] == 105.0
    began = now[0]
    for _ in range(20):
        pace.wait(sleep)
    assert now[0] - began == 1.0 or abs(now[0] - began - 1.0) < 0.01
    pace.pleased()
    assert pace.rate == 25.0
    for _ in range(20):
        now[0] += 1.0
        pace.pleased()
    assert pace.rate is None


def test_a_wait_of_hours_is_nobody_elses() -> None:
    now = [0.0]
    pace = Pace(clock=lambda: now[0])
    pace.complained(wait=6 * 3600.0)
    slept: list[float] = []
    pace.wait(slept.append)
    assert slept == [60.0]
