"""The same cleanup on every kind of registry, each with its own rules and a real server behind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from podbuild.config.model import PruneRule, Retention
from podbuild.config.template import Placeholders, Template
from podbuild.errors import CleanupError
from podbuild.oci.attach import Attachments, fallback_tag
from podbuild.oci.classic import classic_layer, classic_payload, classic_tag, put_classic
from podbuild.oci.delete import Abilities, Inventory, Removal, Remover
from podbuild.oci.layout import LayoutStore
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest, Platform, Tag
from podbuild.oci.statements import SPDX, statement, unsigned_referrer
from podbuild.oci.store import Store
from podbuild.plan.tags import Reader
from podbuild.publish.retention.cleanup import clean_superseded, plan_repository, prune_repository
from podbuild.publish.retention.policy import Policy, prune_policy
from podbuild.system.cancel import Cancel
from tests.cleaning import Scene, platforms, scene

pytestmark = pytest.mark.integration

BOTH = {Platform("linux", "amd64"), Platform("linux", "arm64")}
KINDS = ["distribution2", "distribution3", "gcr", "hub", "ghcr", "layout"]
RULE = PruneRule(match=re.compile(r"sha-[0-9a-f]{7}"), keep=1, older_than=30 * 86400.0)


@pytest.fixture(params=KINDS)
def here(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    with scene(request.param, tmp_path) as found:
        yield found


def dated(scene: Scene) -> Policy:
    """Give a policy with the dates that a clone knows: registries without times need one."""
    return prune_policy(Retention(prune=(RULE,)), scene.clock.now)


def versioned(scene: Scene) -> Policy:
    """Give a policy whose order is by version: no time is needed."""
    rule = PruneRule(match=re.compile(r"\d+\.\d+\.\d+"), keep=1)
    return replace(
        prune_policy(Retention(prune=(rule,)), scene.clock.now),
        version_of=Reader(Template("{version}"), Placeholders(project="shop")).version,
    )


def test_old_versions_go_with_all_their_children_and_the_newest_stays(here: Scene) -> None:
    here.push("old", "1.0.0")
    here.push("middle", "1.1.0", share="old")
    here.push("new", "1.2.0", "latest", share="old")
    here.clock.turn(days=3)
    _, cleaned = prune_repository(here.again(), versioned(here), Cancel())
    assert here.tags() == {"1.2.0", "latest"}
    shared = {"old/amd64", "middle/amd64", "new/amd64"}
    assert here.there() == {"new", "new/arm64"} | shared
    assert platforms(here.store, "latest") == BOTH
    assert {str(item) for item in cleaned.removed} >= {str(here.images["old"].digest)}
    assert not cleaned.kept


def test_a_plan_deletes_nothing(here: Scene) -> None:
    here.push("old", "1.0.0")
    here.push("new", "1.2.0")
    here.clock.turn(days=3)
    planned = plan_repository(here.again(), versioned(here))
    assert [item for item in planned.plan.removed if item.digest == here.images["old"].digest]
    assert here.tags() == {"1.0.0", "1.2.0"}
    assert here.there() == set(here.images)


def test_what_a_moving_tag_left_goes_and_a_second_run_finds_nothing(here: Scene) -> None:
    left = here.push("first", "edge").digest
    here.clock.turn(hours=1)
    here.push("second", "edge", "1.0.0", share="first")
    retention = Retention(superseded=True, grace=0.0)
    record = {left: here.clock.now}
    here.clock.turn(hours=1)
    for _ in range(2):
        clean_superseded(here.again(), retention, record, here.clock.now, Cancel())
        assert here.there() == {"second", "second/arm64", "second/amd64", "first/amd64"}
        assert platforms(here.store, "edge") == BOTH


def test_a_superseded_image_with_a_version_tag_is_never_touched(here: Scene) -> None:
    left = here.push("first", "edge", "1.0.0").digest
    here.push("second", "edge")
    retention = Retention(superseded=True, grace=0.0)
    here.clock.turn(hours=1)
    clean_superseded(here.again(), retention, {left: here.clock.now}, here.clock.now, Cancel())
    assert here.there() == set(here.images)
    assert platforms(here.store, "1.0.0") == BOTH


def test_one_of_several_tags_goes_alone_or_not_at_all(here: Scene) -> None:
    here.push("image", "1.0.0", "keep-me")
    here.push("new", "1.1.0")
    here.clock.turn(days=3)
    plan, _ = prune_repository(here.again(), versioned(here), Cancel())
    assert platforms(here.store, "keep-me") == BOTH
    gone = Tag("1.0.0") not in here.store.tags()
    abilities = here.again().remover.abilities()
    assert gone is abilities.tags
    if not gone:
        reasons = {item.tag: item.reason for item in plan.plan.kept}
        assert abilities.reason in reasons[Tag("1.0.0")]


@pytest.mark.parametrize("kind", ["hub", "ghcr", "layout"])
def test_registries_that_tell_times_prune_by_them(kind: str, tmp_path: Path) -> None:
    with scene(kind, tmp_path) as here:
        for number in range(4):
            here.push(f"n{number}", f"sha-000000{number}")
            here.clock.turn(days=10)
        here.clock.turn(days=5)
        prune_repository(here.again(), dated(here), Cancel())
        assert here.tags() == {"sha-0000002", "sha-0000003"}
        assert platforms(here.store, "sha-0000003") == BOTH


@pytest.mark.parametrize("kind", ["hub", "ghcr", "layout"])
def test_a_moving_tag_that_comes_or_leaves_makes_no_image_newer(kind: str, tmp_path: Path) -> None:
    with scene(kind, tmp_path) as here:
        for number in range(3):
            here.push(f"n{number}", f"sha-000000{number}", "edge")
            here.clock.turn(seconds=1)
        here.store.put_manifest(here.images["n0"], Tag("edge"))  # rolled back
        here.clock.turn(days=3)
        rule = PruneRule(match=RULE.match, keep=1)
        moving = frozenset({Tag("edge")})
        policy = prune_policy(Retention(prune=(rule,)), here.clock.now, moving=moving)
        prune_repository(here.again(), policy, Cancel())
        freed = {"sha-0000000"} if here.again().remover.abilities().tags else set()
        assert here.tags() == {"sha-0000000", "sha-0000002", "edge"} - freed
        assert platforms(here.store, "edge") == BOTH


@pytest.mark.parametrize("kind", ["ghcr", "layout"])
def test_what_a_moving_tag_left_just_now_is_in_its_grace(kind: str, tmp_path: Path) -> None:
    with scene(kind, tmp_path) as here:
        here.push("old")
        here.clock.turn(days=3)
        here.store.put_manifest(here.images["old"], Tag("edge"))
        here.push("new", "edge")
        here.clock.turn(hours=1)
        prune_repository(here.again(), prune_policy(Retention(), here.clock.now), Cancel())
        assert "old" in here.there()


@pytest.mark.parametrize("kind", ["ghcr", "layout"])
def test_untagged_leftovers_go_after_a_day_and_never_children(kind: str, tmp_path: Path) -> None:
    with scene(kind, tmp_path) as here:
        here.push("kept", "1.0.0")
        here.push("leftover")
        here.clock.turn(hours=23)
        here.push("running")
        here.clock.turn(hours=2)
        policy = prune_policy(Retention(), here.clock.now)
        prune_repository(here.again(), policy, Cancel())
        assert here.there() == {
            name for name in here.images if name.partition("/")[0] in ("kept", "running")
        }


def test_blobs_of_a_layout_go_with_the_last_image_that_needs_them(tmp_path: Path) -> None:
    with scene("layout", tmp_path) as here:
        here.push("old", "1.0.0")
        here.push("new", "1.1.0", share="old")
        files = {Digest(f"sha256:{path.name}") for path in tmp_path.glob("layout/blobs/sha256/*")}
        here.clock.turn(days=3)
        prune_repository(here.again(), versioned(here), Cancel())
        left = {Digest(f"sha256:{path.name}") for path in tmp_path.glob("layout/blobs/sha256/*")}
        new = {here.images[name].digest for name in ("new", "new/arm64", "new/amd64")}
        blobs = {b.digest for n in ("new/arm64", "new/amd64") for b in here.images[n].blobs}
        assert left == new | blobs
        assert left < files


@dataclass(frozen=True)
class Forgetful:
    """A Remover whose registry leaves a tag out of its lists, as a cache or a lost page does."""

    inner: Remover
    tag: Tag

    @property
    def referrers(self) -> Callable[[Digest], tuple[Digest, ...]]:
        return self.inner.referrers

    def abilities(self) -> Abilities:
        return self.inner.abilities()

    def inventory(self, on_page: Callable[[int], None] = lambda _count: None) -> Inventory:
        found = self.inner.inventory(on_page)
        left = (
            replace(each, tags=tuple(tag for tag in each.tags if tag != self.tag))
            for each in found.entries
        )
        kept = tuple(each for each in left if each.tags or found.untagged)
        return replace(found, entries=kept)

    def listed(self) -> frozenset[Tag | Digest]:
        return self.inner.listed() - {self.tag}

    def remove_tag(self, tag: Tag, expected: Digest) -> Removal:
        return self.inner.remove_tag(tag, expected)

    def remove_manifest(self, digest: Digest, tags: frozenset[Tag] = frozenset()) -> Removal:
        return self.inner.remove_manifest(digest, tags)

    def sweep(self) -> None:
        self.inner.sweep()


def test_a_list_that_leaves_out_an_expected_tag_deletes_nothing(here: Scene) -> None:
    left = here.push("first", "edge").digest
    here.push("old", "1.0.0")
    here.push("new", "1.2.0", "latest")
    here.clock.turn(days=3)
    place = here.again()
    place = replace(
        place,
        remover=Forgetful(place.remover, Tag("edge")),
        expected=(Tag("never-pushed"), Tag("1.2.0"), Tag("edge")),
    )
    with pytest.raises(CleanupError, match="edge is there, but the registry's list leaves it out"):
        prune_repository(place, versioned(here), Cancel())
    retention, record = Retention(superseded=True, grace=0.0), {left: here.clock.now}
    here.clock.turn(hours=1)
    with pytest.raises(CleanupError, match="leaves it out"):
        clean_superseded(place, retention, record, here.clock.now, Cancel())
    assert here.there() == set(here.images)
    assert here.tags() == {"edge", "1.0.0", "1.2.0", "latest"}
    whole = replace(place, remover=here.again().remover)
    prune_repository(whole, versioned(here), Cancel())
    assert here.tags() == {"edge", "1.2.0", "latest"}


def attach(store: Store, name: str, subject: Manifest) -> tuple[Digest, ...]:
    """Attach a statement, and a signature for podman where the place has names."""
    said = statement(name, subject.digest, SPDX, {"packages": []})
    referrer = unsigned_referrer(subject, [said])
    Attachments(store, Cancel().sleep).put(subject.digest, [referrer])
    if isinstance(store, LayoutStore):
        return (referrer.manifest.digest,)
    layer = classic_layer(classic_payload(store.name, subject.digest), b"signed")
    return (referrer.manifest.digest, put_classic(store, subject.digest, [layer]))


@pytest.mark.parametrize("kind", ["distribution3", "hub", "hub with referrers", "ghcr", "layout"])
def test_what_is_attached_lives_and_goes_with_its_image(kind: str, tmp_path: Path) -> None:
    with scene(kind, tmp_path) as here:
        here.push("old", "1.0.0")
        here.push("new", "1.2.0", "latest", share="old")
        attached = {name: attach(here.store, name, one) for name, one in here.images.items()}
        here.clock.turn(days=3)
        _, cleaned = prune_repository(here.again(), versioned(here), Cancel())
        assert not cleaned.kept
        gone = {"old", "old/arm64"}
        assert here.there() == here.images.keys() - gone
        left = {fallback_tag(here.images[name].digest) for name in gone}
        left |= {classic_tag(here.images[name].digest) for name in gone}
        assert not left & {*here.store.tags()}
        store = here.store if kind == "layout" else here.anew().store
        fresh = Attachments(store, Cancel().sleep)
        for name, digests in attached.items():
            held = [digest for digest in digests if here.store.head(digest)]
            assert held == ([] if name in gone else [*digests])
            found = fresh.of(here.images[name].digest)
            assert (digests[0] in found) is (name not in gone)
        again, _ = prune_repository(here.again(), versioned(here), Cancel())
        assert not again.plan.removed
