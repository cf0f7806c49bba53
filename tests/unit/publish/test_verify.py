"""Reading a release back: every difference is found, and named."""

from __future__ import annotations

import json
import math
from collections.abc import Collection

import pytest

from podbuild.errors import (
    CredentialError,
    InterruptedBySignal,
    PartialReleaseError,
    PublishError,
    VerificationError,
)
from podbuild.oci.manifest import Descriptor, Manifest, MediaType
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest, Platform, Tag
from podbuild.oci.store import BytesBlob
from podbuild.plan.destination import Destination
from podbuild.publish.verify import (
    Checked,
    Expectation,
    agree,
    check,
    verify_or_raise,
    verify_release,
)
from podbuild.system.cancel import Cancel
from podbuild.system.records import JSONValue
from tests.images import blob_of, make_image, make_index
from tests.scripted import Hasty, ScriptedStore, failing

BOTH = frozenset({Platform("linux", "amd64"), Platform("linux", "arm64")})
TAG = Tag("1.2.3")
NOTHING: frozenset[tuple[Destination, Digest]] = frozenset()


@pytest.fixture
def store() -> ScriptedStore:
    made = ScriptedStore(inner=MemoryStore(name="registry/web"))
    index = make_index(
        made.inner,
        amd64=make_image(made.inner, b"one"),
        arm64=make_image(made.inner, b"two", architecture="arm64"),
    )
    made.inner.put_manifest(index, TAG)
    return made


def at(store: ScriptedStore, registry: str = "here") -> Destination:
    return Destination(image="web", registry=registry, required=True, store=store)


def expected(
    store: ScriptedStore, digest: Digest | None = None, platforms: frozenset[Platform] | None = BOTH
) -> Expectation:
    return Expectation(destination=at(store), tag=TAG, digest=digest, platforms=platforms)


def index_of(store: ScriptedStore) -> Manifest:
    found = store.inner.manifest(TAG)
    assert found is not None
    return found


def problems(store: ScriptedStore) -> tuple[str, ...]:
    return check(expected(store, index_of(store).digest)).problems


def test_complete_image_is_as_expected(store: ScriptedStore) -> None:
    found = check(expected(store, index_of(store).digest))
    assert found.problems == ()
    assert found.platforms == BOTH


def test_any_complete_image_will_do_where_nothing_is_expected(store: ScriptedStore) -> None:
    assert check(Expectation(destination=at(store), tag=TAG)).problems == ()


def test_missing_tag_is_told(store: ScriptedStore) -> None:
    del store.inner.named[TAG]
    assert check(expected(store)).problems == ("does not exist",)


def test_other_digest_is_told(store: ScriptedStore) -> None:
    other = Digest.of(b"other")
    assert check(expected(store, other)).problems == (
        f"names {index_of(store).digest}, expected {other}",
    )


def test_missing_platform_is_told(store: ScriptedStore) -> None:
    wanted = BOTH | {Platform("linux", "riscv64")}
    assert check(expected(store, platforms=wanted)).problems == (
        "has linux/amd64, linux/arm64, expected linux/amd64, linux/arm64, linux/riscv64",
    )


def test_missing_child_is_told(store: ScriptedStore) -> None:
    child = index_of(store).children[1].digest
    del store.inner.manifests[child]
    assert f"linux/arm64 {child} is missing" in problems(store)


def test_missing_layer_is_told(store: ScriptedStore) -> None:
    layer = Digest.of(b"two")
    del store.inner.blobs[layer]
    assert problems(store) == (f"layer {layer} is missing",)


def test_missing_config_is_told(store: ScriptedStore) -> None:
    child = store.inner.manifest(index_of(store).children[0].digest)
    assert child is not None
    assert child.config is not None
    del store.inner.blobs[child.config.digest]
    assert any(str(child.config.digest) in problem for problem in problems(store))


def test_child_of_another_architecture_is_told(store: ScriptedStore) -> None:
    arm = make_image(store.inner, b"two", architecture="arm64")
    store.inner.put_manifest(make_index(store.inner, amd64=arm), TAG)
    assert f"{arm.digest} is linux/arm64, its index says linux/amd64" in problems(store)


def test_attestation_is_no_platform(store: ScriptedStore) -> None:
    image = make_image(store.inner, b"one")
    config = blob_of(b"{}", MediaType.OCI_EMPTY)
    store.inner.put_blob(config, BytesBlob(b"{}"))
    content: JSONValue = {"schemaVersion": 2, "config": config.to_json(), "layers": []}
    attestation = Manifest(MediaType.OCI_MANIFEST, json.dumps(content).encode())
    store.inner.put_manifest(attestation)
    unknown = Platform("unknown", "unknown").to_json()
    listed: JSONValue = {
        "schemaVersion": 2,
        "manifests": [
            {**image.descriptor.to_json(), "platform": Platform("linux", "amd64").to_json()},
            {**attestation.descriptor.to_json(), "platform": unknown},
        ],
    }
    index = Manifest(MediaType.OCI_INDEX, json.dumps(listed).encode())
    store.inner.put_manifest(index, TAG)
    found = check(expected(store, platforms=frozenset({Platform("linux", "amd64")})))
    assert found.problems == ()


def test_plain_image_is_read_from_its_config(store: ScriptedStore) -> None:
    store.inner.put_manifest(make_image(store.inner, b"x", architecture="arm64"), TAG)
    assert check(expected(store)).platforms == {Platform("linux", "arm64")}


@pytest.mark.parametrize("data", [b"<html>", b"[]", b'{"manifests": 1}', b'{"manifests": [{}]}'])
def test_bytes_that_are_no_manifest_are_told(store: ScriptedStore, data: bytes) -> None:
    broken = Manifest(MediaType.OCI_INDEX, data)
    store.inner.manifests[broken.digest] = broken
    store.inner.named[TAG] = broken.digest
    found = check(expected(store))
    assert len(found.problems) == 1
    assert found.digest == broken.digest


@pytest.mark.parametrize("verb", ["get", "has", "read"])
@pytest.mark.parametrize(
    "error",
    [PublishError("down"), CredentialError("denied"), InterruptedBySignal(15)],
    ids=lambda error: type(error).__name__,
)
def test_registry_that_can_not_be_asked_is_no_difference(
    store: ScriptedStore, verb: str, error: Exception
) -> None:
    store.before = failing(error, verb)
    with pytest.raises(type(error)):
        check(expected(store))


def test_every_difference_is_in_one_error(store: ScriptedStore) -> None:
    del store.inner.blobs[Digest.of(b"one")]
    del store.inner.blobs[Digest.of(b"two")]
    with pytest.raises(VerificationError, match="2 differences") as caught:
        verify_or_raise([expected(store)], NOTHING, Hasty())
    assert caught.value.exit_code == 9
    assert all(line.startswith("registry/web:1.2.3: layer") for line in caught.value.details)


@pytest.mark.parametrize("error", [PublishError("down"), CredentialError("denied")])
def test_release_that_can_not_be_read_back_does_not_claim_that_no_tag_moved(
    store: ScriptedStore, error: Exception
) -> None:
    store.before = failing(error, "get")
    with pytest.raises(PartialReleaseError, match="all tags have moved") as caught:
        verify_or_raise([expected(store)], NOTHING, Cancel())
    assert caught.value.exit_code == 8


@pytest.mark.parametrize("down", [True, False], ids=["down", "different"])
def test_an_optional_registry_that_is_not_right_is_told_and_fails_no_release(
    store: ScriptedStore, down: bool
) -> None:
    other = ScriptedStore(inner=MemoryStore(name="optional/web"))
    if down:
        other.before = failing(PublishError("the registry is down"), "get")
    optional = Destination(image="web", registry="optional", required=False, store=other)
    told: list[str] = []
    asked = (Expectation(destination=optional, tag=TAG), expected(store))
    verify_release(asked, NOTHING, told.append, Hasty())
    assert any("the registry is down" in text or "does not exist" in text for text in told)
    del store.inner.named[TAG]
    with pytest.raises(VerificationError):
        verify_release(asked, NOTHING, told.append, Hasty())


def test_what_a_registry_shows_a_moment_later_is_no_difference(store: ScriptedStore) -> None:
    late = store.inner.named.pop(TAG)

    class Later(Hasty):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if self.waited > 2.0:
                store.inner.named[TAG] = late

    verify_or_raise([expected(store)], NOTHING, Later())


def test_nothing_expected_is_nothing_wrong() -> None:
    assert verify_or_raise([], NOTHING, Cancel()) == ()


def checked(registry: str, digest: Digest | None) -> Checked:
    destination = at(ScriptedStore(inner=MemoryStore(name=registry)), registry)
    return Checked(
        expectation=Expectation(destination=destination, tag=TAG),
        digest=digest,
        platforms=BOTH,
        problems=(),
    )


def test_registries_that_differ_are_told_apart() -> None:
    one, other = Digest.of(b"1"), Digest.of(b"2")
    found = [checked("a", one), checked("b", other), checked("c", one)]
    assert agree(found, lambda each: str(each.expectation.tag)) == (
        f"1.2.3: a, c {one}; b {other}",
    )
    assert agree(found[::2], lambda each: str(each.expectation.tag)) == ()


def test_tag_that_one_registry_lacks_is_a_difference() -> None:
    found = [checked("a", Digest.of(b"1")), checked("b", None)]
    assert len(agree(found, lambda each: str(each.expectation.tag))) == 1


def test_descriptor_sizes_are_those_of_the_bytes(store: ScriptedStore) -> None:
    index = index_of(store)
    assert store.inner.head(TAG) == Descriptor(
        media_type=MediaType.OCI_INDEX, digest=index.digest, size=len(index.data)
    )


def test_parts_are_asked_for_once_whatever_the_number_of_tags(store: ScriptedStore) -> None:
    tags = [TAG, Tag("1.2"), Tag("latest")]
    for tag in tags:
        store.inner.put_manifest(index_of(store), tag)
    asked = (Expectation(destination=at(store), tag=tag) for tag in tags)
    verify_or_raise(asked, NOTHING, Cancel())
    parts = [asked for asked in store.log if "sha256:" in asked]
    assert len(parts) == len(set(parts))
    assert len(store.log) - len(parts) == len(tags)


def test_layers_that_this_run_has_found_are_not_asked_for_again(store: ScriptedStore) -> None:
    digests = {Digest(text.partition(" ")[2]) for text in layers_asked(store, frozenset())}
    assert digests
    assert layers_asked(store, {(at(store), digest) for digest in digests}) == []
    elsewhere = {(at(store, "there"), digest) for digest in digests}
    assert layers_asked(store, elsewhere)


def layers_asked(
    store: ScriptedStore, present: Collection[tuple[Destination, Digest]]
) -> list[str]:
    store.log.clear()
    verify_or_raise([expected(store)], present, Cancel())
    return [asked for asked in store.log if asked.startswith("has ")]


def test_two_registries_are_each_asked_for_the_parts(store: ScriptedStore) -> None:
    other = ScriptedStore(inner=MemoryStore(name="registry/other"))
    other.inner.manifests.update(store.inner.manifests)
    other.inner.named.update(store.inner.named)
    asked = (
        Expectation(destination=at(store), tag=TAG),
        Expectation(destination=at(other, "there"), tag=TAG),
    )
    with pytest.raises(VerificationError) as caught:
        verify_or_raise(asked, NOTHING, Hasty())
    assert all("registry/other" in line for line in caught.value.details)


def test_what_several_tags_have_just_been_seen_to_name_is_read_once(store: ScriptedStore) -> None:
    digest = index_of(store).digest
    tags = [TAG, Tag("1.2"), Tag("latest")]
    asked = [
        Expectation(destination=at(store), tag=tag, digest=digest, seen=math.inf) for tag in tags
    ]
    verify_or_raise(asked, NOTHING, Cancel())
    assert [each for each in store.log if each.endswith(str(digest))] == [f"get {digest}"]
    assert not [each for each in store.log if each.endswith(tuple(map(str, tags)))]


class UnderTagsAlone(ScriptedStore):
    """A registry that keeps an image under its tags alone."""

    def manifest(self, target: Tag | Digest) -> Manifest | None:
        return None if target == index_of(self).digest else super().manifest(target)


def test_an_image_that_stands_under_its_tags_alone_is_found_by_them(store: ScriptedStore) -> None:
    alone = UnderTagsAlone(inner=store.inner)
    digest = index_of(store).digest
    seen = Expectation(destination=at(alone), tag=TAG, digest=digest, seen=math.inf)
    assert check(seen).problems == ()
