"""The staging registry: where engines deliver, and what every target is filled from.

A small OCI registry on loopback, with credentials of its own for each run.
"""

from __future__ import annotations

import base64
import secrets
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Self

from podbuild.build.staging.area import Staging
from podbuild.build.staging.http import StagingHandler
from podbuild.build.staging.pool import IncomingBlob
from podbuild.oci.names import Digest, Tag


@dataclass(frozen=True, kw_only=True)
class Login:
    """How to reach a staging registry: its host with port, user and password."""

    host: str
    user: str
    password: str = field(repr=False)

    @property
    def basic(self) -> str:
        """Give user and password the way auth files and headers hold them."""
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


class StagingRegistry:
    """Serves a staging area to engines on 127.0.0.1, any port, while the block runs."""

    def __init__(self, staging: Staging) -> None:
        self.staging = staging
        user, password = "podbuild", secrets.token_urlsafe(24)
        self._server = _Server(staging)
        self.login = Login(
            host=f"127.0.0.1:{self._server.server_port}", user=user, password=password
        )
        self._server.authorization = f"Basic {self.login.basic}".encode()
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join()

    def reference(self, name: str, target: Tag | Digest) -> str:
        """Give the transport and reference by which engines reach an image."""
        return f"docker://{self.login.host}/{self.staging.repository(name).reference(target)}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, staged: Staging) -> None:
        super().__init__(("127.0.0.1", 0), StagingHandler)
        self.staged = staged
        self.authorization = b""
        self.uploads: dict[str, IncomingBlob] = {}
        self._connections: set[socket.socket] = set()

    def server_bind(self) -> None:
        """Bind without the base class's look-up of our own name."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def process_request(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        if isinstance(request, socket.socket):
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        if isinstance(request, socket.socket):
            self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        for connection in tuple(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for upload in self.uploads.values():
            upload.discard()

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent: an engine that was stopped closes its connections in the middle."""
