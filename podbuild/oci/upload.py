"""One blob on its way to a registry: mounted, in one piece, or in chunks; resumed when it breaks.

Source: distribution spec, "Pushing blobs".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import quote

from podbuild.errors import CredentialError, PublishError
from podbuild.oci.auth.files import AccessScope
from podbuild.oci.client import RegistryClient
from podbuild.oci.manifest import Descriptor
from podbuild.oci.store import BlobSource, FileBlob, checked
from podbuild.oci.transport.endpoint import UploadPolicy
from podbuild.oci.transport.http import Call
from podbuild.oci.transport.problem import Recovery, RegistryError, Response, whole_number
from podbuild.system.cancel import Cancel
from podbuild.system.retry import Transient

_OCTETS = {"Content-Type": "application/octet-stream"}
_SMALLEST = 64 * 1024  # bytes; a registry that refuses chunks of this size refuses the blob
_SMALL = 2**20  # bytes; what breaks off with chunks of this size does so for another reason
_ASSEMBLED = 8 * 2**20  # bytes a second at which registries put a blob together, at least
_TAKEN = (200, 201, 202, 204)  # what bytes are answered with; the specification's are 201 and 202

# What says that a blob can't come this way: others still take it in chunks, or in one piece alone.
_OTHER_WAY = frozenset({400, 403, 404, 405, 409, 411, 415, 416, 422, 501})


class BlobUpload:
    """Uploads one blob; `attempt` may be called until it returns."""

    def __init__(
        self,
        client: RegistryClient,
        path: str,
        blob: Descriptor,
        source: BlobSource,
        *,
        policy: UploadPolicy,
        on_bytes: Callable[[int], None],
    ) -> None:
        self._client = client
        self._path = path
        self._blob = blob
        self._source = source
        self._on_bytes = on_bytes
        self._chunk = policy.chunk
        self._least = 0  # bytes that the registry wants at least in a chunk
        limit = policy.whole_up_to
        self._chunked = limit is not None and blob.size > limit
        self._turned = False  # from one piece to chunks or back, as the registry refuses the other
        self._limited = False  # requests may not be as large as the blob
        self._location = ""  # of the open session; empty: none
        self._done = 0  # bytes that the session holds
        self._told = 0  # bytes that on_bytes has heard of

    def attempt(self) -> None:
        """Go on from where the last attempt stopped; raises Transient where one more may help."""
        while True:
            began = self._done
            try:
                self._go_on()
            except Transient as failure:
                self._tell(self._done)
                self._break_up(failure, moved=self._done > began)
                raise
            except RegistryError as error:
                sending = bool(self._location)
                self._drop_session()
                if "DIGEST_INVALID" in error.problem.codes:
                    self._blame()
                if error.problem.status == 413 and self._take_smaller_pieces():
                    continue
                is_lost = error.problem.recovery is Recovery.PUSH
                turned = sending and (self._chunked or not is_lost) and self._turn(error)
                if is_lost:
                    raise Transient(error, wait=error.problem.wait) from error
                if not turned:
                    raise
            else:
                return

    def withdraw(self) -> None:
        """Take back what on_bytes has heard, after the last failure."""
        self._tell(0)

    def _go_on(self) -> None:
        if self._location and self._resumed():
            return
        if not self._location:
            self._open()
        if not self._location:
            self._tell(self._blob.size)  # mounted, nothing to send
        elif self._chunked:
            self._send_chunks()
        else:
            self._send_whole()

    def _drop_session(self) -> None:
        self._location = ""
        self._done = 0
        self._tell(0)

    def _blame(self) -> None:
        """Raise VerificationError where the source, and not the way, spoils the bytes.

        A file is sent without hashing it again for each registry, as they all check the digest.
        """
        for _ in checked(self._blob, self._source.chunks(), "the source of an upload"):
            pass

    def _break_up(self, failure: Transient, *, moved: bool) -> None:
        """Prepare chunks after a request that broke, and smaller ones where they break as well."""
        if self._turned or self._blob.size <= self._chunk:
            return
        if self._chunked and not moved and not isinstance(failure.cause, RegistryError):
            self._chunk = min(self._chunk, max(self._chunk // 4, self._least, _SMALL))
        self._chunked = True

    def _turn(self, error: RegistryError) -> bool:
        """Prepare chunks where one piece is refused, or one piece where chunks are; once."""
        problem = error.problem
        if self._turned or self._limited or problem.is_full or problem.status not in _OTHER_WAY:
            return False
        self._turned = True
        self._chunked = not self._chunked
        return True

    def _take_smaller_pieces(self) -> bool:
        """Prepare smaller requests after a 413; False when they are small enough already."""
        present = min(self._chunk, self._blob.size)
        smaller = max(present // 4, self._least) if self._chunked else present
        if smaller < _SMALLEST or (self._chunked and smaller >= present):
            return False
        self._chunk = smaller
        self._chunked = self._limited = True
        return True

    def _open(self) -> None:
        """Start a session, or find the blob mounted from a repository that has it."""
        uploads = f"/v2/{self._path}/blobs/uploads/"
        lender = self._client.holders.other(self._blob.digest, self._path)
        if lender:
            answer = self._mount(uploads, lender)
            if answer and answer.status == 201:
                self._client.count_mounted()
                return
            if answer and not answer.header("location"):
                answer = None
        else:
            answer = None
        if answer is None:
            answer = self._call("POST", uploads, ok=(201, 202))
        self._location = self._client.location(answer)
        self._done = 0
        least = whole_number(answer.header("oci-chunk-min-length"))
        if least is not None:
            self._least = least
            self._chunk = max(self._chunk, self._least)

    def _mount(self, uploads: str, lender: str) -> Response | None:
        """Ask for the blob of another repository; None where the registry does not want to."""
        query = f"{uploads}?mount={quote(str(self._blob.digest), safe=':')}&from={quote(lender)}"
        try:
            return self._client.once(
                Call(method="POST", url=self._client.url(query)),
                scopes=(
                    AccessScope.repository(self._path, "pull", "push"),
                    AccessScope.repository(lender, "pull"),
                ),
                ok=(201, 202),
            )
        except (RegistryError, CredentialError):  # then by an upload, which tells what is wrong
            self._client.holders.forget(self._blob.digest, lender)
            return None
        except Transient:  # which may be its answer to every mount
            self._client.holders.forget(self._blob.digest, lender)
            raise

    def _resumed(self) -> bool:
        """Ask how much of a broken upload arrived; True when it all did, the reply was lost.

        Without a usable answer, a new session is made.
        """
        held = 0 if self._turned and not self._chunked else self._arrived()
        if held:
            self._done = held
            self._chunked = True
            self._tell(held)
            return False
        self._drop_session()
        path = f"/v2/{self._path}/blobs/{self._blob.digest}"
        if self._call("HEAD", path, ok=(200, 404)).status == 404:
            return False
        self._tell(self._blob.size)
        return True

    def _arrived(self) -> int:
        """Ask how much a session holds; 0 where nobody says so, as storage elsewhere does not."""
        try:
            answer = self._call("GET", self._location, ok=(200, 202, 204))
            if answer.header("location"):
                self._location = self._client.location(answer)
        except (PublishError, CredentialError):
            return 0
        held = _held(answer)
        return held if held <= self._blob.size else 0

    def _send_whole(self) -> None:
        body = Piece(self._source, 0, self._blob.size, self._moved, self._client.cancel)
        self._close(body)

    def _close(self, body: bytes | Piece = b"") -> None:
        """End the session; registries on object storage first put the whole blob together."""
        patience = self._blob.size / _ASSEMBLED
        self._call("PUT", self._closing(), ok=_TAKEN, body=body, patience=patience)

    def _send_chunks(self) -> None:
        while self._done < self._blob.size:
            start = self._done
            end = min(start + self._chunk, self._blob.size)
            body = Piece(self._source, start, end - start, self._moved, self._client.cancel)
            span = {"Content-Range": f"{start}-{end - 1}"}
            answer = self._call("PATCH", self._location, ok=_TAKEN, body=body, headers=span)
            if answer.header("location"):
                self._location = self._client.location(answer)
            held = _held(answer)
            self._done = min(held, end) if held > start else end
            self._tell(self._done)
        self._close()

    def _closing(self) -> str:
        bare = self._location.removesuffix("?")  # which urllib keeps from Python 3.14 on
        joint = "&" if "?" in bare else "?"
        return f"{bare}{joint}digest={quote(str(self._blob.digest), safe=':')}"

    def _call(
        self,
        method: str,
        url: str,
        *,
        ok: tuple[int, ...],
        body: bytes | Piece = b"",
        headers: dict[str, str] | None = None,
        patience: float = 0.0,
    ) -> Response:
        kind = _OCTETS if method in ("PUT", "PATCH") else {}
        return self._client.once(
            Call(
                method=method,
                url=self._client.url(url),
                headers={**kind, **(headers or {})},
                body=body,
                patience=patience,
            ),
            scopes=(AccessScope.repository(self._path, "pull", "push"),),
            ok=ok,
        )

    def _moved(self, count: int) -> None:
        self._told += count
        self._on_bytes(count)
        if count > 0:
            self._client.count_sent(count)

    def _tell(self, total: int) -> None:
        """Bring what on_bytes has heard to a total."""
        if total != self._told:
            self._on_bytes(total - self._told)
            self._told = total


class Piece:
    """Some bytes of a source as a request's body, from their start each time it is sent."""

    def __init__(
        self,
        source: BlobSource,
        start: int,
        length: int,
        on_bytes: Callable[[int], None],
        cancel: Cancel,
    ) -> None:
        self._source = source
        self._start = start
        self._length = length
        self._on_bytes = on_bytes
        self._cancel = cancel
        self._sent = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        if self._sent:
            self._on_bytes(-self._sent)
            self._sent = 0
        path = self._source.path
        pieces = (FileBlob(path) if path else self._source).chunks(self._start)
        for whole in pieces:
            piece = whole[: self._length - self._sent]
            self._cancel.check()
            yield piece
            self._sent += len(piece)
            self._on_bytes(len(piece))
            if self._sent == self._length:
                next(pieces, b"")  # lets a checking source say at its end that it was wrong
                return
        raise PublishError(
            f"a blob has {self._start + self._sent} bytes where "
            f"{self._start + self._length} were expected"
        )


def _held(answer: Response) -> int:
    """Give how many bytes a session holds: `Range: 0-<last>`; 0 where it does not say.

    `0-0` is what servers say of an empty session, and of one byte: it says nothing.
    """
    found = re.fullmatch(r"(?:bytes=)?0-(\d{1,18})", answer.header("range").strip())
    return int(found[1]) + 1 if found and int(found[1]) else 0
