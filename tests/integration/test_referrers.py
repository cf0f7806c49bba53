"""Attaching to registries that list referrers, that do not, and that only say they do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

import pytest

from podbuild.oci.attach import Attachments, fallback_tag
from podbuild.oci.keys import PrivateKey, read_private_key
from podbuild.oci.manifest import Manifest, MediaType
from podbuild.oci.names import Digest, Repository
from podbuild.oci.registry import RegistryStore
from podbuild.oci.signing import KeyAccepted, KeySigner
from podbuild.oci.statements import SIGNATURE, SPDX, Referrer, signed_referrer, statement
from podbuild.system.records import JSONValue
from tests.fakes.registry import forward
from tests.fakes.wire import Reply, Request, served
from tests.registries import Server, registry_server
from tests.signing import new_key, private_pem

pytestmark = pytest.mark.integration

SUBJECT = Manifest(MediaType.OCI_INDEX, b'{"schemaVersion":2,"manifests":[]}')


class Api(Enum):
    """How a registry answers the referrers API."""

    NONE = "404, as Distribution does"
    REAL = "lists them"
    EMPTY = "answers 200 and lists nothing"


@contextmanager
def front(server: Server, api: Api) -> Iterator[Server]:
    """Put an API before a real registry without one."""
    held: dict[str, list[JSONValue]] = {}

    def answer(request: Request) -> Reply:
        if "/referrers/" in request.path and api is not Api.NONE:
            entries = held.get(request.path.rpartition("/")[2], []) if api is Api.REAL else []
            body = json.dumps({"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX,
                               "manifests": entries}).encode()  # fmt: skip
            return Reply(status=200, body=body, headers={"Content-Type": MediaType.OCI_INDEX})
        reply = forward(server.host, request)
        if request.method == "PUT" and "/manifests/" in request.path and reply.status == 201:
            manifest = Manifest(request.headers["content-type"], request.body)
            if manifest.subject:
                listed = held.setdefault(str(manifest.subject.digest), [])
                listed.append(manifest.listing.to_json())
        return reply

    with served(answer) as wire:
        yield Server(host=wire.host, storage=server.storage)


@pytest.fixture(scope="module")
def key() -> PrivateKey:
    return read_private_key(private_pem(new_key()).encode(), "", "the test's")


@pytest.fixture(scope="module")
def referrers(key: PrivateKey) -> tuple[Referrer, ...]:
    said = (
        statement("web", SUBJECT.digest, SIGNATURE, {}),
        statement("web", SUBJECT.digest, SPDX, {"packages": []}),
    )
    signer = KeySigner(key, KeyAccepted(key.public))
    return tuple(signed_referrer(SUBJECT, each, signer.bundle(each)) for each in said)


@pytest.mark.parametrize("api", Api)
def test_what_is_attached_is_found_and_put_once(api: Api, referrers: tuple[Referrer, ...]) -> None:
    with registry_server() as server, front(server, api) as seen:
        store = RegistryStore(seen.client(), Repository(seen.host, "acme/web"))
        store.put_manifest(SUBJECT)
        waits: list[float] = []
        for _ in range(2):
            notes = Attachments(store, waits.append).put(SUBJECT.digest, referrers)
            assert bool(notes) == (api is Api.EMPTY)
        wanted = tuple(sorted(each.manifest.digest for each in referrers))
        assert Attachments(store, waits.append).of(SUBJECT.digest) == wanted
        by_tag = store.manifest(fallback_tag(SUBJECT.digest))
        assert (by_tag is None) == (api is Api.REAL)
        if by_tag is not None:
            assert [each.digest for each in by_tag.children] == [*wanted]
            entries = {each.digest: each for each in by_tag.children}
            for each in referrers:
                listed = entries[each.manifest.digest]
                assert listed.artifact_type == each.manifest.content["artifactType"]
                assert listed.annotations == each.manifest.annotations


def test_entries_of_others_stay_under_the_tag(referrers: tuple[Referrer, ...]) -> None:
    first, second = referrers
    with registry_server() as server:
        store = server.store()
        store.put_manifest(SUBJECT)
        place = Attachments(store, lambda _seconds: None)
        place.put(SUBJECT.digest, [first])
        place.put(SUBJECT.digest, [second])
        assert set(place.of(SUBJECT.digest)) == {each.manifest.digest for each in referrers}


def test_an_entry_without_its_type_is_repaired(referrers: tuple[Referrer, ...]) -> None:
    """Older clients write neither type nor annotations, and then nobody finds it."""
    first = referrers[0]
    with registry_server() as server:
        store = server.store()
        store.put_manifest(SUBJECT)
        place = Attachments(store, lambda _seconds: None)
        place.put(SUBJECT.digest, [first])
        poor = json.dumps({"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX, "manifests": [
            first.manifest.descriptor.to_json()]}).encode()  # fmt: skip
        tag = fallback_tag(SUBJECT.digest)
        store.put_manifest(Manifest(MediaType.OCI_INDEX, poor), tag)
        place.put(SUBJECT.digest, [first])
        found = store.manifest(tag)
        assert found is not None
        assert found.children[0].artifact_type == first.manifest.content["artifactType"]


def test_nothing_is_attached_to_what_has_nothing() -> None:
    with registry_server() as server:
        place = Attachments(server.store(), lambda _seconds: None)
        assert place.of(Digest.of(b"nothing")) == ()
