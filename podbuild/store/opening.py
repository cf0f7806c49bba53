"""Open the store that a configured registry has for one image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from podbuild.config import shown
from podbuild.config.choices import RegistryKind
from podbuild.config.model import Registry
from podbuild.model import Repository
from podbuild.store import Store
from podbuild.store.endpoint import Endpoint
from podbuild.store.layout import LayoutStore
from podbuild.store.registries import Registries


@dataclass(frozen=True, kw_only=True)
class Opener:
    """Opens stores; clients are shared, so that logins, connections and limits are too."""

    root: Path  # the folder of podbuild.toml, from which layouts' paths start
    registries: Registries

    def open(self, registry: Registry, place: str) -> Store:
        """Give the store at `place`, the expanded repository or path.

        Raises ConfigError for a place that can't be one, CredentialError for a broken login.
        """
        if registry.kind is RegistryKind.LAYOUT:
            path = self.root / place
            return LayoutStore(path=path, shown=shown(path))
        repository = Repository.parse(place)
        return self.registries.open(repository, endpoint_of(registry, repository), registry.name)


def endpoint_of(registry: Registry, repository: Repository) -> Endpoint:
    """Give how a configured registry is reached."""
    return Endpoint(
        host=repository.host,
        insecure=registry.insecure,
        ca=registry.ca,
        optional=not registry.required,
    )
