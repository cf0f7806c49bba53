"""The kinds of registries, and what is usual for those that have one home: a row for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from podbuild.oci import delete
from podbuild.oci.names import DOCKER_HUB, DOCKER_HUB_ALIASES, GHCR, RegistryKind
from podbuild.system.later import dataclass

if TYPE_CHECKING:
    from podbuild.oci.auth.files import Credential
    from podbuild.oci.delete.dockerhub import DockerHubRemover
    from podbuild.oci.delete.ghcr import GhcrRemover
    from podbuild.oci.delete.rest import RestClient
    from podbuild.oci.registry import RegistryStore
    from podbuild.system.retry import Retry


@dataclass(frozen=True, kw_only=True)
class Home:
    """The one host of a kind: its API for deletions, its login, and what opens its remover."""

    host: str  # as references name it
    hosts: frozenset[str]  # that its login may go to, whatever a registry's kind
    api: str
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)  # that the API wants
    user: str  # variables that hold the login
    token: str
    any_user: str = ""  # the name where none is set, if the token alone counts
    output: str  # of CI, with the digest there
    remover: Callable[
        [RegistryStore, RestClient, Credential, Retry, bool], DockerHubRemover | GhcrRemover
    ]

    @property
    def login(self) -> str:
        """Say how people log in."""
        names = (self.token,) if self.any_user else (self.user, self.token)
        return f"podman login {self.host}, set {' and '.join(names)}"


HOMES: Mapping[RegistryKind, Home] = {
    RegistryKind.DOCKERHUB: Home(
        host=DOCKER_HUB,
        hosts=DOCKER_HUB_ALIASES | {DOCKER_HUB, "hub.docker.com"},
        api="https://hub.docker.com",
        user="DOCKERHUB_USERNAME",
        token="DOCKERHUB_TOKEN",  # noqa: S106  # its name
        output="docker_hub_digest",
        remover=lambda store, rest, login, retry, _untag: delete.dockerhub.DockerHubRemover(
            store, delete.dockerhub.HubApi(rest, login, store.repository.path), retry
        ),
    ),
    RegistryKind.GHCR: Home(
        host=GHCR,
        hosts=frozenset({GHCR, "api.github.com"}),
        api="https://api.github.com",
        headers={"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"},
        user="GITHUB_ACTOR",
        token="GITHUB_TOKEN",  # noqa: S106  # its name
        any_user="podbuild",
        output="ghcr_digest",
        remover=lambda store, rest, login, retry, untag: delete.ghcr.GhcrRemover(
            store, delete.ghcr.GitHubApi(rest, login, store.repository.path), retry, untag=untag
        ),
    ),
}


def kind_of(host: str) -> RegistryKind:
    """Give the kind whose home a host is; any other speaks the distribution API alone."""
    return next((kind for kind, home in HOMES.items() if home.host == host), RegistryKind.OCI)


def home_of(host: str) -> Home | None:
    """Give the home whose login may go to a host; None where none may."""
    return next((home for home in HOMES.values() if host in home.hosts), None)
