"""Opens repositories: one client for each registry and login, shared by all its repositories."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING

from podbuild.oci import client as clients
from podbuild.oci import registry as stores
from podbuild.oci.auth.credentials import Keyring
from podbuild.oci.auth.files import Credential
from podbuild.oci.manifest import KnownManifests
from podbuild.oci.names import Repository
from podbuild.oci.transport.endpoint import Conduct, Counts, Endpoint, Pace, UploadPolicy, WayOut
from podbuild.system.later import dataclass

if TYPE_CHECKING:
    from podbuild.oci.client import RegistryClient
    from podbuild.oci.registry import RegistryStore


@dataclass(frozen=True, kw_only=True)
class Registries:
    """Gives a RegistryStore for a repository, with the login that belongs to it."""

    keyring: Keyring
    conduct: Conduct = field(default_factory=Conduct)
    network: WayOut = field(default_factory=WayOut)
    policy: UploadPolicy = field(default_factory=UploadPolicy)
    manifests: KnownManifests = field(default_factory=KnownManifests, repr=False)
    paces: dict[str, Pace] = field(default_factory=dict, repr=False)  # by host
    _clients: dict[tuple[Endpoint, Credential | None], RegistryClient] = field(
        default_factory=dict, repr=False
    )
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def open(self, repository: Repository, endpoint: Endpoint, registry: str = "") -> RegistryStore:
        """Give the store of a repository; `registry` is its section's name in the configuration.

        Raises CredentialError (a login that can't be read), ConfigError (a bad CA file).
        """
        client = self.client(repository, endpoint, registry)
        return stores.RegistryStore(client, repository, policy=self.policy)

    def client(
        self, repository: Repository, endpoint: Endpoint, registry: str = ""
    ) -> RegistryClient:
        """Give the client that a repository's store uses; raises as `open` does."""
        credential = self.keyring.find(repository, registry)
        with self._lock:
            key = (endpoint, credential)
            if key not in self._clients:
                self._clients[key] = clients.RegistryClient(
                    endpoint,
                    credential,
                    conduct=self.conduct,
                    network=self.network,
                    manifests=self.manifests,
                    pace=self.paces.setdefault(endpoint.host, Pace()),
                )
            return self._clients[key]

    def impatient(self) -> Registries:
        """Give the same with clients of their own, which try again only once."""
        conduct = replace(self.conduct, retry=replace(self.conduct.retry, attempts=2))
        return replace(self, conduct=conduct, _clients={}, _lock=threading.Lock())

    def anonymous(self) -> Registries:
        """Give the same without the logins of the environment's variables."""
        keyring = replace(self.keyring, environment={})
        return replace(self, keyring=keyring, _clients={}, _lock=threading.Lock())

    @property
    def counts(self) -> Mapping[str, Counts]:
        """Give what went over the wire so far, by registry host."""
        found: dict[str, Counts] = {}
        for (endpoint, _), client in tuple(self._clients.items()):
            found[endpoint.host] = found.get(endpoint.host, Counts()) + client.counts
        return found

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()
