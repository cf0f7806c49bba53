"""Requests to the staging registry, read: address, digest or tag, and body."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from http import HTTPStatus
from io import BufferedIOBase

from podbuild.errors import VerificationError
from podbuild.model import Digest, Tag
from podbuild.store.manifests import STAGED_CAP

CHUNK = 1 << 20  # bytes
_PATH = re.compile(
    r"/v2/(?P<name>[a-z0-9][a-z0-9._/-]*)/"
    r"(?P<kind>blobs/uploads|blobs|manifests|tags)/(?P<item>[^/]*)"
)


class Refusal(Exception):  # noqa: N818  # an answer, not a failure of ours
    """An error answer by the distribution spec."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def address_of(path: str) -> tuple[str, str, str]:
    """Give repository, kind and item of an address; raises Refusal for any other."""
    found = _PATH.fullmatch(path)
    if not found:
        raise Refusal(HTTPStatus.NOT_FOUND, "UNSUPPORTED", "no such address")
    return found["name"], found["kind"], found["item"]


def digest_of(text: str) -> Digest:
    """Read a digest; raises VerificationError for what is none, or not sha256."""
    digest = Digest(text)
    if digest.algorithm != "sha256":
        raise VerificationError(f"{digest.algorithm} is not supported here")
    return digest


def target_of(text: str) -> Tag | Digest:
    """Read the last part of a manifest's address."""
    return digest_of(text) if ":" in text else Tag(text)


def body_of(headers: Message, source: BufferedIOBase) -> Iterator[memoryview]:
    """Give a request's body in pieces; each is valid until the next one is asked for."""
    if "chunked" in headers.get("Transfer-Encoding", "").lower():
        return _chunked(source)
    return _exactly(source, int(headers.get("Content-Length") or 0))


def whole_body(headers: Message, source: BufferedIOBase) -> bytes:
    """Give the body of a request that brings a manifest."""
    found = bytearray()
    for piece in body_of(headers, source):
        found += piece
        if len(found) > STAGED_CAP:
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "SIZE_INVALID", "too long for a manifest"
            )
    return bytes(found)


def _exactly(source: BufferedIOBase, length: int) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(min(CHUNK, length)))
    while length:
        count = source.readinto1(buffer[: min(CHUNK, length)])
        if not count:
            raise ConnectionError("the request's body ended early")
        length -= count
        yield buffer[:count]


def _chunked(source: BufferedIOBase) -> Iterator[memoryview]:
    while size := int(source.readline(64).partition(b";")[0], 16):
        yield from _exactly(source, size)
        source.readline(8)
    while source.readline(1 << 16).strip():
        continue  # trailers
