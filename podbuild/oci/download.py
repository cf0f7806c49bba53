"""One blob on its way from a registry: checked, and resumed where it breaks off."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from podbuild.errors import VerificationError
from podbuild.oci.auth.files import AccessScope
from podbuild.oci.client import RegistryClient
from podbuild.oci.manifest import Descriptor
from podbuild.oci.names import Repository
from podbuild.oci.transport.http import Call
from podbuild.oci.transport.problem import Response
from podbuild.system.retry import Transient

_BREAKS = 5  # times that one download may break off


@dataclass(frozen=True)
class RemoteBlob:
    """A blob on a registry; a download that breaks off goes on where it stopped."""

    client: RegistryClient
    repository: Repository
    blob: Descriptor
    scopes: tuple[AccessScope, ...]

    @property
    def path(self) -> None:
        """Say that no file holds the bytes."""
        return

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """Give the bytes from `start` on; raises VerificationError when they are not the blob."""
        hasher = hashlib.new(self.blob.digest.algorithm)
        position = start
        for breaks in range(1, _BREAKS + 1):
            try:
                for piece in self._read(position):
                    position += len(piece)
                    if position > self.blob.size:
                        break
                    hasher.update(piece)
                    yield piece
                break
            except Transient as failure:
                if breaks == _BREAKS:
                    raise failure.cause from failure.cause.__cause__
                self.client.wait(breaks, failure)
        if position != self.blob.size or (not start and hasher.hexdigest() != self.blob.digest.hex):
            raise VerificationError(
                f"{self.repository.at(self.blob.digest)}: the registry's bytes are not that blob"
            )

    def is_there(self) -> bool:
        """Ask for the first byte, where nobody answers HEAD."""
        call = Call(method="GET", url=self._url, headers={"Range": "bytes=0-0"})

        def ask() -> bool:
            with self.client.stream(call, scopes=self.scopes, ok=(200, 206, 404)) as (head, pieces):
                if head.status == 404:
                    return False
                answer = replace(head, body=next(pieces, b""))
                if self._is_page(answer):
                    raise self.client.failure(answer)
                return True

        return self.client.guarded(ask)

    @property
    def _url(self) -> str:
        return self.client.url(f"/v2/{self.repository.path}/blobs/{self.blob.digest}")

    def _read(self, start: int) -> Iterator[bytes]:
        client = self.client
        headers = {"Range": f"bytes={start}-"} if start else {}
        call = Call(method="GET", url=self._url, headers=headers)
        with client.stream(call, scopes=self.scopes, ok=(200, 206)) as (head, pieces):
            skip = start if head.status == 200 else 0
            for piece in pieces:
                if self._is_page(replace(head, body=piece)):
                    raise client.failure(replace(head, body=piece))
                yield piece[skip:]
                skip = max(0, skip - len(piece))

    def _is_page(self, answer: Response) -> bool:
        """Tell a web page from a blob that is one, which has the blob's length."""
        length = answer.header("content-length")
        return answer.status == 200 and answer.is_html and length != str(self.blob.size)
