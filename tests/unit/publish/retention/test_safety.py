"""The thirteen safety rules of cleanup, those that decide: each fails where its rule is gone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from podbuild.config.model import PruneRule, Retention
from podbuild.errors import CleanupError
from podbuild.oci.delete import Abilities, Inventory, Removal, RemovalKind
from podbuild.oci.delete.rest import limit_wait
from podbuild.oci.manifest import Descriptor, Manifest, MediaType
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest, Tag
from podbuild.oci.transport.endpoint import Pace
from podbuild.oci.transport.problem import Response
from podbuild.plan.tags import Range
from podbuild.publish.retention.chart import CleanupTarget
from podbuild.publish.retention.cleanup import apply_plan, plan_repository, prune_repository
from podbuild.publish.retention.graph import Graph, Node
from podbuild.publish.retention.plan import RemovalPlan, make_removal_plan
from podbuild.publish.retention.policy import Policy, prune_policy, superseded_policy
from podbuild.semver import Version
from podbuild.system.cancel import Cancel
from tests.graphs import NOW, ago, attached, digest_of, graph_of
from tests.memory_remover import MemoryRemover
from tests.scripted import Hasty

ALONE = Abilities(tags=True, manifests=True)
TOGETHER = Abilities(tags=False, manifests=True, together=True)
DAY = 86400.0
ALL = PruneRule(match=re.compile(r".*"), keep=0)


def version_of(tag: Tag) -> Version | None:
    return (
        Version.parse(tag.text) if re.fullmatch(r"\d+\.\d+\.\d+(-[a-z.0-9]+)?", tag.text) else None
    )


def policy(*rules: PruneRule, protect: str = "", **more: object) -> Policy:
    patterns = (re.compile(protect),) if protect else ()
    retention = Retention(prune=rules, protect=patterns, grace=float(str(more.pop("grace", DAY))))
    of_command = {name: more.pop(name) for name in ("moving", "superseded") if name in more}
    known = prune_policy(retention, NOW, **of_command)  # type: ignore[arg-type]
    return replace(known, **more)  # type: ignore[arg-type]


def plan_of(graph: Graph, rules: Policy, able: Abilities = ALONE) -> RemovalPlan:
    return make_removal_plan(graph, rules, able)


def gone(plan: RemovalPlan) -> set[Digest]:
    return {item.digest for item in plan.removed if item.tag is None}


def tags(plan: RemovalPlan) -> set[str]:
    alone = {str(item.tag) for item in plan.removed if item.tag}
    return alone | {str(tag) for item in plan.removed for tag in item.tags}


def reason(plan: RemovalPlan, name: str) -> str:
    return next(item.reason for item in plan.kept if str(item) in (name, str(digest_of(name))))


def digests(*names: str) -> set[Digest]:
    return {digest_of(name) for name in names}


def image(name: str, *children: Manifest, subject: Manifest | None = None) -> Manifest:
    entries = [child.descriptor.to_json() for child in children]
    kind = MediaType.OCI_INDEX if children else MediaType.OCI_MANIFEST
    content = {"schemaVersion": 2, "annotations": {"name": name}}
    more = {"manifests": entries} if children else {}
    about = {"subject": subject.descriptor.to_json()} if subject else {}
    return Manifest(kind, json.dumps({**content, **more, **about}).encode())


def place_of(store: MemoryStore, able: Abilities = ALONE) -> CleanupTarget:
    return CleanupTarget(key="r/web", store=store, remover=MemoryRemover(store, able))


def filled(*images: tuple[Manifest, str]) -> MemoryStore:
    store = MemoryStore()
    for manifest, tag in images:
        store.manifests[manifest.digest] = manifest
        if tag:
            store.named[Tag(tag)] = manifest.digest
    return store


# 1: plan first; every tag is asked again right before it goes


def test_rule_01_a_tag_that_moved_since_the_plan_stays_with_its_new_image() -> None:
    old, new, kept = image("old"), image("new"), image("kept")
    store = filled((old, "sha-1"), (new, "edge"), (kept, "latest"))
    # a registry that lists only tags can't show the move in its list
    place = CleanupTarget(key="r", store=store, remover=MemoryRemover(store, ALONE, untagged=False))
    rules = policy(PruneRule(match=re.compile("sha-.*"), keep=0))
    planned = plan_repository(place, rules)
    assert tags(planned.plan) == {"sha-1"}
    store.named[Tag("sha-1")] = new.digest
    cleaned = apply_plan(planned, Cancel())
    assert store.named[Tag("sha-1")] == new.digest
    assert old.digest in store.manifests
    assert cleaned is not None
    assert any("moved" in why for _, why in cleaned.kept)


# 2: only what a whole, named pattern matches; protection wins; the unparsable stays


@pytest.mark.parametrize("tag", ["sha-0000001-debug", "xsha-0000001", "sha-000001", "edge"])
def test_rule_02_a_pattern_must_match_the_whole_tag(tag: str) -> None:
    graph = graph_of({tag: "a", "latest": "b"})
    rule = PruneRule(match=re.compile(r"sha-[0-9a-f]{7}"), keep=0)
    assert plan_of(graph, policy(rule)).removed == ()
    assert tags(plan_of(graph_of({"sha-0000001": "a", "latest": "b"}), policy(rule)))


def test_rule_02_nothing_selected_is_nothing_deleted() -> None:
    graph = graph_of({"1.0.0": "a", "sha-1": "b"}, {"a": ("c",)}, pushed={"c": ago(days=99)})
    assert plan_of(graph, policy()).removed == ()


def test_rule_02_latest_the_current_release_and_protected_tags_win_over_every_rule() -> None:
    graph = graph_of({"latest": "a", "2.0.0": "b", "1.0.0": "c", "lts": "d", "edge": "e"})
    rules = policy(ALL, protect="lts|lt", moving=frozenset({Tag("edge")}), version_of=version_of)
    plan = plan_of(graph, rules)
    assert tags(plan) == {"1.0.0"}
    assert reason(plan, "2.0.0") == "it is the current release"


def test_rule_02_the_moving_tags_of_the_current_release_stay_and_older_ones_may_go() -> None:
    graph = graph_of({"2.0.0": "a", "2.0": "a", "2": "a", "1.9": "b", "1": "b", "1.9.0": "b"})
    ranges = {"2.0": Range(2, 0), "2": Range(2), "1.9": Range(1, 9), "1": Range(1)}
    rules = policy(ALL, version_of=version_of, range_of=lambda tag: ranges.get(tag.text))
    assert tags(plan_of(graph, rules)) == {"1.9", "1", "1.9.0"}


def test_rule_02_the_release_that_latest_went_back_to_stays() -> None:
    graph = graph_of({"2.0.0": "a", "1.9.1": "b", "latest": "b", "1.9.0": "c"})
    rule = PruneRule(match=re.compile(".*"), keep=1)
    plan = plan_of(graph, policy(rule, version_of=version_of))
    assert tags(plan) == {"1.9.0"}
    assert reason(plan, "1.9.1") == "it is the release that latest names"


def test_rule_02_tags_that_are_no_version_stay_where_versions_are_the_order() -> None:
    graph = graph_of({"1.0.0": "a", "1.1.0": "b", "1.2.0": "c", "nightly": "d"})
    rule = PruneRule(match=re.compile(".*"), keep=1)
    plan = plan_of(graph, policy(rule, version_of=version_of))
    assert tags(plan) == {"1.0.0", "1.1.0"}
    assert "order" in reason(plan, "nightly")


# 3: keep counts distinct digests over all that match, by version, then the registry's time


def test_rule_03_keep_counts_what_is_protected_too() -> None:
    graph = graph_of({"1.0.0": "a", "1.1.0": "b", "1.2.0": "c", "1.3.0": "d"})
    rule = PruneRule(match=re.compile(r"\d.*"), keep=2)
    plan = plan_of(graph, policy(rule, protect=r"1\.[23]\.0", version_of=version_of))
    assert tags(plan) == {"1.0.0", "1.1.0"}


def test_rule_03_keep_counts_digests_and_not_tags() -> None:
    times = {"a": ago(days=9), "b": ago(days=5), "c": ago(days=4)}
    graph = graph_of(
        {"sha-1": "a", "sha-2": "b", "sha-3": "c", "sha-4": "c", "sha-5": "c", "latest": "z"},
        pushed=times,
    )
    rule = PruneRule(match=re.compile("sha-.*"), keep=2)
    assert tags(plan_of(graph, policy(rule))) == {"sha-1"}


def test_rule_03_what_is_as_new_as_the_last_kept_one_is_kept() -> None:
    same = ago(days=5)
    times = {"a": same, "b": same, "c": ago(days=4), "d": ago(days=6)}
    names = {"sha-1": "a", "sha-2": "b", "sha-3": "c", "sha-4": "d", "latest": "z"}
    rule = PruneRule(match=re.compile("sha-.*"), keep=2)
    assert tags(plan_of(graph_of(names, pushed=times), policy(rule))) == {"sha-4"}


def test_rule_03_without_a_date_it_stays() -> None:
    names = {"sha-1": "a", "sha-2": "b", "sha-3": "c", "latest": "z"}
    rule = PruneRule(match=re.compile("sha-.*"), keep=1)
    plan = plan_of(graph_of(names, pushed={"a": ago(days=9), "b": ago(days=8)}), policy(rule))
    assert tags(plan) == {"sha-1"}
    assert "unknown" in reason(plan, "sha-3")
    aged = PruneRule(match=re.compile("sha-.*"), keep=0, older_than=DAY)
    assert tags(plan_of(graph_of(names), policy(aged))) == set()


def test_rule_03_the_revisions_date_counts_only_where_the_registry_tells_none() -> None:
    names = {"sha-1": "a", "sha-2": "b", "sha-3": "c", "latest": "z"}
    dates = {"old": ago(days=50), "new": ago(days=1), "middle": ago(days=20)}
    revisions = {"a": "new", "b": "old", "c": "middle"}
    rule = PruneRule(match=re.compile("sha-.*"), keep=1)
    by_commit = policy(rule, dates=dates)
    assert tags(plan_of(graph_of(names, revisions=revisions), by_commit)) == {"sha-2", "sha-3"}
    pushed = {"a": ago(days=9), "b": ago(days=8), "c": ago(days=7)}
    graph = graph_of(names, revisions=revisions, pushed=pushed)
    assert tags(plan_of(graph, by_commit)) == {"sha-1", "sha-2"}


def test_rule_03_times_of_the_registry_and_of_commits_are_not_compared() -> None:
    names = {"sha-1": "a", "sha-2": "b", "sha-3": "c", "latest": "z"}
    pushed = {"a": ago(days=9), "b": ago(days=8)}
    rule = PruneRule(match=re.compile("sha-.*"), keep=1)
    graph = graph_of(names, revisions={"c": "old"}, pushed=pushed)
    plan = plan_of(graph, policy(rule, dates={"old": ago(days=99)}))
    assert tags(plan) == {"sha-1"}
    assert "unknown" in reason(plan, "sha-3")


def test_rule_03_keep_counts_each_channel_apart() -> None:
    names = {"a-1": "a", "a-2": "b", "b-1": "c", "b-2": "d", "latest": "z"}
    times = {name: ago(days=9 - place) for place, name in enumerate("abcd")}
    rule = PruneRule(match=re.compile(r"(?P<channel>[ab])-\d"), keep=1)
    assert tags(plan_of(graph_of(names, pushed=times), policy(rule))) == {"a-1", "b-1"}


def test_rule_03_older_than_and_keep_must_both_let_it_go() -> None:
    names = {"sha-1": "a", "sha-2": "b", "sha-3": "c", "latest": "z"}
    times = {"a": ago(days=40), "b": ago(days=20), "c": ago(days=1)}
    rule = PruneRule(match=re.compile("sha-.*"), keep=1, older_than=30 * DAY)
    assert tags(plan_of(graph_of(names, pushed=times), policy(rule))) == {"sha-1"}


# 4: the unit is the digest


@pytest.mark.parametrize("able", [ALONE, TOGETHER])
def test_rule_04_an_image_that_a_kept_tag_names_never_goes(able: Abilities) -> None:
    graph = graph_of({"sha-1": "a", "1.0.0": "a", "sha-2": "b"}, {"a": ("child",)})
    rule = PruneRule(match=re.compile("sha-.*"), keep=0)
    plan = plan_of(graph, policy(rule), able)
    assert gone(plan) == digests("b")
    assert tags(plan) == ({"sha-1", "sha-2"} if able.tags else {"sha-2"})


# 5: everything reachable from a kept root stays


def test_rule_05_a_child_that_a_kept_index_shares_stays() -> None:
    graph = graph_of({"sha-1": "a", "1.0.0": "b"}, {"a": ("x", "y"), "b": ("y", "z")})
    assert gone(plan_of(graph, policy(PruneRule(match=re.compile("sha-.*"), keep=0)))) == digests(
        "a", "x"
    )


@pytest.mark.parametrize(
    "links",
    [
        {"root": ("nested",), "nested": ("deep", "attestation")},
        {"root": ("attestation", "nested", "deep")},
    ],
)
def test_rule_05_nested_indexes_and_attestations_stay_however_old(
    links: dict[str, tuple[str, ...]],
) -> None:
    old = {name: ago(days=900) for name in ("root", "nested", "deep", "attestation", "loose")}
    graph = graph_of({"1.0.0": "root"}, links, pushed=old, untagged=("loose",))
    assert gone(plan_of(graph, policy())) == digests("loose")


def test_rule_05_referrers_by_subject_by_tag_and_by_fallback_stay_with_their_image() -> None:
    names = ("root", "child", "signature", "sbom", "fallback", "listed")
    graph = graph_of(
        {"1.0.0": "root"},
        {"root": ("child",), "fallback": ("listed",)},
        subjects={"signature": "child"},
        attachments={"root": "sbom"},
        pushed={name: ago(days=900) for name in names},
    )
    fallback = {attached(digest_of("child")): digest_of("fallback")}
    whole = Graph(tags={**graph.tags, **fallback}, nodes=graph.nodes, pushed=graph.pushed)
    assert plan_of(whole, policy(ALL)).removed == ()


def test_rule_05_what_only_the_referrers_api_knows_stays_with_its_image() -> None:
    kept, doomed = image("kept"), image("doomed")
    shared = image("shared")
    referrer = image("referrer", shared, subject=kept)
    index = image("index", shared, doomed)
    store = filled((kept, "latest"), (doomed, ""), (shared, ""), (referrer, ""), (index, "sha-1"))

    class WithReferrers(MemoryRemover):
        @property
        def referrers(self) -> Callable[[Digest], tuple[Digest, ...]]:
            return lambda digest: (referrer.digest,) if digest == kept.digest else ()

    remover = WithReferrers(store, ALONE, untagged=False)
    prune_repository(CleanupTarget(key="r", store=store, remover=remover), policy(ALL), Cancel())
    assert set(store.manifests) == {kept.digest, shared.digest, referrer.digest}


# 6: fail closed


def test_rule_06_a_kept_image_with_a_missing_child_stops_everything() -> None:
    graph = graph_of({"1.0.0": "a", "sha-1": "b"}, {"a": ("c",)}, missing=("c",))
    with pytest.raises(CleanupError, match="is missing"):
        plan_of(graph, policy(PruneRule(match=re.compile("sha-.*"), keep=0)))


def test_rule_06_a_media_type_that_is_not_understood_stops_everything() -> None:
    child = Descriptor(media_type="application/vnd.new.thing", digest=digest_of("c"), size=1)
    content = {"schemaVersion": 2, "manifests": [child.to_json()]}
    strange = Manifest(MediaType.OCI_INDEX, json.dumps(content).encode())
    store = filled((image("old"), "sha-1"), (image("kept"), "latest"), (strange, "odd"))
    with pytest.raises(CleanupError, match="unknown media type"):
        prune_repository(place_of(store), policy(ALL), Cancel())
    assert Tag("sha-1") in store.named
    with pytest.raises(CleanupError):
        Node.of(Manifest("application/vnd.oci.artifact.manifest.v1+json", b"{}"))


def test_rule_06_a_view_that_is_not_the_same_twice_deletes_nothing() -> None:
    shared = image("shared")
    kept, old = image("kept", shared), image("old", shared)
    store = filled((shared, ""), (kept, "1.0.0"), (old, "sha-1"), (image("x"), "latest"))

    class Short(MemoryRemover):
        def inventory(self, on_page: Callable[[int], None] = lambda _count: None) -> Inventory:
            whole = super().inventory(on_page)
            cut = (entry for entry in whole.entries if Tag("1.0.0") not in entry.tags)
            return Inventory(entries=tuple(cut), untagged=False)

    place = CleanupTarget(key="r", store=store, remover=Short(store, ALONE, untagged=False))
    with pytest.raises(CleanupError, match="not complete"):
        prune_repository(place, policy(ALL), Cancel())
    assert len(store.named) == 3


def test_rule_06_that_a_manifest_is_missing_must_be_said_twice() -> None:
    subject = image("subject")
    referrer = image("referrer", subject=subject)
    store = filled((image("kept"), "latest"), (subject, "1.0.0"), (referrer, ""))

    asked: list[Digest] = []

    class Flickering(MemoryStore):
        def manifest(self, target: Tag | Digest) -> Manifest | None:
            if target == subject.digest and not asked:
                asked.append(subject.digest)
                return None
            return super().manifest(target)

    flickering = Flickering(manifests=store.manifests, named=store.named)
    remover = MemoryRemover(store, ALONE, untagged=False)
    place = CleanupTarget(key="r", store=flickering, remover=remover)
    with pytest.raises(CleanupError, match="comes and goes"):
        prune_repository(place, policy(ALL), Cancel())


# 7: a least age for what nothing names


@pytest.mark.parametrize("grace", [0.0, 3600.0, DAY])
def test_rule_07_untagged_manifests_stay_for_a_day_whatever_grace_says(grace: float) -> None:
    pushed = {"young": ago(hours=23), "old": ago(hours=25), "future": NOW + timedelta(hours=1)}
    graph = graph_of({"latest": "a"}, pushed=pushed, untagged=("young", "old", "future", "unknown"))
    plan = plan_of(graph, policy(grace=grace))
    assert gone(plan) == digests("old")
    assert "no time" in reason(plan, "unknown")


def test_rule_07_a_longer_grace_holds_for_untagged_manifests_too() -> None:
    graph = graph_of({"latest": "a"}, pushed={"old": ago(days=2)}, untagged=("old",))
    assert plan_of(graph, policy(grace=7 * DAY)).removed == ()


def test_rule_07_a_young_child_of_an_old_image_stays_for_the_push_that_needs_it() -> None:
    pushed = {"a": ago(days=90), "child": ago(hours=1)}
    graph = graph_of({"sha-1": "a", "latest": "z"}, {"a": ("child",)}, pushed=pushed)
    plan = plan_of(graph, policy(PruneRule(match=re.compile("sha-.*"), keep=0)))
    assert gone(plan) == digests("a")


def test_rule_07_a_record_shortens_the_age_and_nothing_else_does() -> None:
    pushed = dict.fromkeys(("left", "loose", "child"), ago(hours=2))
    graph = graph_of(
        {"latest": "a"}, {"left": ("child",)}, pushed=pushed, untagged=("left", "loose")
    )
    left = {digest_of("left"): ago(hours=2)}
    short = Retention(superseded=True, grace=3600.0)
    assert gone(plan_of(graph, superseded_policy(short, NOW, left))) == digests("left", "child")
    usual = Retention(superseded=True)
    assert plan_of(graph, superseded_policy(usual, NOW, left)).removed == ()
    ahead = {digest_of("left"): NOW + timedelta(hours=5)}
    assert plan_of(graph, superseded_policy(short, NOW, ahead)).removed == ()


# 8: referrers live and die with their subject, and go after it


@pytest.mark.parametrize("able", [ALONE, TOGETHER])
def test_rule_08_tags_go_first_then_parents_then_children_and_referrers(able: Abilities) -> None:
    graph = graph_of(
        {"sha-1": "top", "latest": "z"},
        {"top": ("nested", "child"), "nested": ("child",)},
        subjects={"signature": "child"},
        attachments={"top": "sbom"},
    )
    plan = plan_of(graph, policy(PruneRule(match=re.compile("sha-1"), keep=0)), able)
    order = [str(item) for item in plan.removed]
    place = {name: order.index(str(digest_of(name))) for name in _DOOMED}
    assert place["top"] < place["nested"] < place["child"] < place["signature"]
    assert place["top"] < place["sbom"]
    if able.tags:
        tag = str(attached(digest_of("top"), ".sig"))
        assert order.index("sha-1") < place["top"] < order.index(tag) < place["sbom"]


_DOOMED = ("top", "nested", "child", "signature", "sbom")


def test_rule_08_referrers_stay_where_the_registry_keeps_their_subject() -> None:
    subject, other = image("subject"), image("other")
    signature = image("signature", subject=subject)
    store = filled((subject, "sha-1"), (signature, ""), (other, "latest"))

    class Keeps(MemoryRemover):
        def remove_manifest(self, digest: Digest, tags: frozenset[Tag] = frozenset()) -> Removal:
            if digest == subject.digest:
                return Removal(RemovalKind.KEPT, "more than 5000 downloads")
            return super().remove_manifest(digest, tags)

    place = CleanupTarget(key="r", store=store, remover=Keeps(store, TOGETHER))
    _, cleaned = prune_repository(place, policy(ALL), Cancel())
    assert signature.digest in store.manifests
    assert not cleaned.removed


def test_rule_08_a_signature_of_an_image_somewhere_else_stays_unless_a_rule_names_it() -> None:
    tag = attached(digest_of("elsewhere"), ".sig").text
    graph = graph_of({"latest": "a", tag: "signature"}, missing=("elsewhere",))
    assert plan_of(graph, policy()).removed == ()
    rule = PruneRule(match=re.compile(r"sha256-[0-9a-f]{64}\.sig"), keep=0)
    assert tags(plan_of(graph, policy(rule))) == {tag}


# 9: caps, and never the last


def test_rule_09_no_more_images_than_the_cap_go_in_one_run_and_the_oldest_first() -> None:
    names = {f"sha-{number}": f"i{number}" for number in range(9)}
    times = {f"i{number}": ago(days=100 - number) for number in range(9)}
    graph = graph_of({**names, "latest": "z"}, pushed=times)
    rule = PruneRule(match=re.compile("sha-.*"), keep=0)
    plan = plan_of(graph, policy(rule, most=4))
    assert tags(plan) == {f"sha-{number}" for number in range(4)}
    assert "next run" in reason(plan, "sha-7")


@pytest.mark.parametrize("able", [ALONE, TOGETHER])
def test_rule_09_the_last_tag_of_a_repository_never_goes(able: Abilities) -> None:
    graph = graph_of({"sha-1": "a", "sha-2": "b"}, pushed={"a": ago(days=9), "b": ago(days=8)})
    assert tags(plan_of(graph, policy(ALL), able)) == {"sha-1"}


def test_rule_09_a_repository_without_any_tag_is_left_alone() -> None:
    graph = graph_of({}, pushed={"a": ago(days=900)}, untagged=("a",))
    assert plan_of(graph, policy()).removed == ()


# 10: what a registry can't do is not done another way


@pytest.mark.parametrize(
    "able",
    [
        Abilities(tags=False, manifests=False, reason="the registry deletes nothing"),
        Abilities(tags=False, manifests=True, reason="the registry deletes no tags"),
    ],
)
def test_rule_10_nothing_tagged_goes_where_the_ability_is_missing(able: Abilities) -> None:
    graph = graph_of({"sha-1": "a", "latest": "b"})
    plan = plan_of(graph, policy(ALL), able)
    assert plan.removed == ()
    assert able.reason in reason(plan, "sha-1")


def test_rule_10_where_manifests_stay_only_tags_go() -> None:
    graph = graph_of({"sha-1": "a", "latest": "b"}, {"a": ("child",)})
    plan = plan_of(graph, policy(ALL), Abilities(tags=True, manifests=False, reason="405"))
    assert tags(plan) == {"sha-1"}
    assert gone(plan) == set()
    assert reason(plan, "child")


# 11: a refusal stops the repository at once


def test_rule_11_the_first_refusal_is_the_last_request_that_deletes() -> None:
    store = filled(*((image(f"{n}"), f"sha-{n}") for n in range(5)), (image("z"), "latest"))

    class Refuses(MemoryRemover):
        asked = 0

        def remove_tag(self, tag: Tag, expected: Digest) -> Removal:
            Refuses.asked += 1
            raise CleanupError(f"405 for {tag} {expected}")

    place = CleanupTarget(key="r", store=store, remover=Refuses(store, ALONE))
    with pytest.raises(CleanupError, match="405"):
        prune_repository(place, policy(ALL), Cancel())
    assert Refuses.asked == 1
    assert len(store.named) == 6


# 7: what is young by the registry's own clock stays, whatever ours says


def test_rule_07_a_clock_of_ours_that_is_ahead_makes_nothing_older() -> None:
    fresh, kept = image("fresh"), image("kept")
    store = filled((fresh, ""), (kept, "latest"))

    class Dated(MemoryRemover):
        def inventory(self, on_page: Callable[[int], None] = lambda _count: None) -> Inventory:
            return replace(super().inventory(on_page), now=NOW - timedelta(days=2))

    remover = Dated(store, ALONE, pushed={fresh.digest: NOW - timedelta(days=2, hours=1)})
    place = CleanupTarget(key="r", store=store, remover=remover)
    assert plan_repository(place, policy(ALL)).plan.removed == ()
    remover.pushed[fresh.digest] = NOW - timedelta(days=4)
    assert gone(plan_repository(place, policy(ALL)).plan) == {fresh.digest}


# 12: afterwards every kept image is proved complete


def test_rule_12_a_kept_image_that_lost_a_child_meanwhile_is_told() -> None:
    child = image("child")
    kept, old = image("kept", child), image("old")
    store = filled((child, ""), (kept, "latest"), (old, "sha-1"))

    class Careless(MemoryRemover):
        def remove_manifest(self, digest: Digest, tags: frozenset[Tag] = frozenset()) -> Removal:
            store.manifests.pop(child.digest, None)
            return super().remove_manifest(digest, tags)

    place = CleanupTarget(key="r", store=store, remover=Careless(store, ALONE))
    with pytest.raises(CleanupError, match="are missing now") as told:
        prune_repository(place, policy(ALL), Cancel())
    assert told.value.details == (str(child.digest),)
    assert told.value.exit_code == 12


def test_rule_12_a_manifest_deleted_under_a_running_push_is_put_back() -> None:
    child = image("child")
    old, kept = image("old", child), image("kept")
    store = filled((child, ""), (old, "sha-1"), (kept, "latest"))
    pushed = image("pushed", child)

    class Racing(MemoryRemover):
        def remove_manifest(self, digest: Digest, tags: frozenset[Tag] = frozenset()) -> Removal:
            removal = super().remove_manifest(digest, tags)
            if digest == child.digest:  # the push asked before, and the registry does not check
                store.manifests[pushed.digest] = pushed
                store.named[Tag("edge")] = pushed.digest
            return removal

    place = CleanupTarget(key="r", store=store, remover=Racing(store, ALONE, untagged=False))
    _, cleaned = prune_repository(place, policy(ALL), Cancel())
    assert cleaned.restored == (child.digest,)
    assert store.manifests[child.digest] == child


def test_rule_12_an_image_that_got_a_tag_after_the_plan_is_spared_with_its_children() -> None:
    child = image("child")
    old, kept = image("old", child), image("kept")
    store = filled((child, ""), (old, "sha-1"), (kept, "latest"))

    class Promoting(MemoryRemover):
        def remove_tag(self, tag: Tag, expected: Digest) -> Removal:
            store.named[Tag("promoted")] = old.digest
            return super().remove_tag(tag, expected)

        def remove_manifest(self, digest: Digest, tags: frozenset[Tag] = frozenset()) -> Removal:
            every = frozenset(store.named)  # a registry that takes all tags along, unasked
            return super().remove_manifest(digest, tags | every)

    place = CleanupTarget(key="r", store=store, remover=Promoting(store, ALONE, untagged=False))
    _, cleaned = prune_repository(place, policy(ALL), Cancel())
    assert {old.digest, child.digest} <= set(store.manifests)
    assert cleaned.restored == ()


@dataclass(frozen=True)
class Lagging(MemoryStore):
    """Shows once more what was there."""

    shown: dict[Tag | Digest, Descriptor] = field(default_factory=dict)

    def head(self, target: Tag | Digest) -> Descriptor | None:
        return self.shown.pop(target, None) or super().head(target)


@pytest.mark.parametrize("lags", [False, True])
def test_rule_12_a_registry_that_takes_all_tags_along_is_stopped_and_put_right(
    *, lags: bool
) -> None:
    child = image("child")
    shared, kept, old = image("shared", child), image("kept"), image("old")
    store = Lagging()
    store.manifests.update((each.digest, each) for each in (child, shared, kept, old))
    tagged = {"sha-1": shared, "1.0.0": shared, "latest": kept, "sha-2": old}
    store.named.update((Tag(name), manifest.digest) for name, manifest in tagged.items())

    class TakesAlong(MemoryRemover):
        def remove_tag(self, tag: Tag, expected: Digest) -> Removal:
            if lags and tag.text == "sha-1":
                store.shown.update(dict.fromkeys((shared.digest, Tag("1.0.0")), shared.descriptor))
            self.remove_manifest(expected, frozenset(store.named))
            self.remove_manifest(child.digest)
            return Removal(RemovalKind.REMOVED)

    place = CleanupTarget(key="r", store=store, remover=TakesAlong(store, ALONE, untagged=False))
    rules = policy(PruneRule(match=re.compile("sha-.*"), keep=0))
    with pytest.raises(CleanupError, match="deletes an image with all its tags"):
        prune_repository(place, rules, Cancel())
    assert {"1.0.0", "latest"} <= set(map(str, store.named))
    assert (Tag("sha-2") in store.named) is not lags
    assert {shared.digest, child.digest, kept.digest} <= store.manifests.keys()


@pytest.mark.parametrize("looks", [4, 99])
def test_rule_12_a_tag_that_is_shown_for_a_while_is_gone_and_one_that_stays_is_told(
    looks: int,
) -> None:
    old, kept = image("old"), image("kept")
    store = filled((old, "sha-1"), (kept, "latest"))

    class Lasting(MemoryStore):
        left = looks

        def head(self, target: Tag | Digest) -> Descriptor | None:
            if target == Tag("sha-1") and Lasting.left:
                Lasting.left -= 1
                return old.descriptor
            return super().head(target)

    class SaysSo(MemoryRemover):
        def listed(self) -> frozenset[Tag | Digest]:
            return super().listed() | {Tag("sha-1")}

    shown = Lasting(manifests=store.manifests, named=store.named)
    place = CleanupTarget(key="r", store=shown, remover=SaysSo(store, ALONE, untagged=False))
    waits = Hasty()
    _, cleaned = prune_repository(place, policy(ALL), waits)
    stays = looks == 99
    assert (old.digest in store.manifests) is stays
    assert ("sha-1" in {str(item) for item, _ in cleaned.kept}) is stays
    assert ("sha-1" in set(map(str, cleaned.removed))) is not stays
    assert waits.waited > 0.0


# 13: pace


def test_rule_13_no_more_than_180_deletions_a_minute() -> None:
    now = [100.0]

    def wait(seconds: float) -> None:
        now[0] += seconds

    pace = Pace(180 / 60, clock=lambda: now[0])
    for _ in range(181):
        pace.wait(wait)
    assert now[0] - 100.0 >= 59.9


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (429, {"retry-after": "7"}, b"{}", 7.0),
        (429, {"x-retry-after": "1000000030"}, b"{}", 30.0),
        (429, {}, b"Too Many Requests (HAP429).", 0.0),
        (403, {"retry-after": "60"}, b'{"message":"secondary rate limit"}', 60.0),
        (403, {}, b'{"message":"You have exceeded a secondary rate limit"}', 60.0),
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1000000040"}, b"{}", 40.0),
        (403, {"x-ratelimit-remaining": "9"}, b'{"message":"Must have admin rights"}', None),
        (404, {"x-ratelimit-remaining": "0"}, b"{}", None),
    ],
)
def test_rule_13_a_limit_is_told_from_a_missing_right_and_waited_for_as_asked(
    status: int, headers: dict[str, str], body: bytes, expected: float | None
) -> None:
    answer = Response(method="DELETE", url="https://x/y", status=status, headers=headers, body=body)
    assert limit_wait(answer, 1_000_000_000.0) == expected
