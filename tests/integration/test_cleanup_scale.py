"""Ten thousand tags of two platforms each: every manifest is read once, memory stays bounded."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections import Counter
from dataclasses import dataclass, field

import pytest

from podbuild.config.model import PruneRule, Retention
from podbuild.oci.delete import Abilities
from podbuild.oci.manifest import Descriptor, Manifest, MediaType
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest, Platform, Tag
from podbuild.publish.retention.chart import CleanupTarget
from podbuild.publish.retention.cleanup import apply_plan, plan_repository
from podbuild.publish.retention.policy import prune_policy
from podbuild.system.cancel import Cancel
from tests.graphs import NOW, ago
from tests.memory_remover import MemoryRemover

TAGS = 10_000
KEPT = 9_950
pytestmark = pytest.mark.integration
RULE = PruneRule(match=re.compile("sha-.*"), keep=KEPT)


@dataclass(frozen=True, kw_only=True)
class Counting(MemoryStore):
    reads: Counter[Tag | Digest] = field(default_factory=Counter)

    def manifest(self, target: Tag | Digest) -> Manifest | None:
        self.reads[target] += 1
        return MemoryStore.manifest(self, target)

    def head(self, target: Tag | Digest) -> Descriptor | None:
        found = MemoryStore.manifest(self, target)
        return found.descriptor if found else None


def manifest(kind: MediaType, **content: object) -> Manifest:
    return Manifest(kind, json.dumps({"schemaVersion": 2, "mediaType": kind, **content}).encode())


def fill(store: MemoryStore, remover: MemoryRemover) -> None:
    for number in range(TAGS):
        children = []
        for architecture in ("amd64", "arm64"):
            note = {"build": f"{number} {architecture}", "padding": "x" * 600}
            child = manifest(MediaType.OCI_MANIFEST, annotations=note)
            store.manifests[child.digest] = child
            platform = Platform("linux", architecture).to_json()
            children.append({**child.descriptor.to_json(), "platform": platform})
        index = manifest(MediaType.OCI_INDEX, manifests=children)
        store.manifests[index.digest] = index
        store.named[Tag(f"sha-{number:07}")] = index.digest
        remover.pushed[index.digest] = ago(minutes=TAGS - number, days=30)


def test_ten_thousand_tags_are_read_once_within_bounded_memory() -> None:
    store = Counting()
    remover = MemoryRemover(store, Abilities(tags=True, manifests=True), untagged=False)
    fill(store, remover)
    place = CleanupTarget(key="r/web", store=store, remover=remover)
    policy = prune_policy(Retention(prune=(RULE,)), NOW)
    tracemalloc.start()
    planned = plan_repository(place, policy)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert set(store.reads.values()) == {1}
    assert len(store.reads) == 3 * TAGS
    assert peak < 150_000_000
    assert len([item for item in planned.plan.removed if item.tag]) == TAGS - KEPT
    assert len([item for item in planned.plan.removed if not item.tag]) == 3 * (TAGS - KEPT)
    assert apply_plan(planned, Cancel()) is not None
    assert len(store.named) == KEPT
    assert len(store.manifests) == 3 * KEPT
    assert set(store.reads.values()) <= {1}
