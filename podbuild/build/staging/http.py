"""The staging registry's HTTP side: what engines ask of a registry, and no more.

OCI distribution spec 1.1; the order of requests is that of containers/image.

Requests to the staging registry, read: address, digest or tag, and body.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BufferedIOBase
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from podbuild.build.staging.area import IncomingBlob, Staging
from podbuild.build.staging.rights import Grant, Grants
from podbuild.errors import PodbuildError, VerificationError, VersionError
from podbuild.oci.manifest import MANIFEST_TYPES, STAGED_CAP, Manifest
from podbuild.oci.names import Digest, Tag

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


_BINARY = "application/octet-stream"


class Server(Protocol):
    """What a handler finds in the server that it belongs to."""

    staged: Staging
    grants: Grants
    uploads: dict[str, IncomingBlob]

    def welcome(self, connection: socket.socket) -> None:
        """Hear that a connection has shown a login."""


class StagingHandler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    rbufsize = 1 << 18
    disable_nagle_algorithm = True
    server: Server  # type: ignore[assignment]

    def do_GET(self) -> None:
        """Answer a read."""
        self._answer(self._get)

    def do_HEAD(self) -> None:
        """Answer a question about size and digest."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Begin an upload, or mount."""
        self._answer(self._post)

    def do_PATCH(self) -> None:
        """Take a piece of an upload."""
        self._answer(self._patch)

    def do_PUT(self) -> None:
        """Finish an upload, or take a manifest."""
        self._answer(self._put)

    def do_DELETE(self) -> None:
        """Give up an upload."""
        self._answer(self._delete)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """Say nothing: engines say themselves what they deliver."""

    def version_string(self) -> str:
        """Give what the Server header says."""
        return "podbuild"

    # One answer.

    def _answer(self, act: Callable[[str, str, str], None]) -> None:
        try:
            self._grant = self._logged_in()
            url = urlsplit(self.path)
            self._query = {key: values[-1] for key, values in parse_qs(url.query).items()}
            if url.path == "/v2/":
                self._send(HTTPStatus.OK, b"{}", {"Content-Type": "application/json"})
            else:
                address = address_of(url.path)
                self._may(allowed=self._asks_for_blob(*address) or self._grant.covers(address[0]))
                act(*address)
        except Refusal as refusal:
            self._refuse(refusal)
        except VerificationError as error:
            self._refuse(Refusal(HTTPStatus.BAD_REQUEST, "DIGEST_INVALID", str(error)))
        except VersionError as error:
            self._refuse(Refusal(HTTPStatus.BAD_REQUEST, "TAG_INVALID", str(error)))
        except PodbuildError as error:
            self.server.staged.failure = error
            self._refuse(Refusal(HTTPStatus.INSUFFICIENT_STORAGE, "UNKNOWN", str(error)))

    def _logged_in(self) -> Grant:
        grant = self.server.grants.of(self.headers.get("Authorization") or "")
        if grant is None:
            raise Refusal(HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED", "authentication required")
        self.server.welcome(self.connection)
        return grant

    def _asks_for_blob(self, _name: str, kind: str, _item: str) -> bool:
        """Tell whether a request asks if a blob is known: the same answer under every name.

        Engines ask under the name of the repository that they have put it into, and would pack
        and send it anew.
        """
        return self.command == "HEAD" and kind == "blobs"

    def _may(self, *, allowed: bool) -> None:
        if not allowed:
            raise Refusal(HTTPStatus.FORBIDDEN, "DENIED", "this login is good for its own alone")

    def _refuse(self, refusal: Refusal) -> None:
        self.close_connection = True  # a body may be left unread
        error = {"code": refusal.code, "message": str(refusal)}
        headers = {"Content-Type": "application/json"}
        if refusal.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = 'Basic realm="podbuild staging"'
        self._send(refusal.status, json.dumps({"errors": [error]}).encode(), headers)

    def _send(
        self, status: HTTPStatus, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        self._head(status, len(body), headers or {})
        if self.command != "HEAD" and body:
            self.wfile.write(body)

    def _head(self, status: HTTPStatus, length: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        if self.close_connection:
            self.send_header("Connection", "close")
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    # Reading.

    def _get(self, name: str, kind: str, item: str) -> None:
        match kind:
            case "blobs":
                self._get_blob(name, digest_of(item))
            case "manifests":
                self._get_manifest(name, item)
            case "tags" if item == "list":
                tags = [str(tag) for tag in self.server.staged.tags(name)]
                body = json.dumps({"name": name, "tags": tags}).encode()
                self._send(HTTPStatus.OK, body, {"Content-Type": "application/json"})
            case _:
                raise Refusal(HTTPStatus.NOT_FOUND, "UNSUPPORTED", "no such address")

    def _get_blob(self, name: str, digest: Digest) -> None:
        self._may(allowed=self.command == "HEAD" or self._grant.may_fetch(name))
        staged = self.server.staged
        backing = staged.backing(name)
        if backing and self.command == "GET" and staged.pool.size(digest) is None:
            backing.fetch(digest)
        size = staged.pool.size(digest)
        if size is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "BLOB_UNKNOWN", f"{digest} is not here")
        headers = {"Docker-Content-Digest": str(digest), "Content-Type": _BINARY}
        if self.command == "HEAD":
            self._head(HTTPStatus.OK, size, headers)
            staged.pool.touch(digest)
            return
        with staged.pool.path(digest).open("rb") as file:
            self._head(HTTPStatus.OK, size, headers)
            self.connection.sendfile(file)

    def _get_manifest(self, name: str, item: str) -> None:
        manifest = self._find_manifest(name, target_of(item))
        if manifest is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", f"{name}: {item} is not here")
        headers = {
            "Docker-Content-Digest": str(manifest.digest),
            "Content-Type": manifest.media_type,
        }
        self._send(HTTPStatus.OK, manifest.data, headers)

    def _find_manifest(self, name: str, target: Tag | Digest) -> Manifest | None:
        backing = self.server.staged.backing(name)
        if backing and isinstance(target, Tag):
            return backing.find(target)
        digest = self.server.staged.resolve(name, target)
        return self.server.staged.manifest(digest) if digest else None

    # Writing.

    def _post(self, name: str, kind: str, item: str) -> None:
        if kind != "blobs/uploads" or item:
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "UNSUPPORTED", "not an upload")
        if "mount" in self._query and self._mounted(name, digest_of(self._query["mount"])):
            return
        upload = self.server.staged.pool.receive()
        if "digest" in self._query:
            self._finish(name, upload)
            return
        token = secrets.token_urlsafe(16)
        self.server.uploads[token] = upload
        self._tell_upload(HTTPStatus.ACCEPTED, name, token, 0)

    def _mounted(self, name: str, digest: Digest) -> bool:
        """Known blobs are known to every repository, so mounting is only an answer."""
        if self.server.staged.pool.size(digest) is None:
            return False
        self._tell_blob(name, digest)
        return True

    def _patch(self, name: str, kind: str, item: str) -> None:
        upload = self._upload(kind, item)
        start = self.headers.get("Content-Range", "").partition("-")[0]
        if start and start != str(upload.size):
            raise Refusal(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                "BLOB_UPLOAD_INVALID",
                f"expected bytes from {upload.size}, not {start}",
            )
        self._receive(upload)
        self._tell_upload(HTTPStatus.ACCEPTED, name, item, upload.size)

    def _put(self, name: str, kind: str, item: str) -> None:
        if kind == "manifests":
            self._put_manifest(name, item)
            return
        upload = self._upload(kind, item)
        del self.server.uploads[item]
        self._finish(name, upload)

    def _finish(self, name: str, upload: IncomingBlob) -> None:
        try:
            self._receive(upload)
            digest = digest_of(self._query.get("digest", ""))
            upload.finish(digest)
        finally:
            upload.discard()
        self._tell_blob(name, digest)

    def _put_manifest(self, name: str, item: str) -> None:
        target = target_of(item)
        data = whole_body(self.headers, self.rfile)
        manifest = Manifest(self.headers.get("Content-Type", ""), data)
        if manifest.media_type not in MANIFEST_TYPES:
            raise Refusal(HTTPStatus.BAD_REQUEST, "MANIFEST_INVALID", "not a manifest's type")
        manifest.check_kind()
        if isinstance(target, Digest) and target != manifest.digest:
            raise VerificationError(f"the manifest is {manifest.digest}, not {target}")
        missing = self.server.staged.missing(manifest)
        if missing:
            raise Refusal(
                HTTPStatus.NOT_FOUND, "MANIFEST_BLOB_UNKNOWN", f"{missing.digest} is not here"
            )
        self._may(allowed=self._grant.take(name, target, manifest))
        backing = self.server.staged.backing(name)
        if backing and isinstance(target, Tag):
            backing.take(target, manifest)
        else:
            self.server.staged.accept(name, manifest, target if isinstance(target, Tag) else None)
        headers = {
            "Location": f"/v2/{name}/manifests/{manifest.digest}",
            "Docker-Content-Digest": str(manifest.digest),
        }
        self._send(HTTPStatus.CREATED, b"", headers)

    def _delete(self, _name: str, kind: str, item: str) -> None:
        if kind != "blobs/uploads":
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "UNSUPPORTED", "nothing is deleted here")
        self._upload(kind, item).discard()
        del self.server.uploads[item]
        self._send(HTTPStatus.NO_CONTENT)

    def _upload(self, kind: str, item: str) -> IncomingBlob:
        upload = self.server.uploads.get(item) if kind == "blobs/uploads" else None
        if upload is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "no such upload")
        return upload

    def _tell_upload(self, status: HTTPStatus, name: str, token: str, size: int) -> None:
        location = f"/v2/{name}/blobs/uploads/{token}"
        self._send(status, b"", {"Location": location, "Range": f"0-{max(0, size - 1)}"})

    def _tell_blob(self, name: str, digest: Digest) -> None:
        self.server.staged.pool.touch(digest)
        location = f"/v2/{name}/blobs/{digest}"
        headers = {"Location": location, "Docker-Content-Digest": str(digest)}
        self._send(HTTPStatus.CREATED, b"", headers)

    # Request bodies.

    def _receive(self, upload: IncomingBlob) -> None:
        for piece in body_of(self.headers, self.rfile):
            upload.write(piece)
