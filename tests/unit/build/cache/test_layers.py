"""The layer cache that engines see, over stores that fail, and what is undone of its traces."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from podbuild.build.cache.open import cache_registry, open_cache_store
from podbuild.build.cache.remote import CachedRepository, CacheRemote, Tellers
from podbuild.build.cache.uses import all_uses, merged, read_uses, record_tag, write_uses
from podbuild.commands.check import check_project
from podbuild.config.load import load_config, parse_config
from podbuild.config.model import Config
from podbuild.errors import ConfigError, CredentialError, PublishError
from podbuild.oci.auth.credentials import Keyring
from podbuild.oci.client import RegistryClient
from podbuild.oci.manifest import Descriptor, Manifest, MediaType
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest, Repository, Tag
from podbuild.oci.registries import Registries
from podbuild.oci.registry import RegistryStore
from podbuild.oci.store import BlobSource, BytesBlob, PushRight, Store
from podbuild.oci.transport.endpoint import Conduct, Endpoint
from podbuild.system.cancel import Cancel
from podbuild.system.process import Runner
from tests.fakes.answering import Answer, answering
from tests.images import blob_of, make_image
from tests.registries import AT_ONCE

KEY = Tag("a" * 64)
PREFIX = "linux-amd64-0123abcd-"
ENTRY = Tag(f"{PREFIX}{KEY}")
NOW = datetime(2026, 5, 6, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Failing(MemoryStore):
    """A registry that fails from some moment on, or refuses to be written."""

    down: set[str] = field(default_factory=set)

    def _check(self, what: str) -> None:
        if what in self.down:
            raise PublishError(f"503 while asked for {what}")

    def tags(self) -> tuple[Tag, ...]:
        self._check("tags")
        return super().tags()

    def manifest(self, target: Tag | Digest) -> Manifest | None:
        self._check("manifest")
        return super().manifest(target)

    def has_blob(self, blob: Descriptor) -> bool:
        self._check("blob")
        return super().has_blob(blob)

    def put_blob(
        self,
        blob: Descriptor,
        source: BlobSource,
        on_bytes: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self._check("upload")
        super().put_blob(blob, source, on_bytes)

    def check_push(self) -> PushRight:
        if "push" in self.down:
            raise CredentialError("no right to push")
        return super().check_push()


@dataclass(frozen=True)
class Said:
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def opened(store: Store, said: Said, *, writes: bool = True) -> CacheRemote:
    tellers = Tellers(note=said.notes.append, warn=said.warnings.append)
    remote = CacheRemote(store, tellers, Cancel(), reads=True, writes=writes)
    remote.open()
    return remote


def cached_over(remote: CacheRemote) -> tuple[CachedRepository, MemoryStore]:
    local = MemoryStore()
    return CachedRepository(remote=remote, prefix=PREFIX, local=local), local


def test_what_one_machine_leaves_another_finds_and_only_its_blobs_are_fetched() -> None:
    registry, said = MemoryStore(), Said()
    first, here = cached_over(opened(registry, said))
    image = make_image(here, b"layer")
    first.take(KEY, image)
    first.close(record_tag("web", "linux-amd64"), NOW)
    first.remote.close()
    assert (first.pushed, first.pulled) == (1, 0)
    second, there = cached_over(opened(registry, said))
    assert second.find(Tag("b" * 64)) is None
    assert second.find(KEY) == image
    assert second.find(KEY) == image
    assert not there.blobs
    second.fetch(image.layers[0].digest)
    second.fetch(Digest.of(b"another"))
    assert there.blobs == {image.layers[0].digest: b"layer"}
    second.take(KEY, image)
    second.remote.close()
    assert (second.pushed, second.pulled) == (0, 1)
    assert said == Said()


@pytest.mark.parametrize("what", ["manifest", "blob", "upload"])
def test_a_registry_that_fails_is_warned_of_once_and_left_alone(what: str) -> None:
    registry, said = Failing(), Said()
    filler, here = cached_over(opened(registry, said))
    old = make_image(here, b"old")
    filler.take(KEY, old)
    filler.remote.close()
    cached, local = cached_over(opened(registry, said))
    registry.down.add(what)
    for number in range(3):
        found = cached.find(KEY)
        cached.fetch(old.layers[0].digest)
        assert (found is None) == (what == "manifest")
        cached.take(Tag(f"{number}" * 64), make_image(local, f"new {number}".encode()))
    cached.remote.close()
    assert len(said.warnings) == 1
    assert "503" in said.warnings[0]
    assert registry.tags() == (ENTRY,)


def test_a_registry_that_does_not_answer_is_neither_read_nor_written() -> None:
    registry, said = Failing(down={"tags"}), Said()
    remote = opened(registry, said)
    assert (remote.reads, remote.writes) == (False, False)
    assert len(said.warnings) == 1


def test_without_the_right_to_push_it_is_only_read_with_a_note() -> None:
    registry, said = Failing(down={"push"}), Said()
    remote = opened(registry, said)
    assert (remote.reads, remote.writes) == (True, False)
    assert said == Said(notes=["the layer cache is only read: no right to push"])


def test_a_page_instead_of_a_registry_is_a_cache_that_fails() -> None:
    said = Said()
    page = Answer(body=b"<html>hello</html>", headers={"Content-Type": "text/html"})
    with answering(lambda _asked: page) as server:
        client = RegistryClient(
            Endpoint(host=server.host, insecure=True), conduct=Conduct(retry=AT_ONCE)
        )
        remote = opened(RegistryStore(client, Repository(server.host, "acme/cache")), said)
        client.close()
    assert (remote.reads, remote.writes) == (False, False)
    assert len(said.warnings) == 1


def test_a_record_is_written_anew_only_when_it_has_to_be() -> None:
    old, new, other = (Tag(f"{PREFIX}{letter * 64}") for letter in "abc")
    before = {old: NOW - timedelta(days=3), new: NOW - timedelta(hours=1)}
    assert merged(before, [new], [], NOW) == before
    assert merged(before, [old], [other], NOW) == {**before, old: NOW, other: NOW}
    assert merged(before, [], [old], NOW) == before


def test_records_of_several_runners_together_say_when_an_entry_was_used_last() -> None:
    store = MemoryStore()
    shared = {ENTRY: NOW - timedelta(days=9)}
    web, worker = record_tag("web", "linux-amd64"), record_tag("worker", "linux-amd64")
    write_uses(store, web, shared)
    write_uses(store, worker, {ENTRY: NOW})
    assert read_uses(store, web) == shared
    assert all_uses(store, store.tags()) == {ENTRY: NOW}
    damaged = json.dumps({"schema": 1, "used": {str(ENTRY): "yesterday", "latest": "x"}}).encode()
    layer = blob_of(damaged)
    written = store.manifest(web)
    assert written
    content = {**written.content, "layers": [layer.to_json()]}
    store.put_blob(layer, BytesBlob(damaged))
    store.put_manifest(Manifest(MediaType.OCI_MANIFEST, json.dumps(content).encode()), web)
    assert read_uses(store, web) == {}


def config_with(cache: str) -> Config:
    text = (
        '[project]\nname = "shop"\n[images.web]\nlayers = false\n'
        '[registries.hub]\nrepository = "docker.io/acme/{image}"\n[cache]\n'
    )
    return parse_config(text + cache, Path("/nowhere/podbuild.toml"), {})


@pytest.mark.parametrize(
    ("repository", "message"),
    [
        ("docker.io/acme/web", "is where 'hub' publishes 'web'"),
        ("r.example/cache:{version}", "{version} changes"),
        ("r.example/{branch}", "{branch} changes"),
        ("r.example/cache:tag", "tag"),
    ],
)
def test_a_cache_is_in_a_lasting_repository_of_its_own(repository: str, message: str) -> None:
    with pytest.raises(ConfigError) as failed:
        config_with(f'repository = "{repository}"\n')
    assert "cache.repository: " in failed.value.message
    assert message in failed.value.message
    assert config_with('repository = "docker.io/acme/cache-{image}"\n').cache.repository


def test_check_says_what_a_cache_can_not_do(tmp_path: Path) -> None:
    (tmp_path / "Containerfile").write_text("FROM scratch\n")
    for cache, message in (
        ("mounts = true", "there is no cache to carry them in"),
        ('repository = "r.example/cache"', "none of its steps is cached"),
    ):
        head = '[project]\nname = "shop"\n[images.web]\nlayers = false\n[cache]\n'
        (tmp_path / "podbuild.toml").write_text(f"{head}{cache}\n")
        (finding,) = check_project(load_config(tmp_path / "podbuild.toml", {}))
        assert message in finding.message
        assert finding.line in (4, 6)


@pytest.mark.parametrize(
    ("cache", "registry", "name"),
    [
        ("docker.io/acme/cache", "docker.io/acme/{image}", "hub"),
        ("r.example/cache", "docker.io/acme/{image}", "cache"),
    ],
)
def test_a_cache_has_the_login_of_a_registry_on_its_host_else_one_of_its_own(
    cache: str, registry: str, name: str
) -> None:
    config = config_with(f'repository = "{cache}"\n')
    assert config.registries[0].template.text == registry
    assert cache_registry(config, Repository.parse(cache)).name == name


def test_a_registry_called_cache_does_not_lend_its_login_to_another_host() -> None:
    text = (
        '[project]\nname = "shop"\n[images.web]\n'
        '[registries.cache]\nrepository = "docker.io/acme/{image}"\n'
        '[cache]\nrepository = "r.example/cache"\n'
    )
    config = parse_config(text, Path("/nowhere/podbuild.toml"), {})
    assert cache_registry(config, Repository.parse("r.example/cache")).name == ""


def test_without_a_login_of_the_environment_a_cache_can_still_be_read() -> None:
    environment = {"PODBUILD_CACHE_TOKEN": "", "REGISTRY_AUTH_FILE": "/dev/null"}
    registries = Registries(keyring=Keyring(environment=environment, runner=Runner(env={})))
    config = config_with('repository = "r.example/cache"\n')
    with pytest.raises(CredentialError):
        open_cache_store(config, registries, Repository.parse("r.example/cache"))
    store = open_cache_store(config, registries.anonymous(), Repository.parse("r.example/cache"))
    assert store.name == "r.example/cache"
