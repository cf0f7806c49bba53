"""What others wrote can be written again, all else is nothing."""

from __future__ import annotations

import base64
import json

import pytest

from podbuild.oci.manifest import Manifest, MediaType
from podbuild.system.records import JSONValue, claims_of, document_of, object_of


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (rb'{"a": "\ud800"}', {"a": "?"}),
        (rb'{"\udc00x": ["\uD83D\uDE00", "\\ud800"]}', {"?x": ["\U0001f600", r"\ud800"]}),
        (b'"a\xed\xa0\x80b"', "a?b"),
        (b"[" * 201 + b"]" * 201, None),
        (b'{"a":' * 300 + b"1" + b"}" * 300, None),
        (b"[" * 100_000, None),
        (b"\xff", None),
    ],
    ids=lambda each: repr(each)[:16],
)
def test_a_document_can_be_written_again(data: bytes, value: JSONValue) -> None:
    found = document_of(data)
    assert found == value
    json.dumps(found, ensure_ascii=False).encode()


def test_documents_are_as_deep_as_real_ones() -> None:
    deep = b"[" * 200 + b"]" * 200
    assert document_of(deep) is not None
    assert object_of(deep) is None


def test_a_manifest_with_half_a_pair_can_be_written_again() -> None:
    data = rb'{"schemaVersion": 2, "annotations": {"a": "\ud800"}}'
    assert Manifest(MediaType.OCI_MANIFEST, data).annotations == {"a": "?"}


@pytest.mark.parametrize(
    "token",
    ["", "a", "a.b", "..", "a.!.c", "a.\u00e9.c", "a.W10.c", "a.b.c.d"],
)
def test_what_is_no_token_claims_nothing(token: str) -> None:
    assert claims_of(token) == {}


def test_a_token_s_claims_are_read_without_padding() -> None:
    part = base64.urlsafe_b64encode(b'{"iss": "a?>"}').decode().rstrip("=")
    assert claims_of(f"x.{part}.y") == {"iss": "a?>"}
