"""Whose word counts for what an image was made from."""

from __future__ import annotations

import json

import pytest

from podbuild.build.results import earlier_results
from podbuild.oci.manifest import Descriptor, Manifest, MediaType
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest, Platform, Tag
from podbuild.plan.destination import Destination
from podbuild.plan.labels import REVISION, inputs_of

PLATFORM = Platform("linux", "amd64")
TAG = Tag("1.2.3")


def place(name: str, *, required: bool) -> tuple[Destination, Digest]:
    """Give a registry that says of an image of its own that it has the inputs `same`."""
    store = MemoryStore(name=name)
    child = Manifest(MediaType.OCI_MANIFEST, json.dumps({"layers": [], "made": name}).encode())
    store.put_manifest(child)
    listed = Descriptor(
        media_type=child.media_type, digest=child.digest, size=len(child.data), platform=PLATFORM
    )
    content = {
        "manifests": [listed.to_json()],
        "annotations": {REVISION: "0" * 40, inputs_of(PLATFORM): "same"},
    }
    store.put_manifest(Manifest(MediaType.OCI_INDEX, json.dumps(content).encode()), TAG)
    return Destination(registry=name, image="web", store=store, required=required), child.digest


@pytest.mark.parametrize("first", [True, False])
def test_an_optional_registry_s_word_is_not_carried_to_required_ones(*, first: bool) -> None:
    mirror, planted = place("mirror", required=False)
    main, honest = place("main", required=True)
    every = (mirror, main) if first else (main, mirror)
    found = earlier_results(every, {each.key: [TAG] for each in every}, [PLATFORM]).image("same")
    assert found is not None
    assert found.manifest.digest == honest
    only_mirror = earlier_results(every, {mirror.key: [TAG]}, [PLATFORM]).image("same")
    assert only_mirror is None
    alone = earlier_results([mirror], {mirror.key: [TAG]}, [PLATFORM]).image("same")
    assert alone is not None
    assert alone.manifest.digest == planted


def test_an_index_that_nobody_vouches_for_offers_nothing() -> None:
    main, _ = place("main", required=True)
    other, honest = place("other", required=True)
    every = {each.key: [TAG] for each in (main, other)}
    found = earlier_results(
        (main, other), every, [PLATFORM], lambda store, _digest: store is other.store
    ).image("same")
    assert found is not None
    assert found.manifest.digest == honest
