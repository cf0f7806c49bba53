"""Open what deletes from a configured registry, with the login that belongs to its API."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from podbuild.config.model import Registry
from podbuild.errors import ConfigError, CredentialError
from podbuild.oci.auth.credentials import token_variables
from podbuild.oci.auth.files import Credential, CredentialKind
from podbuild.oci.delete import Remover
from podbuild.oci.delete.layout import LayoutRemover
from podbuild.oci.delete.registry import OciRemover
from podbuild.oci.delete.rest import RestClient
from podbuild.oci.kinds import HOMES, Home
from podbuild.oci.layout import LayoutStore
from podbuild.oci.registries import Registries
from podbuild.oci.registry import RegistryStore
from podbuild.oci.store import Store
from podbuild.system.retry import Retry

_LOOK_AGAIN = Retry(attempts=4, base=1.0, cap=8.0)  # for what an API shows a moment later


@dataclass(frozen=True)
class Removers:
    """Opens removers; the clients of APIs are shared, so that limits and pace are too."""

    registries: Registries
    _rests: dict[tuple[str, Credential], RestClient] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def open(self, registry: Registry, store: Store) -> Remover:
        """Give the remover for a registry's repository.

        Raises ConfigError (no API known), CredentialError (no login for it).
        """
        if isinstance(store, LayoutStore):
            return LayoutRemover(store)
        if not isinstance(store, RegistryStore):
            raise ConfigError(f"{store.name}: nothing can be deleted there")
        home = HOMES.get(registry.kind)
        if home is None:
            return OciRemover(store)
        rest, credential = self._api(registry, store, home)
        return home.remover(store, rest, credential, self._look_again, registry.untag)

    @property
    def requests(self) -> int:
        """Give how many requests went out so far, to registries and to their APIs."""
        registries = sum(counts.requests for counts in self.registries.counts.values())
        return registries + sum(rest.counts.requests for rest in self._rests.values())

    def close(self) -> None:
        """Close the connections to the APIs."""
        for rest in self._rests.values():
            rest.close()

    @property
    def _look_again(self) -> Retry:
        """Wait as the registries' own retries do."""
        conduct = self.registries.conduct
        return replace(_LOOK_AGAIN, sleep=conduct.sleep, jitter=conduct.retry.jitter)

    def _api(
        self, registry: Registry, store: RegistryStore, home: Home
    ) -> tuple[RestClient, Credential]:
        base = registry.api or _usual(registry, store, home)
        if base.startswith("http://") and not registry.insecure:
            raise ConfigError(
                f"registry {registry.name}: api = {base!r} would send a token without TLS",
                hint="use https, or insecure = true for a test server",
            )
        credential = self._credential(registry, store, base, home)
        with self._lock:
            key = (base, credential)
            if key not in self._rests:
                self._rests[key] = self._rest(registry, base, home)
            return self._rests[key], credential

    def _credential(
        self, registry: Registry, store: RegistryStore, base: str, home: Home
    ) -> Credential:
        """Choose by the API's own host: a token goes to the host it belongs to, no other."""
        host = urlsplit(base).netloc
        keyring = self.registries.keyring
        found = keyring.find_token(host, registry.name)
        if found is None and base == home.api:
            found = keyring.find(store.repository, registry.name)
        if found is None or found.kind is not CredentialKind.PASSWORD:
            user, token = token_variables(registry.name)
            raise CredentialError(
                f"{host}: there is no login for deleting from {store.name}",
                hint=f"{f'{home.login}, or ' if base == home.api else ''}set {user} and {token}",
            )
        return found

    def _rest(self, registry: Registry, base: str, home: Home) -> RestClient:
        network = self.registries.network
        if registry.ca:
            network = replace(network, ca_files=(*network.ca_files, registry.ca))
        return RestClient(
            base, conduct=self.registries.conduct, network=network, headers=home.headers
        )


def _usual(registry: Registry, store: RegistryStore, home: Home) -> str:
    if store.repository.host != home.host:
        raise ConfigError(
            f"registry {registry.name}: {store.repository.host} is not {home.host}, "
            "so the API for deletions is not known",
            hint='set api = "https://..." in its section',
        )
    return home.api
