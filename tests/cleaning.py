"""Scenes for cleanup: one repository on each kind of registry, with images old enough to go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from podbuild.config.model import Registry
from podbuild.config.template import Template
from podbuild.oci.auth.credentials import Keyring
from podbuild.oci.layout import LayoutStore
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest, Platform, RegistryKind, Repository, Tag
from podbuild.oci.registries import Registries
from podbuild.oci.store import BytesBlob, Store
from podbuild.oci.transport.endpoint import Conduct
from podbuild.publish.retention.chart import CleanupTarget
from podbuild.publish.retention.removers import Removers
from podbuild.system.cancel import Cancel
from podbuild.system.process import Runner
from podbuild.system.retry import Retry
from podbuild.workspace import endpoint_of
from tests.fakes.github import GitHub, fake_github
from tests.fakes.hub import Hub, fake_hub
from tests.fakes.registry import Profile, State, registry_half
from tests.faults import Faults, Proxy, fault_proxy
from tests.images import make_image, make_index
from tests.registries import AT_ONCE, IN_TESTS, registry_server

PATH = "acme/web"
SECRET = "the-token"


class Clock:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now = datetime(2026, 9, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def turn(self, **span: float) -> None:
        self.now += timedelta(**span)


@dataclass
class Scene:
    """A repository, what deletes from it, and the fakes behind it."""

    place: CleanupTarget
    clock: Clock
    removers: Removers
    registry: Registry
    hub: Hub | None = None
    github: GitHub | None = None
    proxies: tuple[Proxy, ...] = ()
    images: dict[str, Manifest] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return self.place.store

    def again(self, registry: Registry | None = None) -> CleanupTarget:
        """Open the place anew: nothing is remembered from before."""
        remover = self.removers.open(registry or self.registry, self.store)
        return replace(self.place, remover=remover)

    def anew(self) -> Scene:
        """Give the same scene as another process sees it: new connections, nothing known."""
        assert self.registry.repository is not None
        repository = Repository.parse(self.registry.repository.text)
        fresh = _opened(self.registry, self.environment, repository)
        return replace(self, place=fresh.place, removers=fresh.removers)

    def push(self, name: str, *tags: str, share: str = "") -> Manifest:
        """Push an index of two platforms; `share` names another whose amd64 image it re-uses."""
        own = make_image(self.store, f"arm64 {name}".encode(), architecture="arm64")
        other = f"amd64 {share or name}".encode()
        amd64 = make_image(self.store, other)
        index = make_index(self.store, amd64=amd64, arm64=own)
        for tag in tags:
            self.store.put_manifest(index, Tag(tag))
        self.images |= {name: index, f"{name}/arm64": own, f"{name}/amd64": amd64}
        return index

    def there(self) -> set[str]:
        """Name the pushed manifests that still exist."""
        return {name for name, image in self.images.items() if self.store.head(image.digest)}

    def tags(self) -> set[str]:
        return {str(tag) for tag in self.store.tags()}


@contextmanager
def scene(
    kind: str,
    folder: Path,
    *,
    faults: Faults | None = None,
    untag: bool = False,
    upstream: str = "",
    path: str = PATH,
) -> Iterator[Scene]:
    """Run what a kind of registry needs, with faults before its registry and its API.

    `upstream` is a running real registry (host:port) to use instead of one of its own.
    """
    clock = Clock()
    with ExitStack() as stack:
        if kind == "layout":
            registry = Registry(
                name="it", kind=RegistryKind.LAYOUT, path=Template(str(folder / "layout"))
            )
            removers = Removers(_registries({}))
            store: Store = LayoutStore(folder / "layout", clock=clock)
            remover = removers.open(registry, store)
            place = CleanupTarget(key="it/web", store=store, remover=remover)
            yield Scene(place, clock, removers, registry)
            return
        host = upstream or stack.enter_context(registry_server()).host
        yield _remote(kind, host, path, clock, stack, faults, untag=untag)


def _remote(
    kind: str,
    upstream: str,
    path: str,
    clock: Clock,
    stack: ExitStack,
    faults: Faults | None,
    *,
    untag: bool,
) -> Scene:
    hub: Hub | None = None
    github: GitHub | None = None
    host, api = upstream, ""
    environment: dict[str, str] = {}
    registry_kind = RegistryKind.OCI
    match kind:
        case "hub" | "hub with referrers":
            hub = stack.enter_context(fake_hub(upstream, clock, secret=SECRET))
            hub.state.referrers = kind != "hub"
            host, api, registry_kind = hub.registry.host, hub.api.host, RegistryKind.DOCKERHUB
            environment = login("acme")
        case "ghcr":
            github = stack.enter_context(fake_github(upstream, clock, secret=SECRET))
            host, api, registry_kind = github.registry.host, github.api.host, RegistryKind.GHCR
            environment = login("octocat")
        case "distribution3" | "gcr":
            state = State(upstream=upstream, profile=Profile(kind), clock=clock)
            host = stack.enter_context(registry_half(state)).host
        case _:
            assert kind == "distribution2"
    proxies = [stack.enter_context(fault_proxy(host, faults))]
    if api:
        proxies.append(stack.enter_context(fault_proxy(api, faults)))
    place = f"{proxies[0].host}/{path}"
    registry = Registry(
        name="it",
        kind=registry_kind,
        repository=Template(place),
        insecure=True,
        api=f"http://{proxies[1].host}" if api else None,
        untag=untag,
    )
    found = _opened(registry, environment, Repository.parse(place))
    stack.callback(found.removers.close)
    stack.callback(found.removers.registries.close)
    return replace(
        found, clock=clock, hub=hub, github=github, proxies=tuple(proxies), environment=environment
    )


def _opened(registry: Registry, environment: dict[str, str], repository: Repository) -> Scene:
    removers = Removers(_registries(environment))
    store = removers.registries.open(repository, endpoint_of(registry, repository), "it")
    place = CleanupTarget(key="it/web", store=store, remover=removers.open(registry, store))
    return Scene(place, Clock(), removers, registry, environment=environment)


def login(user: str, secret: str = SECRET) -> dict[str, str]:
    """Give the variables of a login for the registry named `it`."""
    return {"PODBUILD_IT_USERNAME": user, "PODBUILD_IT_TOKEN": secret}


def _registries(environment: Mapping[str, str]) -> Registries:
    runner = Runner(env={}, cwd=Path("/"))
    return Registries(
        keyring=Keyring(environment=environment, runner=runner),
        conduct=Conduct(retry=AT_ONCE, cancel=Cancel()),
        network=IN_TESTS,
    )


def platforms(store: Store, tag: str) -> set[Platform]:
    """Pull an image completely, blobs included, and give its platforms."""
    index = store.manifest(Tag(tag))
    assert index is not None
    found = set()
    for child in index.children:
        manifest = store.manifest(child.digest)
        assert manifest is not None
        assert child.platform is not None
        found.add(child.platform)
        for blob in manifest.blobs:
            with store.blob(blob) as content:
                assert blob.digest.matches(b"".join(content.chunks()))
    return found


__all__ = ["AT_ONCE", "BytesBlob", "Digest", "Retry", "Scene", "login", "platforms", "scene"]
