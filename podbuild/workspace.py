"""What the recipes work with: one value instead of many parameters, no globals.

`Opener` opens the store that a configured registry has for one image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from podbuild.config.model import Config, Registry
from podbuild.config.toml import shown
from podbuild.oci.layout import LayoutStore
from podbuild.oci.names import RegistryKind, Repository
from podbuild.oci.registries import Registries
from podbuild.oci.store import Store
from podbuild.oci.transport.endpoint import Endpoint
from podbuild.system.cancel import Cancel
from podbuild.system.console import Ui
from podbuild.system.folders import Folders
from podbuild.system.later import dataclass
from podbuild.system.process import Runner
from podbuild.system.retry import Retry


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


@dataclass(frozen=True, kw_only=True)
class Services:
    """The collaborators of one command on one project."""

    config: Config
    environment: Mapping[str, str] = field(repr=False)
    ui: Ui
    runner: Runner
    cancel: Cancel
    folders: Folders
    opener: Opener
    retry: Retry
