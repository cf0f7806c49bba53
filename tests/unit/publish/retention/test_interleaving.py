"""A cleanup and a push at the same time: whatever the order of their calls, images pull."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podbuild.config.model import PruneRule, Retention
from podbuild.errors import CleanupError, VerificationError
from podbuild.oci.delete import Abilities, Inventory, Removal
from podbuild.oci.manifest import Descriptor, Manifest, MediaType
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest, Tag
from podbuild.publish.retention.chart import CleanupTarget
from podbuild.publish.retention.cleanup import prune_repository
from podbuild.publish.retention.policy import prune_policy
from podbuild.system.cancel import Cancel
from podbuild.system.records import JSONValue
from tests.graphs import NOW, ago
from tests.memory_remover import MemoryRemover

ALONE = Abilities(tags=True, manifests=True)
TOGETHER = Abilities(tags=False, manifests=True, together=True)
RULE = PruneRule(match=re.compile(r"sha-.*"), keep=1)


def image(name: str, *children: Manifest, subject: Manifest | None = None) -> Manifest:
    """Make a manifest without blobs, or an index."""
    entries: list[JSONValue] = [child.descriptor.to_json() for child in children]
    kind = MediaType.OCI_INDEX if children else MediaType.OCI_MANIFEST
    content: dict[str, JSONValue] = {"schemaVersion": 2, "annotations": {"name": name}}
    if children:
        content["manifests"] = entries
    if subject:
        content["subject"] = subject.descriptor.to_json()
    return Manifest(kind, json.dumps(content).encode())


@dataclass
class Turns:
    """Runs the other side's steps before certain calls."""

    steps: list[Callable[[], None]]
    before: list[int]
    calls: int = 0

    def take(self) -> None:
        self.calls += 1
        while self.steps and self.before and self.before[0] <= self.calls:
            self.before.pop(0)
            self.steps.pop(0)()

    def finish(self) -> None:
        for step in self.steps:
            step()


@dataclass(frozen=True, kw_only=True)
class SharedStore(MemoryStore):
    turns: Turns = field(default_factory=lambda: Turns([], []))

    def head(self, target: Tag | Digest) -> Descriptor | None:
        self.turns.take()
        return MemoryStore.head(self, target)


@dataclass
class SharedRemover(MemoryRemover):
    turns: Turns = field(default_factory=lambda: Turns([], []))

    def inventory(self, on_page: Callable[[int], None] = lambda _count: None) -> Inventory:
        self.turns.take()
        return super().inventory(on_page)

    def remove_tag(self, tag: Tag, expected: Digest) -> Removal:
        self.turns.take()
        return super().remove_tag(tag, expected)

    def remove_manifest(self, digest: Digest, tags: frozenset[Tag] = frozenset()) -> Removal:
        self.turns.take()
        return super().remove_manifest(digest, tags)


def pushing(
    store: MemoryStore, index: Manifest, children: list[Manifest], tag: Tag
) -> list[Callable[[], None]]:
    """Give the steps of a push that skips children which are there, as every client does."""

    def child(manifest: Manifest) -> Callable[[], None]:
        return lambda: None if manifest.digest in store.manifests else put(manifest)

    def put(manifest: Manifest) -> None:
        store.manifests[manifest.digest] = manifest

    def parent() -> None:
        try:
            store.put_manifest(index)
        except VerificationError:  # the registry misses a child: the push is made again
            for each in children:
                put(each)
            store.put_manifest(index)

    def name() -> None:
        parent()
        store.put_manifest(index, tag)

    return [*map(child, children), parent, name]


def pulls(store: MemoryStore, digest: Digest) -> bool:
    found = store.manifests.get(digest)
    return found is not None and all(pulls(store, child.digest) for child in found.children)


def repository() -> Iterator[tuple[Manifest, str]]:
    """Give manifests with their tag: sha-0 is the newest; nested, shared and attached ones."""
    shared, attestation = image("amd64"), image("attestation")
    for number in range(5):
        own = image(f"arm64-{number}")
        nested = image(f"nested-{number}", shared, own)
        top = image(f"top-{number}", shared, own, attestation, nested)
        yield from ((shared, ""), (attestation, ""), (own, ""), (nested, ""))
        yield top, f"sha-{number}"
        yield image(f"signature-{number}", subject=top), ""
    yield image("loose"), ""


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    reused=st.sets(st.sampled_from(range(5)), min_size=1),
    before=st.lists(st.integers(1, 70), min_size=4, max_size=8).map(sorted),
    able=st.sampled_from([ALONE, TOGETHER]),
    known=st.booleans(),
)
def test_a_push_at_any_moment_of_a_cleanup_is_complete_in_the_end(
    reused: set[int], before: list[int], able: Abilities, known: bool
) -> None:
    turns = Turns([], before)
    store = SharedStore(turns=turns)
    times: dict[Digest, datetime] = {}
    for position, (manifest, tag) in enumerate(repository()):
        store.manifests[manifest.digest] = manifest
        if tag:
            store.named[Tag(tag)] = manifest.digest
        if known:
            times[manifest.digest] = ago(days=30 + position)
    children = [image("amd64"), *(image(f"arm64-{number}") for number in sorted(reused))]
    pushed = image("pushed", *children)
    turns.steps.extend(pushing(store, pushed, children, Tag("edge")))
    store.named[Tag("latest")] = store.named[Tag("sha-0")]
    remover = SharedRemover(store, able, pushed=times, turns=turns)
    place = CleanupTarget(key="r/web", store=store, remover=remover)
    policy = prune_policy(Retention(prune=(RULE,)), NOW)
    try:
        prune_repository(place, policy, Cancel())
    except CleanupError as error:
        assert "changes while" in error.message  # noqa: PT017  # both ends are right
    turns.finish()
    assert Tag("edge") in store.named
    assert Tag("latest") in store.named
    for name, digest in store.named.items():
        assert pulls(store, digest), name


@pytest.mark.parametrize("able", [ALONE, TOGETHER])
def test_the_same_cleanup_left_alone_deletes_what_it_should(able: Abilities) -> None:
    store = MemoryStore()
    times: dict[Digest, datetime] = {}
    for position, (manifest, tag) in enumerate(repository()):
        store.manifests[manifest.digest] = manifest
        times[manifest.digest] = ago(days=30 + position)
        if tag:
            store.named[Tag(tag)] = manifest.digest
    place = CleanupTarget(
        key="r/web", store=store, remover=MemoryRemover(store, able, pushed=times)
    )
    _, cleaned = prune_repository(place, prune_policy(Retention(prune=(RULE,)), NOW), Cancel())
    assert set(store.named) == {Tag("sha-0")}
    assert pulls(store, store.named[Tag("sha-0")])
    kept = {manifest.annotations["name"] for manifest in store.manifests.values()}
    assert kept == {"amd64", "attestation", "arm64-0", "nested-0", "top-0", "signature-0"}
    assert not cleaned.kept
