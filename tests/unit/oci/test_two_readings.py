"""What one reader takes for this and another for that: addresses, manifests, JSON."""

from __future__ import annotations

import json
from contextlib import ExitStack, suppress

import pytest

from podbuild.errors import CleanupError, PodbuildError, PublishError, VerificationError
from podbuild.oci.auth.files import Credential
from podbuild.oci.client import RegistryClient
from podbuild.oci.delete.registry import OciRemover
from podbuild.oci.manifest import KnownManifests, Manifest, MediaType
from podbuild.oci.names import Digest, Repository, Tag
from podbuild.oci.referrers import Referrers
from podbuild.oci.registry import RegistryStore
from podbuild.oci.transport.endpoint import Endpoint
from podbuild.oci.transport.problem import Response, next_page
from tests.fakes.answering import Answer, Answering, Asked, answering
from tests.registries import IN_TESTS

CHILD = {"mediaType": str(MediaType.OCI_MANIFEST), "digest": f"sha256:{'a' * 64}", "size": 3}
LOGIN = Credential(username="ci", secret="s3cret", source="a test")


def store_at(
    server: Answering, login: Credential | None = None, known: KnownManifests | None = None
) -> RegistryStore:
    endpoint = Endpoint(host=server.host, insecure=True)
    client = RegistryClient(endpoint, login, network=IN_TESTS, manifests=known)
    return RegistryStore(client, Repository(server.host, "acme/web"))


@pytest.mark.parametrize(
    "address",
    [
        r"http://{other}\@{here}/v2/x",
        r"http://{other}\\@{here}/v2/x",
        r"//{other}\@{here}/v2/x",
        "http://{other}\t\\@{here}/v2/x",
        r"http://ci:x@{other}\@{here}/",
    ],
)
@pytest.mark.parametrize("way", ["redirect", "next page", "token server"])
def test_a_login_goes_to_no_address_that_names_two_hosts(address: str, way: str) -> None:
    """What the login is for, and where the connection goes, are read by two parsers."""
    with ExitStack() as stack:
        other = stack.enter_context(answering(lambda _asked: Answer(200, b'{"token":"t"}')))

        def answer(asked: Asked) -> Answer:
            named = address.format(other=other.host, here=here.host)
            if not asked.headers.get("authorization"):
                realm = named if way == "token server" else f"http://{here.host}/token"
                scheme = "Bearer" if way == "token server" else "Basic"
                return Answer(401, b"", {"WWW-Authenticate": f'{scheme} realm="{realm}"'})
            if way == "redirect":
                return Answer(307, b"", {"Location": named})
            return Answer(200, b'{"tags":["a"]}', {"Link": f'<{named}>; rel="next"'})

        here = stack.enter_context(answering(answer))
        with pytest.raises(PodbuildError):
            store_at(here, LOGIN).tags()
        assert other.asked == []


def index(**more: object) -> bytes:
    return json.dumps({"schemaVersion": 2, "manifests": [CHILD], **more}).encode()


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (MediaType.OCI_MANIFEST, index()),
        (MediaType.DOCKER_MANIFEST, index(mediaType=str(MediaType.DOCKER_LIST))),
        (MediaType.OCI_MANIFEST, index(layers=[], config={})),
        (MediaType.OCI_INDEX, index(layers=[])),
        (MediaType.OCI_INDEX, index(Config={})),
        (MediaType.OCI_MANIFEST, index().replace(b"manifests", b"Manifests")),
        (MediaType.OCI_INDEX, b'{"mediaType":"%b"}' % MediaType.OCI_MANIFEST.encode()),
        (MediaType.OCI_MANIFEST, b'{"mediaType":"%b"}' % MediaType.OCI_INDEX.encode()),
    ],
)
def test_a_manifest_of_two_kinds_is_neither(kind: MediaType, data: bytes) -> None:
    """A cleanup would not see the children, on every registry that holds the same bytes."""
    known = KnownManifests()
    with answering(lambda _asked: Answer(200, data, {"Content-Type": kind})) as server:
        store = store_at(server, known=known)
        for target in (Tag("latest"), Digest.of(data)):
            with pytest.raises(VerificationError, match="comes as"):
                store.manifest(target)
    assert known.get(Digest.of(data)) is None


def test_an_index_without_a_type_of_its_own_is_one() -> None:
    headers = {"Content-Type": MediaType.OCI_INDEX}
    with answering(lambda _asked: Answer(200, index(), headers)) as server:
        found = store_at(server).manifest(Tag("latest"))
    assert found is not None
    assert len(found.children) == 1


@pytest.mark.parametrize("part", [b"[]", b"{}", b'{"a":1}', b"[[]]"])
def test_small_json_does_not_fill_the_memory(part: bytes) -> None:
    """A list or an object takes thirty times its text."""
    data = b'{"manifests":[' + b",".join([part] * 300_000) + b"]}"
    with pytest.raises(VerificationError):
        _ = Manifest(MediaType.OCI_INDEX, data).content


def test_referrers_that_do_not_end_are_not_kept() -> None:
    page = json.dumps({"manifests": [CHILD] * 4000}).encode()

    def answer(asked: Asked) -> Answer:
        following = f'<{asked.path}x>; rel="next"'
        return Answer(200, page, {"Content-Type": MediaType.OCI_INDEX, "Link": following})

    with answering(answer) as server, pytest.raises(CleanupError, match="does not end"):
        Referrers(store_at(server))(Digest.of(b"x"))
    assert len(server.asked) == 3


@pytest.mark.parametrize("loop", [("a",), ("a", "b"), ("a", "b", "c")])
def test_a_cleanup_takes_no_pages_in_a_circle_for_a_list(loop: tuple[str, ...]) -> None:
    """What the circle leaves out would count as a tag that is not there."""

    def answer(asked: Asked) -> Answer:
        at = next((n for n, name in enumerate(loop) if asked.path.endswith(name)), -1)
        link = f'</v2/acme/web/tags/list?page={loop[(at + 1) % len(loop)]}>; rel="next"'
        return Answer(200, b'{"tags":["t%d"]}' % at, {"Link": link})

    with answering(answer) as server, pytest.raises(PublishError, match="does not end"):
        OciRemover(store_at(server)).inventory()
    assert len(server.asked) == len(loop) + 1


@pytest.mark.parametrize("shown", ["any", "digests", "tags"])
def test_a_registry_that_looks_at_no_names_is_asked_to_delete_nothing(shown: str) -> None:
    """What can be deleted is tried with a name that can't exist: there it stands for an image."""
    manifest = Manifest(MediaType.OCI_INDEX, b'{"schemaVersion":2,"manifests":[]}')
    headers = {"Content-Type": manifest.media_type, "Docker-Content-Digest": str(manifest.digest)}

    def answer(asked: Asked) -> Answer:
        kind = "digests" if "/manifests/sha256:" in asked.path else "tags"
        found = shown in ("any", kind)
        return Answer(200, manifest.data, headers) if found else Answer(404)

    with answering(answer) as server:
        with suppress(PodbuildError):  # a digest that is not the one asked for is an error
            assert not OciRemover(store_at(server)).abilities().manifests
        assert "DELETE" not in {asked.method for asked in server.asked}


def test_manifests_that_are_remembered_do_not_fill_the_memory() -> None:
    made = [Manifest(MediaType.OCI_INDEX, b"%d" % each * 100) for each in range(10)]
    known = KnownManifests(most=350)
    for each in (*made[:2], *made[:2], *made):
        known.add(each)
    assert [known.get(each.digest) for each in made] == [None] * 7 + made[7:]


@pytest.mark.parametrize("part", [";rel= ", ';rel="', ';a=""', ";", ';rel="a '])
def test_a_long_link_is_read_once(part: str) -> None:
    """Each part was read to the end of all: these would take an hour."""
    headers = {"link": f"<https://a/2>{part * 200_000}"}
    page = Response(method="GET", url="https://a/", status=200, headers=headers)
    assert next_page(page) == ""


@pytest.mark.parametrize(
    ("relation", "is_next"),
    [
        ('rel="next"', True), ("rel=next", True), ('REL="prev NEXT"', True), ("rel = next", True),
        ('rel="nextish"', False), ("rel=prev", False), ('title="rel=next"', False),
        ('title="a; rel=next"; rel=last', False),
        ('title="a; b"; rel="next"', True),
    ],
)  # fmt: skip
def test_the_next_page_is_what_is_called_so(relation: str, is_next: bool) -> None:
    headers = {"link": f"</2>; {relation}"}
    page = Response(method="GET", url="https://a/", status=200, headers=headers)
    assert next_page(page) == ("https://a/2" if is_next else "")
