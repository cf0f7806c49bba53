"""How often a registry is asked by what is published: over HTTP, counted, never timed."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from podbuild.errors import VerificationError
from podbuild.oci.client import RegistryClient
from podbuild.oci.manifest import Manifest, MediaType, Presence
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest, Platform, Repository, Tag
from podbuild.oci.registry import RegistryStore
from podbuild.oci.store import BytesBlob
from podbuild.oci.transport.endpoint import Conduct, Endpoint
from podbuild.plan.destination import Destination, remote_tag
from podbuild.plan.journal import Binding, open_journal
from podbuild.publish.upload import Published, Publisher
from podbuild.publish.verify import Expectation, verify_release
from podbuild.system.cancel import Cancel
from podbuild.system.retry import Retry
from tests.fakes.answering import Answer, Asked, answering
from tests.images import blob_of, make_image, make_index
from tests.registries import AT_ONCE, IN_TESTS

TAG = Tag("1.2.4")
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
LAYERS = tuple(f"layer {number}".encode() for number in range(8))


@dataclass(kw_only=True)
class Wire:
    """One repository over HTTP that takes no manifest without its parts, and what it was asked."""

    held: MemoryStore = field(default_factory=MemoryStore)
    staged: MemoryStore = field(default_factory=MemoryStore)
    asked: list[str] = field(default_factory=list)  # appended to by several threads
    store: RegistryStore = field(init=False)

    def answer(self, asked: Asked) -> Answer:
        """Answer as a registry does, and count."""
        found = re.fullmatch(r"/v2/acme/web/(manifests|blobs|uploads)/([^?]*)(\?.*)?", asked.path)
        assert found, asked.path
        kind = "upload" if "uploads" in asked.path else found[1].removesuffix("s")
        self.asked.append(f"{asked.method} {kind}")
        match asked.method, kind:
            case "POST", "upload":
                return Answer(202, b"", {"Location": "/v2/acme/web/uploads/1"})
            case "PUT", "upload":
                self.held.blobs[Digest.of(asked.body)] = asked.body
                return Answer(201)
            case "PUT", _:
                return self._take(Manifest(asked.headers["content-type"], asked.body), found[2])
            case _, "manifest":
                return self._manifest(found[2])
            case _:
                data = self.held.blobs.get(Digest(found[2]))
                return Answer(404) if data is None else Answer(200, data)

    def _take(self, manifest: Manifest, target: str) -> Answer:
        if any(part.digest not in self.held.blobs for part in manifest.blobs):
            return Answer(400, b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}')
        self.held.put_manifest(manifest, None if ":" in target else Tag(target))
        return Answer(201)

    def _manifest(self, target: str) -> Answer:
        found = self.held.manifest(Digest(target) if ":" in target else Tag(target))
        if found is None:
            return Answer(404)
        named = {"Content-Type": found.media_type, "Docker-Content-Digest": str(found.digest)}
        return Answer(200, found.data, named)

    @property
    def destination(self) -> Destination:
        return Destination(image="web", registry="here", required=True, store=self.store)

    def counted(self) -> dict[str, int]:
        """Give what was asked since this was called last."""
        found = dict(Counter(self.asked))
        self.asked.clear()
        return found

    def publish(
        self,
        manifest: Manifest,
        folder: Path,
        *again: Manifest,
        later: float = 0.0,
        **how: object,
    ) -> Published:
        """Publish what is staged; `again` are re-used images, offered so many seconds before."""
        now = [0.0]
        binding = Binding(release="1", commit="c", configuration="", toolchain="")
        with Publisher(
            destinations=(self.destination,),
            source=lambda _image: self.staged,
            journal=open_journal(folder, binding).journal,
            retry=Retry(attempts=3, sleep=lambda _seconds: None),
            cancel=Cancel(),
            clock=lambda: now[0],
            **how,  # type: ignore[arg-type]
        ) as publisher:
            for each in again:
                publisher.offer("web", each, earlier=True)
            for offered in tuple(publisher._offered.values()):
                offered.result()
            now[0] = later
            return publisher.finish([("web", manifest)])

    def verify(self, published: Published, *platforms: Platform) -> None:
        """Read back what a tag of it names, that this run has just seen."""
        manifest = published.images["web"]
        self.held.named[TAG] = manifest.digest
        expected = Expectation(
            destination=self.destination,
            tag=TAG,
            digest=manifest.digest,
            platforms=frozenset(platforms),
            seen=math.inf,
        )
        verify_release([expected], published.present, pytest.fail, Cancel())


@pytest.fixture
def wire() -> Iterator[Wire]:
    with wired() as made:
        yield made


@contextmanager
def wired() -> Iterator[Wire]:
    """Give a repository over HTTP, to a client for which no time passes."""
    made = Wire()
    with answering(made.answer) as server:
        endpoint = Endpoint(host=server.host, insecure=True)
        client = RegistryClient(endpoint, conduct=Conduct(retry=AT_ONCE), network=IN_TESTS)
        client.held = Presence(clock=lambda: 0.0)
        made.store = RegistryStore(client, Repository(server.host, "acme/web"))
        yield made
        client.close()


def version(store: MemoryStore, text: str) -> Manifest:
    """Put an image of one platform: its layers stay, its config says the version."""
    image = make_image(store, *LAYERS)
    config = json.dumps(
        {"os": "linux", "architecture": "amd64", "config": {"Labels": {"version": text}}}
    ).encode()
    part = blob_of(config, MediaType.OCI_CONFIG)
    store.put_blob(part, BytesBlob(config))
    content = {**image.content, "config": part.to_json()}
    manifest = Manifest(MediaType.OCI_MANIFEST, json.dumps(content).encode())
    store.put_manifest(manifest)
    return manifest


def old_and_new(wire: Wire) -> tuple[Manifest, Manifest]:
    """Have the version before in the repository, and the next one staged."""
    old, new = version(wire.held, "1.2.3"), version(wire.staged, "1.2.4")
    config = make_image(MemoryStore(), *LAYERS).config
    assert config is not None
    wire.held.blobs.pop(config.digest)
    wire.held.put_manifest(old, Tag("latest"))
    assert wire.store.manifest(Tag("latest")) == old  # as the plan reads it
    assert wire.counted() == {"GET manifest": 1}
    return old, new


def test_layers_of_the_version_before_cost_one_request(wire: Wire, tmp_path: Path) -> None:
    old, new = old_and_new(wire)
    published = wire.publish(new, tmp_path, before={"here/web": old.digest})
    assert wire.counted() == {
        "HEAD manifest": 1,  # of the version before
        "HEAD blob": 1,  # the new config
        "POST upload": 1,
        "PUT upload": 1,
        "PUT manifest": 1,
        "GET manifest": 1,  # read back
    }
    wire.verify(published, AMD64)
    assert wire.counted() == {"GET blob": 1}  # the config


def test_layers_are_asked_for_where_the_version_before_is_gone(wire: Wire, tmp_path: Path) -> None:
    old, new = old_and_new(wire)
    del wire.held.manifests[old.digest]
    wire.publish(new, tmp_path, before={"here/web": old.digest})
    assert wire.counted()["HEAD blob"] == 1 + len(LAYERS)
    assert wire.held.manifest(new.digest) == new


def test_a_registry_that_lost_a_layer_is_believed_no_more(wire: Wire, tmp_path: Path) -> None:
    old, new = old_and_new(wire)
    lost = new.layers[3].digest
    del wire.held.blobs[lost]
    published = wire.publish(new, tmp_path, before={"here/web": old.digest})
    asked = wire.counted()
    assert asked["PUT manifest"] == 2  # the first was refused
    assert asked["HEAD blob"] == 1 + 1 + len(LAYERS)
    assert asked["PUT upload"] == 2
    assert lost in wire.held.blobs
    assert (wire.destination, lost) not in published.present


def test_a_lost_layer_of_an_image_that_stands_goes_out_too(wire: Wire, tmp_path: Path) -> None:
    """No journal says so, and the image before believes in the same layer."""
    old, new = old_and_new(wire)
    wire.held.blobs.update(wire.staged.blobs)
    wire.held.put_manifest(new)
    lost = new.layers[3].digest
    del wire.held.blobs[lost]
    wire.publish(new, tmp_path, before={"here/web": old.digest})
    assert lost in wire.held.blobs


def test_a_version_that_stands_is_not_asked_for_its_layers(wire: Wire, tmp_path: Path) -> None:
    old, _ = old_and_new(wire)
    wire.staged.manifests.update(wire.held.manifests)
    assert remote_tag(wire.store, Tag("latest")) is not None
    assert wire.counted() == {"HEAD manifest": 1, "GET blob": 1}
    published = wire.publish(old, tmp_path, earlier=frozenset([old.digest]))
    wire.verify(published, AMD64)
    assert wire.counted() == {"HEAD manifest": 1}


def test_what_several_tags_name_costs_one_look_at_its_config(wire: Wire) -> None:
    old, _ = old_and_new(wire)
    for tag in ("1.2", "1", "latest"):
        wire.held.put_manifest(old, Tag(tag))
        assert remote_tag(wire.store, Tag(tag)) is not None
    assert wire.counted() == {"HEAD manifest": 3, "GET blob": 1}


def test_a_new_index_of_children_that_stand_is_put_and_read_once(
    wire: Wire, tmp_path: Path
) -> None:
    index, children = index_of_old_children(wire)
    published = wire.publish(index, tmp_path, *children)
    assert wire.counted() == {"HEAD manifest": 2, "PUT manifest": 1, "GET manifest": 1}
    wire.verify(published, AMD64, ARM64)
    assert wire.counted() == {}


def index_of_old_children(wire: Wire) -> tuple[Manifest, tuple[Manifest, ...]]:
    """Stage a new index of images that the repository holds."""
    both = ("amd64", "arm64")
    for name in both:
        make_image(wire.held, *LAYERS, architecture=name)
    children = {name: make_image(wire.staged, *LAYERS, architecture=name) for name in both}
    return make_index(wire.staged, **children), tuple(children.values())


def test_children_that_an_index_named_are_asked_for_once_however_long_lists_take(
    wire: Wire, tmp_path: Path
) -> None:
    index, children = index_of_old_children(wire)
    named = frozenset(child.digest for child in children)
    wire.publish(index, tmp_path, *children, later=3600.0, expected={"here/web": named})
    assert wire.counted() == {"HEAD manifest": 2, "PUT manifest": 1, "GET manifest": 1}


def test_child_that_an_index_named_and_that_is_gone_goes_out(wire: Wire, tmp_path: Path) -> None:
    index, children = index_of_old_children(wire)
    named = frozenset(child.digest for child in children)
    del wire.held.manifests[children[0].digest]
    wire.publish(index, tmp_path, *children, expected={"here/web": named})
    assert wire.counted()["PUT manifest"] == 2
    assert wire.held.manifest(children[0].digest) == children[0]


def test_what_is_put_is_read_back_whole(wire: Wire) -> None:
    """A registry that gives other bytes than it took is found out before any tag moves."""
    image = make_image(wire.staged, b"one")
    wire.held.blobs.update(wire.staged.blobs)
    wire.store.put_manifest(image)
    found = wire.store.head(image.digest)
    assert found is not None
    assert found.digest == image.digest
    assert wire.store.head(image.digest) == found
    assert wire.counted() == {"PUT manifest": 1, "GET manifest": 1, "HEAD manifest": 1}
    wire.store.put_manifest(image)
    wire.held.manifests[image.digest] = make_image(wire.held, b"two")
    with pytest.raises(VerificationError):
        wire.store.head(image.digest)


def test_on_docker_hub_what_is_put_is_read_back_without_a_pull(wire: Wire) -> None:
    image = make_image(wire.staged, b"one")
    wire.held.blobs.update(wire.staged.blobs)
    hub = RegistryStore(wire.store.client, Repository("docker.io", "acme/web"))
    hub.put_manifest(image)
    assert hub.head(image.digest) is not None
    assert wire.counted() == {"PUT manifest": 1, "HEAD manifest": 1}
