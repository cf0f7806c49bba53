import json
from datetime import UTC, datetime

import pytest

from podbuild.oci.transport.problem import Problem, Recovery, Response, go_duration, read_problem

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def answer(status: int, body: bytes = b"", **headers: str) -> Response:
    return Response(
        method="PUT",
        url="https://r.example/v2/a/blobs/uploads/1",
        status=status,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        body=body,
    )


def errors(*codes: str, message: str = "") -> bytes:
    return json.dumps(
        {"errors": [{"code": code, "message": message, "detail": None} for code in codes]}
    ).encode()


@pytest.mark.parametrize(
    ("response", "recovery"),
    [
        *[(answer(status), Recovery.REQUEST) for status in (408, 425, 429, 499, 500, 502, 503)],
        *[(answer(status), Recovery.REQUEST) for status in (504, 520, 522, 527)],
        *[(answer(status), Recovery.NONE) for status in (400, 401, 403, 404, 405, 413, 422, 501)],
        (answer(400, errors("TOOMANYREQUESTS")), Recovery.REQUEST),
        (answer(400, errors("UNKNOWN")), Recovery.REQUEST),
        (answer(400, errors("UNAVAILABLE")), Recovery.REQUEST),
        (answer(404, errors("BLOB_UPLOAD_UNKNOWN")), Recovery.PUSH),
        (answer(404, errors("BLOB_UPLOAD_INVALID")), Recovery.PUSH),
        (answer(416, errors("RANGE_INVALID")), Recovery.PUSH),
        (answer(400, errors("MANIFEST_BLOB_UNKNOWN")), Recovery.BLOBS),
        (answer(404, errors("BLOB_UNKNOWN")), Recovery.BLOBS),
        (answer(400, errors("DIGEST_INVALID")), Recovery.NONE),
        (answer(404, errors("NAME_UNKNOWN")), Recovery.NONE),
        (answer(403, errors("DENIED", message="write_package")), Recovery.NONE),
        (
            answer(403, b"You have exceeded a secondary rate limit", content_type="text/plain"),
            Recovery.REQUEST,
        ),
        (answer(403, retry_after="3"), Recovery.REQUEST),
        (answer(400, errors("DENIED", message="Rate exceeded")), Recovery.REQUEST),
    ],
)
def test_what_helps_follows_the_retry_classes(response: Response, recovery: Recovery) -> None:
    assert read_problem(response).recovery is recovery


@pytest.mark.parametrize(
    ("response", "wait"),
    [
        (answer(429), None),
        (answer(429, retry_after="17"), 17.0),
        (answer(429, retry_after="1.5"), 1.5),
        (answer(429, retry_after="Fri, 02 Jan 2026 03:04:35 GMT"), 30.0),
        (answer(429, retry_after="Fri, 02 Jan 2026 03:00:00 GMT"), 0.0),
        (answer(429, retry_after="soon"), None),
        (answer(429, retry_after="Fri, 02 Jan 99999999999999999999 03:04:05 GMT"), None),
        (answer(429, x_retry_after="1767323055"), 10.0),
        (answer(429, x_retry_after="12"), 12.0),
        (
            answer(
                429,
                errors("TOOMANYREQUESTS", message="retry-after: 10.5ms, allowed: 2000/minute"),
            ),
            0.0105,
        ),
        (answer(429, errors("TOOMANYREQUESTS", message="retry-after: 1m2s, x")), 62.0),
    ],
)
def test_every_form_of_retry_after_is_read(response: Response, wait: float | None) -> None:
    assert read_problem(response, NOW).wait == pytest.approx(wait)


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (errors("DENIED", message="no\nway"), "application/json", "403 DENIED: no way"),
        (errors("A", "B"), "application/json", "403 A B"),
        (rb'{"errors":[{"code":"a\ud800","message":"b\ud800"}]}', "application/json", "403 A?: b?"),
        (b'{"errors":[{"message":"only words"}, 7]}', "application/json", "403: only words"),
        (b'{"detail":"bad login"}', "application/json", "403: bad login"),
        (b'{"message":"no"}', "application/json", "403: no"),
        (b"404 page not found\n", "text/plain", "403: 404 page not found"),
        (b"<html>a page</html>", "text/html; charset=utf-8", "403"),
        (b"[" * 100_000, "text/plain", "403: " + "[" * 300),
        (b"\xff\xfe", "text/plain", "403: \ufffd\ufffd"),
        (b"", "", "403"),
    ],
)
def test_errors_of_any_form_become_one_line(body: bytes, kind: str, text: str) -> None:
    assert str(read_problem(answer(403, body, content_type=kind))) == text


def test_a_point_in_time_goes_by_the_servers_own_clock() -> None:
    later = "Fri, 02 Jan 2026 03:04:35 GMT"
    told = answer(429, retry_after=later, date="Fri, 02 Jan 2026 03:04:30 GMT")
    assert read_problem(told).wait == 5.0


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "Quota exceeded when processing the request of adding 10 MiB of storage resource"),
        (413, "registry storage quota exceeded"),
        (507, ""),
    ],
)
def test_a_full_registry_says_nothing_of_the_login(status: int, message: str) -> None:
    found = read_problem(answer(status, errors("DENIED", message=message)))
    assert found.is_full
    assert not found.is_refusal
    assert "make room" in found.hint


def test_a_problem_without_words_is_its_status() -> None:
    assert str(Problem(status=503)) == "503"


@pytest.mark.parametrize(
    ("text", "seconds"), [("3s", 3), ("1h0m1s", 3601), ("5µs", 5e-6), ("7ns", 7e-9), ("1.5m", 90)]
)
def test_go_durations(text: str, seconds: float) -> None:
    assert go_duration(text) == pytest.approx(seconds)
