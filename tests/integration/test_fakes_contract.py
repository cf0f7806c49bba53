"""The fakes' registry half and the real server answer the same questions alike."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection

import pytest

from podbuild.oci.manifest import MANIFEST_TYPES, Manifest
from podbuild.oci.names import Digest, Repository, Tag
from podbuild.oci.store import Store
from tests.fakes.registry import Profile, State, registry_half
from tests.images import make_image, make_index
from tests.registries import Server, registry_server

pytestmark = pytest.mark.integration

ACCEPT = {"Accept": ", ".join(MANIFEST_TYPES)}
OWN = {"docker-content-digest", "content-type", "content-length"}  # what clients rely on


@dataclass(frozen=True)
class Answer:
    """What of an answer matters to a client."""

    status: int
    headers: tuple[tuple[str, str], ...]
    codes: tuple[str, ...]
    body: bytes


@dataclass(frozen=True)
class Side:
    """One of the two servers, with the same images in it."""

    host: str
    store: Store
    index: Manifest
    image: Manifest

    def ask(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        connection = HTTPConnection(self.host, timeout=30)
        try:
            path = f"/v2/acme/web/{target}"
            connection.request(method, path, body=body or None, headers=headers or ACCEPT)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        named = {name.lower(): value for name, value in answer.getheaders()}
        codes: tuple[str, ...] = ()
        if answer.status >= 400 and data:
            codes = tuple(each["code"] for each in json.loads(data)["errors"])
        relied = {name: value for name, value in named.items() if name in OWN}
        if answer.status >= 400 or target.startswith("tags/"):
            relied = {}
        return Answer(answer.status, tuple(sorted(relied.items())), codes, b"" if codes else data)


@pytest.fixture(params=["distribution3", "ghcr", "hub", "gcr"])
def sides(request: pytest.FixtureRequest) -> Iterator[tuple[Side, Side]]:
    with ExitStack() as stack:
        real = stack.enter_context(registry_server())
        behind = stack.enter_context(registry_server())
        state = State(
            upstream=behind.host,
            profile=Profile(request.param),
            clock=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        )
        half = stack.enter_context(registry_half(state))
        yield filled(real), filled(Server(host=half.host, storage=behind.storage))


def filled(server: Server) -> Side:
    assert Repository.parse(f"{server.host}/acme/web").path == "acme/web"
    store = server.store("acme/web")
    image = make_image(store, b"layer")
    index = make_index(store, amd64=image)
    store.put_manifest(index, Tag("1.0.0"))
    store.put_manifest(image, Tag("image"))
    return Side(server.host, store, index, image)


def manifest(side: Side, **changes: object) -> bytes:
    return json.dumps({**json.loads(side.image.data), **changes}).encode()


Question = Callable[[Side], Answer]
MISSING = str(Digest.of(b"missing"))
TYPE: dict[str, str] = {"Content-Type": MANIFEST_TYPES[2]}
INDEX: dict[str, str] = {"Content-Type": MANIFEST_TYPES[0]}
QUESTIONS: dict[str, Question] = {
    "get a tag": lambda side: side.ask("GET", "manifests/1.0.0"),
    "head a tag": lambda side: side.ask("HEAD", "manifests/1.0.0"),
    "head a digest": lambda side: side.ask("HEAD", f"manifests/{side.image.digest}"),
    "get a digest": lambda side: side.ask("GET", f"manifests/{side.index.digest}"),
    "unknown tag": lambda side: side.ask("GET", "manifests/nothing"),
    "head an unknown tag": lambda side: side.ask("HEAD", "manifests/nothing"),
    "unknown digest": lambda side: side.ask("GET", f"manifests/{MISSING}"),
    "list of tags": lambda side: sorted_tags(side.ask("GET", "tags/list")),
    "blob": lambda side: side.ask("GET", f"blobs/{side.image.layers[0].digest}"),
    "unknown blob": lambda side: side.ask("HEAD", f"blobs/{MISSING}"),
    "put under a tag": lambda side: side.ask("PUT", "manifests/new", manifest(side, a=1), TYPE),
    "put under a wrong digest": lambda side: side.ask(
        "PUT", f"manifests/{MISSING}", side.image.data, TYPE
    ),
    "put without its blobs": lambda side: side.ask(
        "PUT",
        "manifests/broken",
        manifest(side, layers=[{**side.image.layers[0].to_json(), "digest": MISSING}]),
        TYPE,
    ),
    "put without its child": lambda side: side.ask(
        "PUT",
        "manifests/broken",
        side.index.data.replace(str(side.image.digest).encode(), MISSING.encode()),
        INDEX,
    ),
    "put of another type": lambda side: side.ask("PUT", "manifests/odd", side.image.data, INDEX),
    "list after all that": lambda side: sorted_tags(side.ask("GET", "tags/list")),
}
DELETIONS: dict[str, Question] = {
    "delete an unknown digest": lambda side: side.ask("DELETE", f"manifests/{MISSING}"),
    "delete an index": lambda side: side.ask("DELETE", f"manifests/{loose(side).digest}"),
    "and then read it": lambda side: side.ask("GET", f"manifests/{lost(side).digest}"),
}


def sorted_tags(answer: Answer) -> Answer:
    """Debian's server does not sort, which is its right."""
    content = json.loads(answer.body)
    return Answer(answer.status, (), (), json.dumps(sorted(content["tags"])).encode())


def loose(side: Side) -> Manifest:
    """Push an index that no tag names."""
    return make_index(side.store, s390x=side.image)


def lost(side: Side) -> Manifest:
    found = loose(side)
    side.ask("DELETE", f"manifests/{found.digest}")
    return found


def comparable(answer: Answer) -> Answer:
    return Answer(answer.status, answer.headers, answer.codes, re.sub(rb"\s", b"", answer.body))


def test_both_answer_alike(sides: tuple[Side, Side]) -> None:
    real, fake = sides
    for name, question in QUESTIONS.items():
        assert comparable(question(fake)) == comparable(question(real)), name


def test_both_delete_digests_alike_where_the_fake_deletes(sides: tuple[Side, Side]) -> None:
    real, fake = sides
    if fake.ask("DELETE", f"manifests/{MISSING}").status == 405:
        assert fake.ask("DELETE", "manifests/1.0.0").status == 405
        return
    for name, question in DELETIONS.items():
        assert comparable(question(fake)) == comparable(question(real)), name
