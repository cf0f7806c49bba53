"""The staging registry: where engines deliver, and what every target is filled from.

A small OCI registry on loopback, for this user's processes alone, with logins of its own: one for
each delivery of a run.
"""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import ThreadingHTTPServer
from typing import Self

from podbuild.build.staging.area import IncomingBlob, Staging
from podbuild.build.staging.http import StagingHandler
from podbuild.build.staging.peers import peer_user
from podbuild.build.staging.rights import Grant, Grants
from podbuild.oci.names import Digest, Tag

STRANGERS = 128  # connections that have not shown a login, at a time
FILES = 1 << 16  # open at a time; more would slow programs that close all they might have
HEAD_SECONDS = 10.0  # that they have for it


class StagingRegistry:
    """Serves a staging area to engines on 127.0.0.1, any port, while the block runs."""

    def __init__(self, staging: Staging) -> None:
        self.staging = staging
        self._server = _Server(staging)
        self.login = self._server.grants.add().login  # of this process, for everything
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    def __enter__(self) -> Self:
        _allow_files()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join()

    @contextmanager
    def granted(
        self, name: str, tag: Tag, *, cache: str = "", reads: bool = False
    ) -> Iterator[Grant]:
        """Give a login for one delivery, which is good while the block runs.

        It may write this tag, once, and read and fill `cache`, the name of another repository;
        with `reads` it may fetch what the repository has.
        """
        grant = self._server.grants.add(name, tag, cache=cache, reads=reads)
        try:
            yield grant
        finally:
            self._server.grants.revoke(grant)

    def reference(self, name: str, target: Tag | Digest) -> str:
        """Give the transport and reference by which engines reach an image."""
        return f"docker://{self.login.host}/{self.staging.repository(name).reference(target)}"


def _allow_files() -> None:
    """Let this process open as many files as it may: connections, uploads and layers take some."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # the machine may allow fewer (net.core.somaxconn)

    def __init__(self, staged: Staging) -> None:
        super().__init__(("127.0.0.1", 0), StagingHandler)
        self.staged = staged
        self.grants = Grants(f"127.0.0.1:{self.server_port}")
        self.uploads: dict[str, IncomingBlob] = {}
        self._strangers: dict[socket.socket, float] = {}  # since when, the oldest first
        self._connections: set[socket.socket] = set()

    def server_bind(self) -> None:
        """Bind without the base class's look-up of our own name."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def verify_request(
        self,
        request: socket.socket | tuple[bytes, socket.socket],
        client_address: object,  # noqa: ARG002  # the base's
    ) -> bool:
        """Let in this user's processes, as engines are; others never get to show a login."""
        if not isinstance(request, socket.socket):
            return False
        return peer_user(request) in (None, os.geteuid())

    def process_request(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        if isinstance(request, socket.socket):
            self._connections.add(request)
            self._strangers[request] = time.monotonic()
            if len(self._strangers) > STRANGERS:
                self._turn_away(next(iter(tuple(self._strangers)), request))
        super().process_request(request, client_address)

    def welcome(self, connection: socket.socket) -> None:
        """Hear that a connection has shown a login."""
        self._strangers.pop(connection, None)

    def service_actions(self) -> None:
        """Turn away, several times a second, who takes too long to say who it is."""
        late = time.monotonic() - HEAD_SECONDS
        for connection, since in tuple(self._strangers.items()):
            if since < late:
                self._turn_away(connection)

    def _turn_away(self, connection: socket.socket) -> None:
        self._strangers.pop(connection, None)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)  # its thread closes it

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        if isinstance(request, socket.socket):
            self._connections.discard(request)
            self._strangers.pop(request, None)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        for connection in tuple(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for upload in self.uploads.values():
            upload.discard()

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent: an engine that was stopped closes its connections in the middle."""
