from collections.abc import Iterator
from pathlib import Path

import pytest

from podbuild.errors import CredentialError, PublishError
from podbuild.oci.auth.files import AccessScope, Credential, CredentialKind
from podbuild.oci.client import RegistryClient
from podbuild.oci.names import Digest, Tag
from podbuild.oci.store import BytesBlob, PushRight
from podbuild.oci.transport.endpoint import Endpoint
from tests.fakes.token import TokenServer, token_server
from tests.images import blob_of, make_image
from tests.registries import IN_TESTS, Authority, Server, make_authority, registry_server

pytestmark = pytest.mark.integration

ALL: tuple[str, ...] = ("pull", "push", "delete")


def login(user: str, secret: str) -> Credential:
    return Credential(username=user, secret=secret, source="the test")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def protected(authority: Authority) -> Iterator[Server]:
    with registry_server(login=("ann", "pass:word, ünï"), authority=authority) as server:
        yield server


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[tuple[Server, TokenServer]]:
    pull: tuple[str, ...] = ("pull",)
    rights = {"ann": {"a/b": ALL, "c/d": ALL}, "bob": {"a/b": pull}, "": {"a/b": pull}}
    with (
        token_server(
            tmp_path,
            passwords={"ann": "secret-a", "bob": "secret-b"},
            rights=rights,
            refresh_tokens={"identity-of-ann": "ann"},
        ) as issuer,
        registry_server(token=issuer.configuration) as server,
    ):
        yield server, issuer


def test_basic_over_tls_with_the_configured_authority(protected: Server) -> None:
    manifest = make_image(protected.store(), b"layer")
    assert protected.store().manifest(manifest.digest) == manifest


def test_a_wrong_password_is_told_and_not_tried_twice(protected: Server) -> None:
    client = protected.client(credential=login("ann", "wrong"))
    with pytest.raises(CredentialError, match="the login from the test is refused"):
        protected.store(client=client).check_push()
    assert client.counts.requests == 2  # one to hear the challenge, one with the login
    assert "wrong" not in repr(client)


def test_no_login_where_one_is_needed_names_what_to_do(protected: Server) -> None:
    client = RegistryClient(protected.endpoint, network=IN_TESTS)
    with pytest.raises(CredentialError, match="wants a login") as caught:
        protected.store(client=client).tags()
    assert f"podman login {protected.host}" in caught.value.hint


def test_a_certificate_of_an_unknown_authority_is_refused_at_once(protected: Server) -> None:
    client = RegistryClient(Endpoint(host=protected.host), protected.credential, network=IN_TESTS)
    with pytest.raises(PublishError, match="certificate is not trusted") as caught:
        protected.store(client=client).tags()
    assert "ca = " in caught.value.hint
    assert client.counts.retries == 0


def test_tls_against_a_plain_server_is_told(tokens: tuple[Server, TokenServer]) -> None:
    client = RegistryClient(Endpoint(host=tokens[0].host), network=IN_TESTS)
    with pytest.raises(PublishError, match="does not speak TLS") as caught:
        tokens[0].store(client=client).tags()
    assert "insecure = true" in caught.value.hint


def test_plain_http_against_a_tls_server_is_told(protected: Server) -> None:
    client = RegistryClient(Endpoint(host=protected.host, insecure=True), network=IN_TESTS)
    with pytest.raises(PublishError, match="the server speaks TLS") as caught:
        protected.store(client=client).tags()
    assert "ca = " in caught.value.hint


def test_one_token_serves_a_whole_push(tokens: tuple[Server, TokenServer]) -> None:
    server, issuer = tokens
    client = server.client(credential=login("ann", "secret-a"))
    manifest = make_image(server.store("a/b", client=client), b"one", b"two")
    assert server.store("a/b", client=client).manifest(manifest.digest) == manifest
    assert [(one.user, one.scopes) for one in issuer.asked] == [
        ("ann", ("repository:a/b:pull,push",))
    ]


def test_a_mount_asks_for_both_repositories(tokens: tuple[Server, TokenServer]) -> None:
    server, issuer = tokens
    client = server.client(credential=login("ann", "secret-a"))
    make_image(server.store("a/b", client=client), b"shared layer")
    make_image(server.store("c/d", client=client), b"shared layer")
    assert client.counts.mounted == 2
    assert ("repository:a/b:pull", "repository:c/d:pull,push") in [
        one.scopes for one in issuer.asked
    ]


def test_an_ended_token_is_renewed_within_the_request(tokens: tuple[Server, TokenServer]) -> None:
    server, issuer = tokens
    issuer.dead_tokens = 1
    client = server.client(credential=login("ann", "secret-a"))
    server.store("a/b", client=client).put_blob(blob_of(b"x" * 900_000), BytesBlob(b"x" * 900_000))
    assert len(issuer.asked) == 2


def test_tokens_are_not_used_beyond_their_life(tokens: tuple[Server, TokenServer]) -> None:
    server, issuer = tokens
    issuer.expires_in = 1
    issuer.dead_tokens = 0
    client = server.client(credential=login("ann", "secret-a"))
    times = iter([0.0, 0.0, 5.0, 5.0, 5.0, 5.0, 5.0])
    client._auth._clock = lambda: next(times)
    store = server.store("a/b", client=client)
    assert not store.has_blob(blob_of(b"one"))
    assert not store.has_blob(blob_of(b"two"))
    assert len(issuer.asked) == 2


def test_too_few_rights_are_a_refusal_before_any_build(
    tokens: tuple[Server, TokenServer],
) -> None:
    server, _ = tokens
    owner = server.store("a/b", client=server.client(credential=login("ann", "secret-a")))
    owner.put_manifest(make_image(owner, b"layer"), Tag("1.0.0"))
    assert owner.check_push() is PushRight.ALLOWED
    reader = server.store("a/b", client=server.client(credential=login("bob", "secret-b")))
    assert reader.tags() == (Tag("1.0.0"),)
    with pytest.raises(CredentialError, match="the login from the test is refused"):
        reader.check_push()


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_gives_readers_no_token_to_push_is_asked_for_less(
    tokens: tuple[Server, TokenServer], status: int
) -> None:
    server, issuer = tokens
    owner = server.store("a/b", client=server.client(credential=login("ann", "secret-a")))
    owner.put_manifest(make_image(owner, b"layer"), Tag("1.0.0"))
    issuer.lacking = status
    issuer.asked.clear()
    reader = server.store("a/b", client=server.client(credential=login("bob", "secret-b")))
    assert reader.tags() == (Tag("1.0.0"),)
    assert reader.manifest(Tag("1.0.0")) is not None
    both, pull = ("repository:a/b:pull,push",), ("repository:a/b:pull",)
    assert [one.scopes for one in issuer.asked] == [both, pull]
    with pytest.raises(CredentialError, match="requested access is denied") as caught:
        reader.check_push()
    assert caught.value.exit_code == 4


def test_a_wrong_password_at_the_token_server(tokens: tuple[Server, TokenServer]) -> None:
    server, issuer = tokens
    client = server.client(credential=login("ann", "nonsense"))
    with pytest.raises(CredentialError, match="refused") as caught:
        server.store("a/b", client=client).check_push()
    assert "incorrect username" in caught.value.message
    assert "nonsense" not in str(caught.value)
    assert issuer.asked == []


def test_anonymous_use_reads_what_anyone_may(tokens: tuple[Server, TokenServer]) -> None:
    server, issuer = tokens
    full = server.store("a/b", client=server.client(credential=login("ann", "secret-a")))
    manifest = make_image(full, b"public")
    issuer.asked.clear()
    anyone = server.store("a/b", client=RegistryClient(server.endpoint, network=IN_TESTS))
    assert anyone.manifest(manifest.digest) == manifest
    assert [(one.user, one.scopes) for one in issuer.asked] == [("", ("repository:a/b:pull",))]


def test_an_identity_token_goes_to_the_token_server_alone(
    tokens: tuple[Server, TokenServer],
) -> None:
    server, issuer = tokens
    credential = Credential(
        username="<token>",
        secret="identity-of-ann",
        source="the test",
        kind=CredentialKind.IDENTITY_TOKEN,
    )
    make_image(server.store("a/b", client=server.client(credential=credential)), b"layer")
    assert {(one.method, one.client) for one in issuer.asked} == {("POST", "podbuild")}


def test_a_delete_asks_for_what_the_registry_named(tokens: tuple[Server, TokenServer]) -> None:
    server, issuer = tokens
    client = server.client(credential=login("ann", "secret-a"))
    manifest = make_image(server.store("a/b", client=client), b"layer")
    wanted = (AccessScope.repository("a/b", "delete"),)
    path = f"/v2/a/b/manifests/{manifest.digest}"
    assert client.request("DELETE", path, scopes=wanted, ok=(202,)).status == 202
    assert issuer.asked[-1].scopes == ("repository:a/b:delete",)
    missing = f"/v2/a/b/manifests/{Digest.of(b'none')}"
    assert client.request("DELETE", missing, scopes=wanted, ok=(404,)).status == 404


def test_push_rights_are_unknown_where_nothing_was_pushed_yet(
    tokens: tuple[Server, TokenServer],
) -> None:
    server, _ = tokens
    store = server.store("c/d", client=server.client(credential=login("ann", "secret-a")))
    assert store.check_push() is PushRight.UNKNOWN
