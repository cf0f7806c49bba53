"""What some registries really do and others never: quay, Harbor, proxies, small test servers."""

from __future__ import annotations

import hashlib
import json
import socketserver
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from podbuild.errors import CredentialError, PublishError
from podbuild.oci.auth.files import AccessScope, Credential, CredentialKind
from podbuild.oci.client import RegistryClient
from podbuild.oci.delete import RemovalKind
from podbuild.oci.delete.dockerhub import HubApi
from podbuild.oci.delete.ghcr import GitHubApi
from podbuild.oci.delete.registry import OciRemover, delete
from podbuild.oci.delete.rest import RestClient
from podbuild.oci.manifest import Manifest, MediaType
from podbuild.oci.names import Digest, Repository, Tag
from podbuild.oci.referrers import Referrers
from podbuild.oci.registry import RegistryStore
from podbuild.oci.store import BytesBlob, PushRight
from podbuild.oci.transport.endpoint import Conduct, Endpoint, Timeouts, UploadPolicy, WayOut
from podbuild.oci.transport.http import Call, Http
from podbuild.oci.transport.problem import BlobsMissingError, Response
from tests.fakes.answering import Answer, Answering, Asked, answering
from tests.images import blob_of
from tests.registries import AT_ONCE, IN_TESTS, NOBODY, Authority, make_authority

MANIFEST = Manifest(
    MediaType.OCI_INDEX,
    json.dumps({"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX, "manifests": []}).encode(),
)
V1 = Tag("1.0.0")
ANN = Credential(username="ann", secret="secret-of-ann", source="the test")
HTML = {"Content-Type": "text/html; charset=utf-8"}
JSON = {"Content-Type": "application/json"}


def store_at(server: Answering, credential: Credential | None = None) -> RegistryStore:
    client = RegistryClient(
        Endpoint(host=server.host, insecure=True),
        credential,
        conduct=Conduct(retry=AT_ONCE),
        network=IN_TESTS,
    )
    return RegistryStore(client, Repository(server.host, "acme/web"))


def tags(*names: str) -> Answer:
    return Answer(200, json.dumps({"name": "acme/web", "tags": names}).encode(), JSON)


# --- answers that look like web pages (quay: Flask's default type, also without a body) ---


def quay(asked: Asked) -> Answer:
    if asked.method == "HEAD":
        return Answer(404, b"", JSON)
    if asked.method == "POST":
        location = f"http://{asked.headers['host']}{asked.path}1"
        return Answer(202, b"", {**HTML, "Location": location, "Range": "bytes=0-0"})
    return Answer(201, b"OK" if "/manifests/" in asked.path else b"", HTML)


def test_an_answer_without_a_body_is_no_web_page_whatever_its_type() -> None:
    with answering(quay) as server:
        store = store_at(server)
        store.put_blob(blob_of(b"data"), BytesBlob(b"data"))
        store.put_manifest(MANIFEST, V1)
    assert [asked.body for asked in server.asked if asked.method == "PUT"] == [
        b"data",
        MANIFEST.data,
    ]


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_web_page_is_no_success_of_a_push(method: str) -> None:
    def answer(asked: Asked) -> Answer:
        page = Answer(201, b"\n<!doctype html><title>Sign in</title>", HTML)
        return page if asked.method == method else quay(asked)

    with answering(answer) as server, pytest.raises(PublishError, match="answers with a web page"):
        store_at(server).put_blob(blob_of(b"data"), BytesBlob(b"data"))


def test_a_web_page_is_no_blob_that_is_damaged() -> None:
    page = b"<!doctype html><title>Blocked</title>"
    with answering(lambda _asked: Answer(200, page, HTML)) as storage:
        moved = Answer(307, b"", {"Location": f"http://{storage.host}/blob"})
        with answering(lambda _asked: moved) as server:
            with (
                pytest.raises(PublishError, match=f"{storage.host} answers with a web page"),
                store_at(server).blob(blob_of(b"data")) as content,
            ):
                tuple(content.chunks())
            with store_at(server).blob(blob_of(page)) as content:
                assert b"".join(content.chunks()) == page


# --- lists that come in several headers ---


@pytest.mark.parametrize("other", ['Basic realm="r"', "Negotiate"])
@pytest.mark.parametrize("first", [True, False])
def test_ways_to_log_in_may_come_in_headers_of_their_own(other: str, *, first: bool) -> None:
    def registry(asked: Asked) -> Answer:
        if asked.path.startswith("/token"):
            return Answer(200, b'{"token":"t"}', JSON)
        if asked.headers.get("authorization") == "Bearer t":
            return tags("a")
        bearer = f'Bearer realm="http://{asked.headers["host"]}/token",service="s"'
        ways = (bearer, other) if first else (other, bearer)
        return Answer(401, b"", {"WWW-Authenticate": ways})

    with answering(registry) as server:
        assert store_at(server, ANN).tags() == (Tag("a"),)


def test_links_may_come_in_headers_of_their_own() -> None:
    following = '</v2/acme/web/tags/list?n=1&last=a>; rel="next"'

    def registry(asked: Asked) -> Answer:
        if "last=a" in asked.path:
            return tags("b")
        return Answer(200, tags("a").body, {**JSON, "Link": (following, '</v2/>; rel="up"')})

    with answering(registry) as server:
        assert store_at(server).tags() == (Tag("a"), Tag("b"))


# --- token servers ---


Rights = dict[str, tuple[str, ...]]  # by method
USUAL: Rights = {"GET": ("pull",), "HEAD": ("pull",), "DELETE": ("delete",)}


def with_tokens(
    needed: Rights, grant: Callable[[AccessScope], tuple[str, ...] | None]
) -> Callable[[Asked], Answer]:
    """Answer as a registry whose tokens name their rights; None from `grant` is a 400.

    Its challenges hold no `error`, as Harbor's and quay's.
    """

    def token(asked: Asked) -> Answer:
        scopes = parse_qs(urlsplit(asked.path).query).get("scope", [])
        granted = [grant(scope) for text in scopes for scope in AccessScope.parse_all(text)]
        if None in granted:
            return Answer(400, b'{"message":"unable to decode actions"}', JSON)
        actions = sorted({action for found in granted for action in found or ()})
        return Answer(200, json.dumps({"token": "may-" + "-".join(actions)}).encode(), JSON)

    def answer(asked: Asked) -> Answer:
        if asked.path.startswith("/token"):
            return token(asked)
        wanted = needed.get(asked.method, ("pull", "push"))
        held = asked.headers.get("authorization", "").removeprefix("Bearer may-").split("-")
        if not set(wanted) <= set(held):
            scope = f"repository:acme/web:{','.join(wanted)}"
            realm = f"http://{asked.headers['host']}/token"
            challenge = f'Bearer realm="{realm}",service="s",scope="{scope}"'
            return Answer(401, b"", {"WWW-Authenticate": challenge})
        if asked.method == "GET":
            return tags("a")
        if asked.method == "POST":
            return Answer(202, b"", {"Location": f"{asked.path}1"})
        return Answer(202 if asked.method == "DELETE" else 201)

    return answer


def test_a_push_does_not_suffer_from_an_upload_that_could_not_be_cancelled() -> None:
    def grant(scope: AccessScope) -> tuple[str, ...]:
        return tuple(action for action in scope.actions if action != "delete")

    with answering(with_tokens(USUAL, grant)) as server:
        store = store_at(server, ANN)
        assert store.check_push() is PushRight.ALLOWED
        before = len(server.asked)
        store.put_blob(blob_of(b"data"), BytesBlob(b"data"))
        assert [asked.method for asked in server.asked[before:]] == ["POST", "PUT"]


def test_a_token_server_that_knows_no_right_to_delete_gives_the_one_that_is_named() -> None:
    def grant(scope: AccessScope) -> tuple[str, ...] | None:
        return None if "delete" in scope.actions else scope.actions

    with answering(with_tokens({**USUAL, "DELETE": ("pull", "push")}, grant)) as server:
        store = store_at(server, ANN)
        assert store.tags() == (Tag("a"),)
        assert delete(store, Digest.of(b"one")).status == 202
        before = len(server.asked)
        assert delete(store, Digest.of(b"two")).status == 202
        assert [asked.method for asked in server.asked[before:]] == ["DELETE"]


def test_a_login_that_may_not_delete_is_told_so() -> None:
    def grant(scope: AccessScope) -> tuple[str, ...] | None:
        return None if "delete" in scope.actions else scope.actions

    with answering(with_tokens(USUAL, grant)) as server:
        store = store_at(server, ANN)
        with pytest.raises(PublishError, match="unable to decode actions"):
            delete(store, Digest.of(b"one"))


@pytest.mark.parametrize("empty", ['""', "null"])
def test_either_name_of_a_token_will_do(empty: str) -> None:
    def registry(asked: Asked) -> Answer:
        if asked.path.startswith("/token"):
            return Answer(200, f'{{"token":{empty},"access_token":"t"}}'.encode(), JSON)
        if asked.headers.get("authorization") == "Bearer t":
            return tags("a")
        realm = f"http://{asked.headers['host']}/token"
        return Answer(401, b"", {"WWW-Authenticate": f'Bearer realm="{realm}"'})

    with answering(registry) as server:
        assert store_at(server, ANN).tags() == (Tag("a"),)


def test_an_identity_token_is_no_password() -> None:
    token = Credential(
        username="<token>",
        secret="identity-of-ann",
        source="the test",
        kind=CredentialKind.IDENTITY_TOKEN,
    )
    wanted = Answer(401, b"", {"WWW-Authenticate": 'Basic realm="r"'})
    with answering(lambda _asked: wanted) as server:
        with pytest.raises(CredentialError, match="the login from the test holds an identity"):
            store_at(server, token).tags()
        assert all("authorization" not in asked.headers for asked in server.asked)


# --- lists of tags ---


def named(count: int) -> list[str]:
    return [f"t{number:05}" for number in range(count)]


@pytest.mark.parametrize("most", [100, 1000])
def test_a_list_that_is_cut_without_a_link_is_asked_for_its_rest(most: int) -> None:
    every = named(2500)

    def cutting(asked: Asked) -> Answer:
        query = parse_qs(urlsplit(asked.path).query)
        rest = [name for name in every if name > query.get("last", [""])[0]]
        return tags(*rest[: min(most, int(query["n"][0]))])

    with answering(cutting) as server:
        assert list(map(str, store_at(server).tags())) == every


def test_a_server_that_lists_all_whatever_is_asked_is_asked_once_more_at_most() -> None:
    with answering(lambda _asked: tags(*named(1000))) as server:
        assert len(store_at(server).tags()) == 1000
        assert len(server.asked) == 2


def test_what_a_list_holds_besides_tags_is_no_tag() -> None:
    """Nexus lists nulls, Artifactory the digests of what has no tag."""
    listed = ["1.0.0", None, "", str(MANIFEST.digest), "latest"]
    body = json.dumps({"name": "acme/web", "tags": listed}).encode()
    with answering(lambda _asked: Answer(200, body, JSON)) as server:
        assert store_at(server).tags() == (Tag("1.0.0"), Tag("latest"))


# --- addresses that are none ---


@pytest.mark.parametrize("address", ["http://[::1", "http://host:99999/x", "http://host:port/x"])
@pytest.mark.parametrize("where", ["Location", "Link", "WWW-Authenticate"])
def test_an_address_that_is_none_is_told_in_one_line(address: str, where: str) -> None:
    text = {
        "Location": address,
        "Link": f'<{address}>; rel="next"',
        "WWW-Authenticate": f'Bearer realm="{address}"',
    }
    status = {"Location": 307, "Link": 200, "WWW-Authenticate": 401}
    answer = Answer(status[where], tags("a").body, {**JSON, where: text[where]})
    with answering(lambda _asked: answer) as server, pytest.raises(PublishError):
        store_at(server).tags()


# --- what a manifest is, where HEAD does not say it ---


@pytest.mark.parametrize(
    "head",
    [
        Answer(405),
        Answer(
            200,
            headers={
                "Content-Type": MediaType.OCI_INDEX,
                "Docker-Content-Digest": str(MANIFEST.digest),
            },
        ),
    ],
)
def test_a_head_that_says_nothing_becomes_a_get(head: Answer) -> None:
    full = Answer(200, MANIFEST.data, {"Content-Type": MediaType.OCI_INDEX})
    with answering(lambda asked: head if asked.method == "HEAD" else full) as server:
        assert store_at(server).head(V1) == MANIFEST.descriptor


# --- uploads ---


def test_an_upload_ends_where_the_least_chunk_is_larger_than_the_largest_request() -> None:
    def answer(asked: Asked) -> Answer:
        if len(asked.body) > 300_000:
            return Answer(413)
        return Answer(
            202, b"", {"Location": "/v2/acme/web/blobs/uploads/1", "OCI-Chunk-Min-Length": "500000"}
        )

    data = bytes(1_000_000)
    with answering(answer) as server:
        with pytest.raises(PublishError, match="413"):
            store_at(server).put_blob(blob_of(data), BytesBlob(data))
        sizes = [len(asked.body) for asked in server.asked if asked.body]
    assert sizes == [1_000_000, 1_000_000, 500_000]


@pytest.mark.parametrize(
    ("location", "closed"),
    [
        ("/v2/u/1", "/v2/u/1?digest={}"),
        ("/v2/u/1?", "/v2/u/1?digest={}"),
        ("/v2/u/1?state=a%2Fb%3D", "/v2/u/1?state=a%2Fb%3D&digest={}"),
        ("/v2/u/1?state=a#part", "/v2/u/1?state=a&digest={}"),
        ("1", "/v2/acme/web/blobs/uploads/1?digest={}"),
        ("//HOST/v2/u/1", "/v2/u/1?digest={}"),
    ],
)
def test_every_form_of_a_location_keeps_its_state(location: str, closed: str) -> None:
    def answer(asked: Asked) -> Answer:
        where = location.replace("HOST", asked.headers["host"])
        return Answer(201 if asked.method == "PUT" else 202, b"", {"Location": where})

    blob = blob_of(b"data")
    with answering(answer) as server:
        store_at(server).put_blob(blob, BytesBlob(b"data"))
    assert server.asked[-1].path == closed.format(blob.digest)


@pytest.mark.parametrize(
    "refused",
    [
        Answer(401),
        Answer(403, b"<Error>AccessDenied</Error>", {"Content-Type": "application/xml"}),
        Answer(404, b"<html>404</html>", HTML),
        Answer(405, b"<html>405</html>", HTML),
        Answer(501),
    ],
)
def test_an_upload_that_nobody_can_resume_begins_anew(refused: Answer) -> None:
    broken = [Answer(503)]

    def answer(asked: Asked) -> Answer:
        match asked.method:
            case "POST":
                return Answer(202, b"", {"Location": "/v2/acme/web/blobs/uploads/1"})
            case "GET":
                return refused
            case "HEAD":
                return Answer(404)
            case _:
                return broken.pop() if broken else Answer(201)

    with answering(answer) as server:
        store_at(server).put_blob(blob_of(b"data"), BytesBlob(b"data"))
        assert [asked.method for asked in server.asked] == [
            "POST", "PUT", "GET", "HEAD", "POST", "PUT",
        ]  # fmt: skip


# --- others than the registry that answer ---


@pytest.mark.parametrize("status", [401, 403])
def test_storage_that_refuses_says_nothing_of_the_login(status: int) -> None:
    expired = Answer(status, b"<Error>expired</Error>", {"Content-Type": "application/xml"})
    with answering(lambda _asked: expired) as storage:
        moved = Answer(307, b"", {"Location": f"http://{storage.host}/bucket/blob"})
        with answering(lambda _asked: moved) as server:
            store = store_at(server, ANN)
            with pytest.raises(PublishError, match=f"{storage.host}/bucket/blob: {status}"):
                store.has_blob(blob_of(b"data"))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_fails_is_named_without_its_login(scheme: str) -> None:
    client = RegistryClient(
        Endpoint(host="r.invalid", insecure=scheme == "http"),
        conduct=Conduct(retry=AT_ONCE),
        network=replace(IN_TESTS, proxies={scheme: f"http://ann:secret@{NOBODY}/"}),
    )
    with pytest.raises(PublishError, match=f"refused, through the proxy {NOBODY}$") as caught:
        RegistryStore(client, Repository("r.invalid", "acme/web")).tags()
    assert "no_proxy" in caught.value.hint


class _Greeting(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.2 \r\n" + b"x" * 2000 + b"\r\n")


def test_a_server_that_speaks_no_http_is_told_in_one_line() -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Greeting) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        ssh = Answering(host=f"127.0.0.1:{server.server_address[1]}", asked=[])
        with pytest.raises(PublishError, match=r"SSH-2\.0-OpenSSH_9\.2$") as caught:
            store_at(ssh).tags()
        server.shutdown()
        thread.join()
    assert caught.value.message.isprintable()


# --- TLS that ends at a proxy, which the registry does not know of ---


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


def tls_of(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    return context


def over_tls(server: Answering, authority: Authority) -> RegistryStore:
    endpoint = Endpoint(host=server.host, ca=authority.ca)
    client = RegistryClient(endpoint, ANN, conduct=Conduct(retry=AT_ONCE), network=IN_TESTS)
    return RegistryStore(client, Repository(server.host, "acme/web"))


def test_addresses_that_name_the_registry_without_tls_are_used_with_it(
    authority: Authority,
) -> None:
    def registry(asked: Asked) -> Answer:
        plain = f"http://{asked.headers['host']}/v2/acme/web"
        if asked.headers.get("authorization") != f"Basic {ANN.basic}":
            return Answer(401, b"", {"WWW-Authenticate": 'Basic realm="r"'})
        if asked.method == "POST":
            return Answer(202, b"", {"Location": f"{plain}/blobs/uploads/1"})
        if asked.method == "PUT":
            return Answer(201)
        if "last=a" in asked.path:
            return tags("b")
        link = f'<{plain}/tags/list?last=a>; rel="next"'
        return Answer(200, tags("a").body, {**JSON, "Link": link})

    with answering(registry, tls=tls_of(authority)) as server:
        store = over_tls(server, authority)
        store.put_blob(blob_of(b"data"), BytesBlob(b"data"))
        assert store.tags() == (Tag("a"), Tag("b"))


def test_nothing_is_fetched_elsewhere_without_tls(authority: Authority) -> None:
    with answering(lambda _asked: Answer(200, b"data")) as plain:
        moved = Answer(307, b"", {"Location": f"http://localhost:{plain.host.split(':')[1]}/b"})
        with (
            answering(lambda _asked: moved, tls=tls_of(authority)) as server,
            over_tls(server, authority).blob(blob_of(b"data")) as content,
            pytest.raises(PublishError, match="without TLS"),
        ):
            tuple(content.chunks())
        assert plain.asked == []


def test_a_server_that_refuses_our_tls_is_not_asked_again(authority: Authority) -> None:
    context = tls_of(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # which refuses within the handshake
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca)
    with answering(lambda _asked: tags("a"), tls=context) as server:
        store = over_tls(server, authority)
        with pytest.raises(PublishError, match=r"refuses our TLS: .*handshake") as caught:
            store.tags()
    assert store.client.counts.retries == 0
    assert "client certificate" in caught.value.hint


def test_a_registry_may_be_an_ipv6_address() -> None:
    host = "[2001:db8::1]:5000"
    with answering(lambda _asked: tags("a")) as proxy:  # so that the test needs no IPv6
        way = WayOut(proxies={"http": f"http://{proxy.host}"}, timeouts=IN_TESTS.timeouts)
        client = RegistryClient(Endpoint(host=host, insecure=True), network=way)
        assert RegistryStore(client, Repository(host, "acme/web")).tags() == (Tag("a"),)
        (asked,) = proxy.asked
    assert asked.path == f"http://{host}/v2/acme/web/tags/list?n=1000"
    assert asked.headers["host"] == host


# --- heads, pages and ways of uploads that only some registries know ---


@pytest.mark.parametrize("refused", [404, 405, 501])
def test_a_registry_that_knows_no_head_is_asked_for_the_whole(refused: int) -> None:
    full = Answer(200, MANIFEST.data, {"Content-Type": MediaType.OCI_INDEX})

    def answer(asked: Asked) -> Answer:
        if asked.method == "HEAD":
            return Answer(refused)
        return full if asked.path.endswith(V1.text) else Answer(404)

    with answering(answer) as server:
        store = store_at(server)
        assert store.head(V1) == MANIFEST.descriptor
        assert store.head(Tag("2.0.0")) is None
        assert store.head(V1) == MANIFEST.descriptor


def test_a_registry_that_has_shown_a_head_is_believed_that_there_is_none() -> None:
    there = {
        "Content-Type": MediaType.OCI_INDEX,
        "Content-Length": str(len(MANIFEST.data)),
        "Docker-Content-Digest": str(MANIFEST.digest),
    }

    def answer(asked: Asked) -> Answer:
        return Answer(200, b"", there) if asked.path.endswith(V1.text) else Answer(404)

    with answering(answer) as server:
        store = store_at(server)
        assert store.head(V1) is not None
        assert store.head(Tag("2.0.0")) is None
        assert [asked.method for asked in server.asked] == ["HEAD", "HEAD"]


@pytest.mark.parametrize(("status", "there"), [(206, True), (404, False)])
@pytest.mark.parametrize("refused", [403, 405])
def test_storage_whose_links_are_for_get_alone_says_what_is_there(
    status: int, refused: int, *, there: bool
) -> None:
    def storage(asked: Asked) -> Answer:
        return Answer(refused) if asked.method == "HEAD" else Answer(status, b"d")

    with answering(storage) as elsewhere:
        moved = Answer(307, b"", {"Location": f"http://{elsewhere.host}/blob"})
        with answering(lambda _asked: moved) as server:
            assert store_at(server).has_blob(blob_of(b"data")) is there


@pytest.mark.parametrize(
    "page", [Answer(404, b"<html>no such page</html>", HTML), Answer(501, b"", JSON)]
)
def test_a_page_for_an_unknown_address_is_no_list_of_referrers(page: Answer) -> None:
    with answering(lambda _asked: page) as server:
        referrers = Referrers(store_at(server))
        assert referrers(MANIFEST.digest) == ()
        assert not referrers.offered


@pytest.mark.parametrize(
    "none",
    [
        Answer(200, b'{"schemaVersion":2,"manifests":null}', {"Content-Type": MediaType.OCI_INDEX}),
        Answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', JSON),
    ],
)
def test_there_are_ways_to_say_that_nothing_refers_to_an_image(none: Answer) -> None:
    def answer(asked: Asked) -> Answer:
        listed = Answer(200, MANIFEST.data, {"Content-Type": MediaType.OCI_INDEX})
        return listed if asked.path.endswith(str(MANIFEST.digest)) else none

    with answering(answer) as server:
        referrers = Referrers(store_at(server))
        assert referrers(MANIFEST.digest) == ()
        assert referrers(Digest.of(b"another")) == ()
        assert referrers.offered


def test_a_login_page_is_no_list_of_referrers() -> None:
    page = Answer(200, b"<html>log in</html>", HTML)
    with answering(lambda _asked: page) as server, pytest.raises(PublishError, match="web page"):
        Referrers(store_at(server))(MANIFEST.digest)


class Uploads:
    """Takes blobs in some ways alone; `held` are the bytes of those that are complete."""

    def __init__(self, *, whole: Answer | None, chunks: Answer | None, taken: int = 0) -> None:
        self._whole, self._chunks, self._taken = whole, chunks, taken
        self._session = b""
        self.held: list[bytes] = []

    def __call__(self, asked: Asked) -> Answer:
        location = {"Location": "/v2/acme/web/blobs/uploads/1"}
        match asked.method:
            case "POST":
                self._session = b""
                return Answer(202, b"", location)
            case "PATCH":
                self._session += asked.body
                return self._chunks or Answer(self._taken or 202, b"", location)
            case "PUT" if asked.body and self._whole:
                return self._whole
            case "PUT":
                self.held.append(self._session + asked.body)
                return Answer(self._taken or 201)
            case _:
                return Answer(404)


NO_CHUNKS = [
    Answer(404),
    Answer(405, b'{"errors":[{"code":"UNSUPPORTED"}]}', JSON),
    Answer(416, b'{"errors":[{"code":"RANGE_INVALID"}]}', JSON),
    Answer(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}', JSON),
]


@pytest.mark.parametrize("refused", NO_CHUNKS)
def test_a_registry_that_takes_no_chunks_gets_blobs_in_one_piece(refused: Answer) -> None:
    data = bytes(range(256)) * 20
    registry = Uploads(whole=None, chunks=refused)
    with answering(registry) as server:
        store = replace(store_at(server), policy=UploadPolicy(whole_up_to=0, chunk=1000))
        store.put_blob(blob_of(data), BytesBlob(data))
    assert registry.held == [data]


@pytest.mark.parametrize(
    "refused",
    [
        Answer(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}', JSON),
        Answer(400, b'{"errors":[{"code":"SIZE_INVALID"}]}', JSON),
        Answer(405),
        Answer(411),
    ],
)
def test_a_registry_that_takes_chunks_alone_gets_them(refused: Answer) -> None:
    data = bytes(range(256)) * 20
    registry = Uploads(whole=refused, chunks=None)
    heard: list[int] = []
    with answering(registry) as server:
        store_at(server).put_blob(blob_of(data), BytesBlob(data), heard.append)
    assert registry.held == [data]
    assert sum(heard) == len(data)


def test_a_registry_that_takes_a_blob_in_no_way_is_asked_both_ways_once() -> None:
    refused = Answer(400, b'{"errors":[{"code":"SIZE_INVALID"}]}', JSON)
    with answering(Uploads(whole=refused, chunks=refused)) as server:
        with pytest.raises(PublishError, match="SIZE_INVALID"):
            store_at(server).put_blob(blob_of(b"data"), BytesBlob(b"data"))
        assert [asked.method for asked in server.asked] == ["POST", "PUT", "POST", "PATCH"]


@pytest.mark.parametrize("taken", [200, 201, 204])
@pytest.mark.parametrize("policy", [UploadPolicy(), UploadPolicy(whole_up_to=0, chunk=2)])
def test_bytes_are_taken_with_any_success(taken: int, policy: UploadPolicy) -> None:
    registry = Uploads(whole=None, chunks=None, taken=taken)
    with answering(registry) as server:
        store = replace(store_at(server), policy=policy)
        store.put_blob(blob_of(b"data"), BytesBlob(b"data"))
    assert registry.held == [b"data"]


@pytest.mark.parametrize("mounted", [Answer(500), Answer(404), Answer(202)])
def test_a_mount_that_fails_is_an_upload(mounted: Answer) -> None:
    registry = Uploads(whole=None, chunks=None)
    with answering(lambda asked: mounted if "mount=" in asked.path else registry(asked)) as server:
        store = store_at(server)
        store.client.holders.add(Digest.of(b"data"), "acme/base")
        store.put_blob(blob_of(b"data"), BytesBlob(b"data"))
        mounts = [asked for asked in server.asked if "mount=" in asked.path]
    assert registry.held == [b"data"]
    assert len(mounts) == 1


# --- deletions ---


def deleting(answer: Answer) -> Callable[[Asked], Answer]:
    """Answer every DELETE so, of what is there."""
    there = {
        "Content-Type": MediaType.OCI_INDEX,
        "Content-Length": str(len(MANIFEST.data)),
        "Docker-Content-Digest": str(MANIFEST.digest),
    }
    return lambda asked: answer if asked.method == "DELETE" else Answer(200, b"", there)


@pytest.mark.parametrize("status", [200, 202, 204])
def test_a_deletion_is_done_with_any_success(status: int) -> None:
    with answering(deleting(Answer(status))) as server:
        remover = OciRemover(store_at(server))
        assert remover.remove_tag(V1, MANIFEST.digest).kind is RemovalKind.REMOVED
        assert remover.remove_manifest(MANIFEST.digest).kind is RemovalKind.REMOVED


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (412, "configured as immutable, cannot be deleted"),
        (405, "The operation is disallowed on this registry, repository or image."),
        (403, "the container tag is protected"),
        (409, "manifest is referenced by an index"),
        (423, "the artifact is locked: 'locked' is locked"),
    ],
)
def test_what_a_registrys_rule_keeps_is_kept_and_no_failure(status: int, said: str) -> None:
    body = json.dumps({"errors": [{"code": "DENIED", "message": said}]}).encode()
    with answering(deleting(Answer(status, body, JSON))) as server:
        found = OciRemover(store_at(server)).remove_tag(V1, MANIFEST.digest)
    assert found.kind is RemovalKind.KEPT
    assert said in found.reason


def test_a_refusal_to_delete_without_such_a_rule_is_one_of_the_login() -> None:
    body = b'{"errors":[{"code":"DENIED","message":"requested access is denied"}]}'
    with answering(deleting(Answer(403, body, JSON))) as server, pytest.raises(CredentialError):
        OciRemover(store_at(server)).remove_tag(V1, MANIFEST.digest)


@pytest.mark.parametrize("lies", ["HEAD", "POST"])
def test_a_blob_that_a_manifest_lacks_is_sent_whatever_is_said_of_it(lies: str) -> None:
    """Caches say that a blob is there that was collected; some mounts are said and not done."""
    registry = Uploads(whole=None, chunks=None)

    def answer(asked: Asked) -> Answer:
        if "/manifests/" in asked.path:
            lost = b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}'
            return Answer(201) if registry.held else Answer(400, lost, JSON)
        if asked.method == "HEAD":
            return Answer(200 if lies == "HEAD" else 404)
        if "mount=" in asked.path:
            return Answer(201, b"", {"Location": "/v2/acme/web/blobs/x"})
        return registry(asked)

    blob = blob_of(b"data")
    content = {"schemaVersion": 2, "layers": [blob.to_json()]}
    image = Manifest(MediaType.OCI_MANIFEST, json.dumps(content).encode())
    with answering(answer) as server:
        store = store_at(server)
        store.client.holders.add(blob.digest, "acme/base")
        for _ in range(2 if lies == "HEAD" else 1):
            if not store.has_blob(blob):
                store.put_blob(blob, BytesBlob(b"data"))
            with pytest.raises(BlobsMissingError):
                store.put_manifest(image)
        assert not store.has_blob(blob)
        store.put_blob(blob, BytesBlob(b"data"))
        store.put_manifest(image)
    assert registry.held == [b"data"]


@pytest.mark.parametrize(
    "told",
    [
        f'"{MANIFEST.digest}"',
        str(MANIFEST.digest).upper(),
        "md5:00",
        f"sha512:{hashlib.sha512(MANIFEST.data).hexdigest()}",
    ],
)
def test_a_digest_that_is_told_otherwise_is_that_of_the_bytes(told: str) -> None:
    headers = {
        "Content-Type": MediaType.OCI_INDEX,
        "Content-Length": str(len(MANIFEST.data)),
        "Docker-Content-Digest": told,
    }
    with answering(lambda _asked: Answer(200, MANIFEST.data, headers)) as server:
        store = store_at(server)
        store.put_manifest(MANIFEST)
        assert store.head(V1) == MANIFEST.descriptor
        assert store.manifest(V1) == MANIFEST


def test_a_page_for_a_moment_is_waited_for_once_the_registry_has_answered() -> None:
    page = Answer(200, b"<html>maintenance</html>", HTML)
    answers = [tags("a"), page, page, tags("a", "b")]
    with answering(lambda _asked: answers.pop(0)) as server:
        store = store_at(server)
        assert store.tags() == (Tag("a"),)
        assert store.tags() == (Tag("a"), Tag("b"))


@pytest.mark.parametrize("about", ["", "subject"])
def test_what_an_old_registry_refuses_names_the_way_out(about: str) -> None:
    body = b'{"errors":[{"code":"MANIFEST_INVALID","message":"unsupported media type"}]}'
    content: dict[str, object] = {"schemaVersion": 2, "manifests": []}
    if about:
        content["subject"] = MANIFEST.descriptor.to_json()
    manifest = Manifest(MediaType.OCI_INDEX, json.dumps(content).encode())
    with (
        answering(lambda _asked: Answer(400, body, JSON)) as server,
        pytest.raises(PublishError, match="unsupported") as told,
    ):
        store_at(server).put_manifest(manifest)
    assert ("placement" if about else "format") in told.value.hint


def test_a_limit_ends_by_the_clock_of_the_api() -> None:
    full = Answer(
        403,
        b"{}",
        {
            **JSON,
            "Date": "Fri, 02 Jan 2026 03:04:05 GMT",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": "1767323047",
        },
    )
    answers = [full, Answer(200, b"[]", JSON)]
    waits: list[float] = []
    with answering(lambda _asked: answers.pop(0)) as server:
        retry = replace(AT_ONCE, sleep=waits.append)
        rest = RestClient(f"http://{server.host}", conduct=Conduct(retry=retry), network=IN_TESTS)
        rest.request("GET", "/user/packages")
    assert waits == [2.0]


def test_an_api_tells_the_time_by_its_own_clock() -> None:
    told = {**JSON, "Date": "Fri, 02 Jan 2026 03:04:35 GMT"}
    versions = Answer(200, b"[]", told)
    with answering(lambda _asked: versions) as server:
        rest = RestClient(f"http://{server.host}", conduct=Conduct(retry=AT_ONCE), network=IN_TESTS)
        rest.request("GET", "/user/packages")
    assert GitHubApi(rest, ANN, "acme/web").now == datetime(2026, 1, 2, 3, 4, 35, tzinfo=UTC)
    assert HubApi(rest, ANN, "acme/web").now == datetime(2026, 1, 2, 3, 4, 35, tzinfo=UTC)


def test_a_chunk_may_be_answered_without_an_address() -> None:
    def answer(asked: Asked) -> Answer:
        location = {"Location": "/v2/acme/web/blobs/uploads/1"} if asked.method == "POST" else {}
        return Answer(201 if asked.method == "PUT" else 202, b"", location)

    with answering(answer) as server:
        store = replace(store_at(server), policy=UploadPolicy(whole_up_to=0, chunk=2))
        store.put_blob(blob_of(b"data"), BytesBlob(b"data"))
        assert [asked.body for asked in server.asked] == [b"", b"da", b"ta", b""]


@pytest.mark.parametrize("policy", [UploadPolicy(), UploadPolicy(whole_up_to=0)])
def test_a_large_blob_is_given_time_to_be_put_together(policy: UploadPolicy) -> None:
    calls: list[Call] = []

    class Heard(RegistryClient):
        def once(
            self, call: Call, *, scopes: tuple[AccessScope, ...], ok: tuple[int, ...]
        ) -> Response:
            calls.append(call)
            return super().once(call, scopes=scopes, ok=ok)

    with answering(Uploads(whole=None, chunks=None)) as server:
        store = store_at(server)
        client = Heard(store.client.endpoint, network=IN_TESTS)
        data = bytes(1_000_000)
        replace(store, client=client, policy=policy).put_blob(blob_of(data), BytesBlob(data))
    assert {call.method: call.patience > 0 for call in calls} == {
        **{call.method: False for call in calls},
        "PUT": True,
    }


def test_patience_is_added_to_what_an_answer_may_take_to_begin() -> None:
    def late(_asked: Asked) -> Answer:
        time.sleep(0.3)
        return Answer(201)

    http = Http(WayOut(timeouts=Timeouts(read=0.05)))
    with answering(late) as server:
        call = Call(method="PUT", url=f"http://{server.host}/", patience=60.0)
        assert http.send(call).status == 201
