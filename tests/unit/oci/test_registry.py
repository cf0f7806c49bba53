"""The registry client against servers that do what real ones seldom do."""

from __future__ import annotations

import gzip
import json
import signal
import threading

import pytest

from podbuild.errors import CredentialError, InterruptedBySignal, PublishError, VerificationError
from podbuild.oci.auth.files import Credential
from podbuild.oci.client import RegistryClient
from podbuild.oci.manifest import MANIFEST_CAP, Descriptor, Manifest, MediaType
from podbuild.oci.names import Digest, Repository, Tag
from podbuild.oci.registry import RegistryStore
from podbuild.oci.store import BytesBlob, PushRight, read_blob
from podbuild.oci.transport.endpoint import Conduct, Endpoint, Pace
from podbuild.oci.transport.problem import BlobsMissingError, RegistryError
from podbuild.system.cancel import Cancel
from podbuild.system.retry import Retry
from tests.fakes.answering import Answer, Answering, Asked, Handler, answering
from tests.images import blob_of
from tests.registries import AT_ONCE, IN_TESTS, NOBODY

MANIFEST = Manifest(
    MediaType.OCI_INDEX,
    json.dumps({"schemaVersion": 2, "mediaType": MediaType.OCI_INDEX, "manifests": []}).encode(),
)
V1 = Tag("1.0.0")
ANN = Credential(username="ann", secret="secret-of-ann", source="the test")
HTML = {"Content-Type": "text/html; charset=utf-8"}
JSON = {"Content-Type": "application/json"}


def store_at(
    server: Answering | str,
    credential: Credential | None = None,
    *,
    retry: Retry = AT_ONCE,
    cancel: Cancel | None = None,
    told: list[str] | None = None,
    optional: bool = False,
    pace: Pace | None = None,
) -> RegistryStore:
    host = server if isinstance(server, str) else server.host
    observe = (lambda _line: None) if told is None else told.append
    client = RegistryClient(
        Endpoint(host=host, insecure=True, optional=optional),
        credential,
        conduct=Conduct(retry=retry, cancel=cancel or Cancel(), observe=observe),
        network=IN_TESTS,
        pace=pace,
    )
    return RegistryStore(client, Repository(host, "acme/web"))


def always(answer: Answer) -> Handler:
    return lambda _asked: answer


def as_manifest(data: bytes, **headers: str) -> Answer:
    return Answer(200, data, {"Content-Type": MediaType.OCI_INDEX, **headers})


def basic(asked: Asked, inner: Answer) -> Answer:
    if asked.headers.get("authorization") == f"Basic {ANN.basic}":
        return inner
    return Answer(401, b"", {"WWW-Authenticate": 'Basic realm="r"'})


# --- what comes instead of a registry ---


@pytest.mark.parametrize("status", [200, 404, 403])
def test_a_web_page_is_no_registry(status: int) -> None:
    with answering(always(Answer(status, b"<html>sign in</html>", HTML))) as server:
        store = store_at(server)
        for action in (store.tags, store.check_push, lambda: store.head(V1)):
            with pytest.raises(PublishError, match="answers with a web page") as caught:
                action()
            assert caught.value.exit_code == 7
        assert store.client.counts.retries == 0


def test_an_unreachable_registry_is_told_after_some_tries() -> None:
    told: list[str] = []
    with pytest.raises(PublishError, match="connection refused") as caught:
        store_at(NOBODY, told=told).tags()
    assert caught.value.message.startswith(NOBODY)
    assert len(told) == AT_ONCE.attempts - 1
    assert "again in 0.0 s" in told[0]


def test_an_optional_registry_where_nobody_answers_is_given_up_sooner() -> None:
    told: list[str] = []
    with pytest.raises(PublishError, match="connection refused"):
        store_at(NOBODY, told=told, optional=True).tags()
    assert len(told) == 1


def test_an_optional_registry_that_has_answered_is_waited_for() -> None:
    told: list[str] = []
    with answering(always(Answer(404, b"", {"Connection": "close"}))) as server:
        store = store_at(server, told=told, optional=True)
        store.tags()
    with pytest.raises(PublishError, match="connection refused"):
        store.tags()
    assert len(told) == AT_ONCE.attempts - 1


def test_json_of_something_else_is_told() -> None:
    with (
        answering(always(Answer(200, b'["hello"]', JSON))) as server,
        pytest.raises(PublishError, match="list of tags can't be read"),
    ):
        store_at(server).tags()


@pytest.mark.parametrize("size", [MANIFEST_CAP + 1, 2 * MANIFEST_CAP])
def test_a_manifest_without_end_is_cut_off(size: int) -> None:
    with (
        answering(always(as_manifest(b"x" * size))) as server,
        pytest.raises(PublishError, match="longer than"),
    ):
        store_at(server).manifest(V1)


# --- manifests ---


def test_all_manifest_types_are_accepted() -> None:
    with answering(always(as_manifest(MANIFEST.data))) as server:
        assert store_at(server).manifest(V1) == MANIFEST
        accepted = server.asked[0].headers["accept"]
    assert accepted.split(", ") == [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ]
    assert server.asked[0].headers["user-agent"].startswith("podbuild/")


def test_wrong_bytes_for_a_digest_are_refused() -> None:
    with (
        answering(always(as_manifest(MANIFEST.data + b" "))) as server,
        pytest.raises(VerificationError, match="instead of"),
    ):
        store_at(server).manifest(MANIFEST.digest)


def test_a_digest_header_that_lies_is_refused() -> None:
    lie = {"Docker-Content-Digest": str(Digest.of(b"x"))}
    with answering(always(as_manifest(MANIFEST.data, **lie))) as server:
        store = store_at(server)
        with pytest.raises(VerificationError):
            store.manifest(V1)
        with pytest.raises(VerificationError):
            store.head(MANIFEST.digest)


@pytest.mark.parametrize(
    "hidden", [{}, {"Docker-Content-Digest": str(MANIFEST.digest), "Content-Type": "text/plain"}]
)
def test_a_head_that_says_too_little_becomes_a_get(hidden: dict[str, str]) -> None:
    with answering(always(as_manifest(MANIFEST.data) if not hidden else
                          Answer(200, MANIFEST.data, hidden))) as server:  # fmt: skip
        assert store_at(server).head(V1) == MANIFEST.descriptor
        assert [asked.method for asked in server.asked] == ["HEAD", "GET"]


def test_a_compressed_answer_was_not_asked_for() -> None:
    with answering(always(as_manifest(MANIFEST.data))) as server:
        store_at(server).manifest(V1)
        assert server.asked[0].headers["accept-encoding"] == "identity"


def test_a_registry_that_stores_other_bytes_is_found_out() -> None:
    lie = {"Docker-Content-Digest": str(Digest.of(b"x"))}
    with (
        answering(always(Answer(201, b"", lie))) as server,
        pytest.raises(VerificationError, match="stored by the registry as"),
    ):
        store_at(server).put_manifest(MANIFEST, V1)


def test_lost_blobs_are_told_apart_from_other_refusals() -> None:
    body = b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}'
    with answering(always(Answer(400, body, JSON))) as server:
        with pytest.raises(BlobsMissingError, match="MANIFEST_BLOB_UNKNOWN"):
            store_at(server).put_manifest(MANIFEST)
        assert len(server.asked) == 1


# --- retries ---


def test_a_registry_that_asks_for_hours_is_not_waited_for() -> None:
    waited: list[float] = []
    retry = Retry(base=0.0, sleep=waited.append)
    with (
        answering(always(Answer(429, b"", {"Retry-After": "21600"}))) as server,
        pytest.raises(RegistryError, match="429") as caught,
    ):
        store_at(server, retry=retry).tags()
    assert waited == []
    assert caught.value.problem.wait == 21600
    assert "21600 s" in caught.value.hint


def test_retry_after_is_the_least_that_is_waited() -> None:
    waited: list[float] = []
    answers = iter([Answer(429, b"", {"Retry-After": "7"}), Answer(503), Answer(404)])
    retry = Retry(base=1.0, sleep=waited.append, jitter=lambda: 1.0)
    with answering(lambda _asked: next(answers)) as server:
        store = store_at(server, retry=retry, pace=Pace(clock=lambda: sum(waited)))
        assert store.tags() == ()
    assert waited == [7.0, 2.0]
    assert store.client.counts.retries == 2
    assert store.client.counts.requests == 3


def test_hours_that_one_request_is_told_stop_no_other() -> None:
    waited: list[float] = []
    retry = Retry(base=0.0, sleep=waited.append)
    answers = iter([Answer(429, b"", {"Retry-After": "21600"}), Answer(404)])
    with answering(lambda _asked: next(answers)) as server:
        store = store_at(server, retry=retry, pace=Pace(clock=lambda: sum(waited)))
        with pytest.raises(RegistryError, match="429"):
            store.tags()
        assert store.tags() == ()
    assert sum(waited) <= 1.0  # only slower than before


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("ask", ["tags", "blob"])
def test_all_requests_wait_where_the_registry_asks_for_it(status: int, ask: str) -> None:
    waited: list[float] = []
    pace = Pace(clock=lambda: sum(waited))
    retry = Retry(attempts=1, sleep=waited.append)
    blob = Descriptor(media_type="x", digest=Digest.of(b"a"), size=1)
    with answering(always(Answer(status, b"", {"Retry-After": "7"}))) as server:
        store = store_at(server, retry=retry, pace=pace)
        with pytest.raises(PublishError):
            store.tags() if ask == "tags" else read_blob(store, blob)
    assert pace.rate is not None
    before = sum(waited)
    pace.wait(waited.append)
    assert sum(waited) - before == pytest.approx(7.0)


def test_a_server_that_is_only_down_slows_nobody_down() -> None:
    pace = Pace()
    with answering(always(Answer(503))) as server:
        store = store_at(server, retry=Retry(attempts=1), pace=pace)
        with pytest.raises(PublishError):
            store.tags()
    assert pace.rate is None


@pytest.mark.parametrize("status", [400, 405, 422])
def test_a_refusal_is_not_tried_again(status: int) -> None:
    with answering(always(Answer(status, b"no", {"Content-Type": "text/plain"}))) as server:
        with pytest.raises(RegistryError, match=f"{status}: no"):
            store_at(server).tags()
        assert len(server.asked) == 1


def test_a_registry_that_stays_down_is_not_asked_again_and_again() -> None:
    with answering(always(Answer(503))) as server:
        store = store_at(server)
        for _ in range(3):
            with pytest.raises(PublishError, match="503"):
                store.tags()
        asked = len(server.asked)
        with pytest.raises(PublishError, match="not asked again now"):
            store.tags()
        assert len(server.asked) == asked


def test_an_answer_closes_the_breaker() -> None:
    down = threading.Event()
    down.set()
    with answering(lambda _asked: Answer(503 if down.is_set() else 404)) as server:
        store = store_at(server)
        for _ in range(2):
            with pytest.raises(PublishError, match="503"):
                store.tags()
        down.clear()
        assert store.tags() == ()
        down.set()
        for _ in range(2):
            with pytest.raises(PublishError, match="503"):
                store.tags()


def test_a_stop_ends_waiting() -> None:
    cancel = Cancel()

    def asked(_asked: Asked) -> Answer:
        cancel.request(signal.SIGINT)
        return Answer(503)

    with answering(asked) as server:
        with pytest.raises(InterruptedBySignal):
            store_at(server, retry=Retry(base=60.0), cancel=cancel).tags()
        assert len(server.asked) == 1


def test_a_stop_ends_an_upload_between_pieces() -> None:
    cancel = Cancel()
    data = bytes(2_000_000)
    heard: list[int] = []

    def stop(count: int) -> None:
        heard.append(count)
        cancel.request(signal.SIGTERM)

    location = {"Location": "/v2/acme/web/blobs/uploads/1"}
    with (
        answering(always(Answer(202, b"", location))) as server,
        pytest.raises(InterruptedBySignal),
    ):
        store_at(server, cancel=cancel).put_blob(blob_of(data), BytesBlob(data), stop)
    assert sum(heard) == 0
    assert max(heard) < len(data)


# --- logins ---


def test_a_login_does_not_follow_a_redirect_to_another_host() -> None:
    data = b"the blob's bytes"
    with answering(always(Answer(200, data))) as storage:

        def registry(asked: Asked) -> Answer:
            target = f"http://{storage.host}/bucket{asked.path}?signed=1"
            return basic(asked, Answer(307, b"", {"Location": target}))

        with answering(registry) as server:
            store = store_at(server, ANN)
            with store.blob(blob_of(data)) as content:
                assert b"".join(content.chunks()) == data
            assert store.has_blob(blob_of(data))
        assert any("authorization" in asked.headers for asked in server.asked)
    assert {asked.method for asked in storage.asked} == {"GET", "HEAD"}
    assert all("authorization" not in asked.headers for asked in storage.asked)
    assert all(ANN.secret not in str(asked) for asked in storage.asked)


def test_an_upload_location_on_another_host_gets_no_login() -> None:
    data = b"the blob's bytes"
    with answering(always(Answer(201))) as storage:

        def registry(asked: Asked) -> Answer:
            target = f"http://{storage.host}/upload?state=a%2Fb"
            return basic(asked, Answer(202, b"", {"Location": target}))

        with answering(registry) as server:
            store_at(server, ANN).put_blob(blob_of(data), BytesBlob(data))
    (put,) = storage.asked
    assert put.path == f"/upload?state=a%2Fb&digest={blob_of(data).digest}"
    assert put.body == data
    assert "authorization" not in put.headers


def test_a_redirect_back_to_the_registry_keeps_the_login() -> None:
    def registry(asked: Asked) -> Answer:
        if asked.path.startswith("/v2/"):
            return basic(asked, Answer(302, b"", {"Location": "/moved"}))
        return basic(asked, as_manifest(MANIFEST.data))

    with answering(registry) as server:
        assert store_at(server, ANN).manifest(V1) == MANIFEST


def test_redirects_in_a_circle_end() -> None:
    with answering(always(Answer(302, b"", {"Location": "/v2/again"}))) as server:
        with pytest.raises(PublishError, match="sends us to"):
            store_at(server).manifest(V1)
        assert len(server.asked) < 10


@pytest.mark.parametrize("status", [301, 307, 308])
def test_a_write_is_not_redirected(status: int) -> None:
    with answering(always(Answer(201))) as other:
        target = {"Location": f"http://{other.host}/v2/"}
        with (
            answering(always(Answer(status, b"", target))) as server,
            pytest.raises(PublishError, match="sends us to"),
        ):
            store_at(server).put_manifest(MANIFEST, V1)
        assert other.asked == []


@pytest.mark.parametrize("realm", ["http://tokens.invalid/token", "https://tokens.invalid/token"])
def test_a_login_goes_to_no_token_server_that_plain_http_named(realm: str) -> None:
    challenge = {"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'}
    with (
        answering(always(Answer(401, b"", challenge))) as server,
        pytest.raises(CredentialError, match="may not do without TLS"),
    ):
        store_at(server, ANN).tags()


def test_a_token_server_is_not_followed_elsewhere() -> None:
    with answering(always(Answer(200, b'{"token":"t"}', JSON))) as elsewhere:

        def registry(asked: Asked) -> Answer:
            if asked.path.startswith("/token"):
                return Answer(302, b"", {"Location": f"http://{elsewhere.host}/token"})
            realm = f"http://{asked.headers['host']}/token"
            return Answer(401, b"", {"WWW-Authenticate": f'Bearer realm="{realm}"'})

        with answering(registry) as server, pytest.raises(PublishError):
            store_at(server, ANN).tags()
        assert elsewhere.asked == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(200, b"<html>", HTML), "holds no token"),
        (Answer(200, b'{"expires_in":60}', JSON), "holds no token"),
        (Answer(404, b"", JSON), "token server answers 404"),
    ],
)
def test_a_bad_token_server_is_told(answer: Answer, error: str) -> None:
    def registry(asked: Asked) -> Answer:
        realm = f"http://{asked.headers['host']}/token"
        challenge = {"WWW-Authenticate": f'Bearer realm="{realm}"'}
        return answer if asked.path.startswith("/token") else Answer(401, b"", challenge)

    with answering(registry) as server, pytest.raises(PublishError, match=error):
        store_at(server, ANN).tags()


def test_a_token_server_that_is_busy_is_asked_again() -> None:
    answers = iter([Answer(503), Answer(200, b'{"access_token":"t"}', JSON)])

    def registry(asked: Asked) -> Answer:
        if asked.path.startswith("/token"):
            return next(answers)
        if asked.headers.get("authorization") == "Bearer t":
            return Answer(200, b'{"tags":null}', JSON)
        realm = f"http://{asked.headers['host']}/token"
        return Answer(401, b"", {"WWW-Authenticate": f'bearer REALM="{realm}"'})

    with answering(registry) as server:
        assert store_at(server, ANN).tags() == ()


def test_a_challenge_nobody_understands_is_a_refusal() -> None:
    with (
        answering(always(Answer(401, b"", {"WWW-Authenticate": "Negotiate"}))) as server,
        pytest.raises(CredentialError, match="refused"),
    ):
        store_at(server, ANN).tags()


# --- tags ---


def pages(*every: tuple[str, str]) -> Handler:
    """Answer `(tags JSON, Link)` page by page: `?page=1` is the second."""

    def answer(asked: Asked) -> Answer:
        number = int(asked.path.rpartition("page=")[2]) if "page=" in asked.path else 0
        tags, link = every[number]
        headers = {**JSON, **({"Link": link} if link else {})}
        return Answer(200, f'{{"name":"acme/web","tags":{tags}}}'.encode(), headers)

    return answer


def following(number: int) -> str:
    return f'</v2/acme/web/tags/list?n=2&page={number}>; rel="next"'


@pytest.mark.parametrize(
    ("every", "tags"),
    [
        ([("null", "")], []),
        ([("[]", "")], []),
        ([('["b","a"]', "")], ["a", "b"]),
        ([('["a","b"]', following(1)), ('["c"]', "")], ["a", "b", "c"]),
        ([('["a","b"]', following(1)), ("null", "")], ["a", "b"]),
        ([("[]", following(1)), ('["a"]', "")], ["a"]),
        ([('["a"]', following(1)), ('["a","b"]', following(0))], ["a", "b"]),
        ([('["a"]', following(0))], ["a"]),
        ([('["a"]', '</x>; rel="prev", ' + following(1)), ('["b"]', "")], ["a", "b"]),
        ([('["a"]', following(1).replace('"next"', "next")), ('["b"]', "")], ["a", "b"]),
        ([('["a"]', '</x>; title="a, b; rel=next"; rel="last"')], ["a"]),
    ],
)
def test_all_pages_of_tags_are_read(every: list[tuple[str, str]], tags: list[str]) -> None:
    with answering(pages(*every)) as server:
        if every[-1][1] == following(0) and len(every) > 1:
            pass  # the last page names the first one: a circle
        assert store_at(server).tags() == tuple(map(Tag, tags))


def test_a_next_page_elsewhere_is_refused() -> None:
    link = '<https://elsewhere.invalid/tags>; rel="next"'
    with (
        answering(pages(('["a"]', link))) as server,
        pytest.raises(PublishError, match="bad next page"),
    ):
        store_at(server).tags()


def test_a_page_that_fails_is_no_shorter_list() -> None:
    def answer(asked: Asked) -> Answer:
        if "page=1" in asked.path:
            return Answer(404)
        return pages(('["a"]', following(1)))(asked)

    with answering(answer) as server, pytest.raises(PublishError, match="404"):
        store_at(server).tags()


# --- may we push ---


def registry_for_pushes(opened: Answer, cancelled: int = 204) -> Handler:
    def answer(asked: Asked) -> Answer:
        match asked.method:
            case "GET":
                return Answer(200, b'{"tags":["a"]}', JSON)
            case "POST":
                return opened
            case _:
                return Answer(cancelled)

    return answer


@pytest.mark.parametrize("cancelled", [204, 202, 404, 405, 500, 403])
def test_an_upload_that_opens_is_the_right_to_push(cancelled: int) -> None:
    opened = Answer(202, b"", {"Location": "/v2/acme/web/blobs/uploads/77?state=x"})
    with answering(registry_for_pushes(opened, cancelled)) as server:
        assert store_at(server).check_push() is PushRight.ALLOWED
        last = server.asked[-1]
    assert (last.method, last.path) == ("DELETE", "/v2/acme/web/blobs/uploads/77?state=x")


@pytest.mark.parametrize(
    "opened",
    [
        Answer(403, b'{"errors":[{"code":"DENIED","message":"write_package"}]}', JSON),
        Answer(405, b"Method not allowed", {"Content-Type": "text/plain"}),
        Answer(401, b"", {}),
    ],
)
def test_an_upload_that_does_not_open_is_a_refusal(opened: Answer) -> None:
    with (
        answering(registry_for_pushes(opened)) as server,
        pytest.raises(CredentialError) as caught,
    ):
        store_at(server).check_push()
    assert caught.value.exit_code == 4


def test_a_repository_that_has_listed_its_tags_is_not_asked_whether_it_exists() -> None:
    opened = Answer(202, b"", {"Location": "/v2/acme/web/blobs/uploads/77?state=x"})
    with answering(registry_for_pushes(opened)) as server:
        store = store_at(server)
        assert store.tags() == (Tag("a"),)
        assert store.check_push() is PushRight.ALLOWED
        assert [asked.method for asked in server.asked] == ["GET", "POST", "DELETE"]


def test_a_repository_that_does_not_exist_is_not_created_by_asking() -> None:
    with answering(always(Answer(404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}', JSON))) as server:
        assert store_at(server).check_push() is PushRight.UNKNOWN
        assert {asked.method for asked in server.asked} == {"GET"}


# --- uploads ---


def test_chunks_are_at_least_as_large_as_the_registry_wants() -> None:
    sizes: list[int] = []

    def answer(asked: Asked) -> Answer:
        if asked.method == "PATCH":
            sizes.append(len(asked.body))
        location = {"Location": "/v2/acme/web/blobs/uploads/1", "OCI-Chunk-Min-Length": "400000"}
        return Answer(201 if asked.method == "PUT" else 202, b"", location)

    data = bytes(1_000_000)
    with answering(answer) as server:
        store = store_at(server)
        policy = type(store.policy)(whole_up_to=0, chunk=1000)
        chunky = RegistryStore(store.client, store.repository, policy=policy)
        chunky.put_blob(blob_of(data), BytesBlob(data))
    assert sizes == [400_000, 400_000, 200_000]


def test_a_limit_on_requests_is_found_by_smaller_pieces() -> None:
    received: list[bytes] = []

    def answer(asked: Asked) -> Answer:
        location = {"Location": "/v2/acme/web/blobs/uploads/1"}
        if len(asked.body) > 300_000:
            return Answer(413, b"<html>too large</html>", HTML)
        if asked.method == "POST":
            received.clear()
        received.append(asked.body)
        return Answer(201 if asked.method == "PUT" else 202, b"", location)

    data = bytes(range(256)) * 4000
    heard: list[int] = []
    with answering(answer) as server:
        store = store_at(server)
        store.put_blob(blob_of(data), BytesBlob(data), heard.append)
        assert store.client.counts.retries == 0
    assert b"".join(received) == data
    assert sum(heard) == len(data)


def test_an_upload_that_never_works_takes_its_progress_back() -> None:
    def answer(asked: Asked) -> Answer:
        if asked.method == "POST":
            return Answer(202, b"", {"Location": "/v2/acme/web/blobs/uploads/1"})
        return Answer(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}', JSON)

    heard: list[int] = []
    with answering(answer) as server:
        with pytest.raises(RegistryError, match="BLOB_UPLOAD_UNKNOWN"):
            store_at(server).put_blob(blob_of(b"data"), BytesBlob(b"data"), heard.append)
        opened = [asked for asked in server.asked if asked.method == "POST"]
    assert sum(heard) == 0
    assert len(opened) == AT_ONCE.attempts


def test_a_damaged_source_is_told_before_the_registry_gets_its_end() -> None:
    location = {"Location": "/v2/acme/web/blobs/uploads/1"}
    with (
        answering(always(Answer(202, b"", location))) as server,
        pytest.raises(PublishError, match="a blob has 3 bytes where 4 were expected"),
    ):
        store_at(server).put_blob(blob_of(b"four"), BytesBlob(b"thr"))


# --- downloads ---


def test_a_blob_with_wrong_bytes_is_found_out() -> None:
    for data in (b"wrong bytes", b"right byteS", b"right bytes and more"):
        with (
            answering(always(Answer(200, data))) as server,
            pytest.raises(VerificationError),
            store_at(server).blob(blob_of(b"right bytes")) as content,
        ):
            tuple(content.chunks())


def test_a_blob_is_taken_as_it_is_whatever_its_encoding_is_called() -> None:
    data = gzip.compress(b"a layer", mtime=0)
    with (
        answering(always(Answer(200, data, {"Content-Encoding": "gzip"}))) as server,
        store_at(server).blob(blob_of(data)) as content,
    ):
        assert b"".join(content.chunks()) == data
