"""Whatever the repository looks like, what stays is complete at every moment of a cleanup."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from podbuild.config.model import PruneRule, Retention
from podbuild.oci.delete import Abilities
from podbuild.oci.names import Digest, Tag
from podbuild.publish.retention.graph import Graph
from podbuild.publish.retention.plan import RemovalPlan, make_removal_plan
from podbuild.publish.retention.policy import Policy, prune_policy, superseded_policy
from tests.graphs import NOW, ago, graphs

# A busy machine is no finding.
CALM = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
ABILITIES = st.sampled_from(
    [
        Abilities(tags=True, manifests=True),  # Distribution 3, Docker Hub
        Abilities(tags=False, manifests=True, together=True),  # Distribution 2.8, GHCR
        Abilities(tags=True, manifests=True, together=True),  # GHCR with untag
        Abilities(tags=True, manifests=False),
        Abilities(tags=False, manifests=False, reason="deleting is off"),
    ]
)
RULES = st.lists(
    st.builds(
        PruneRule,
        match=st.sampled_from([re.compile(r"sha-[0-9a-f]{7}"), re.compile(r".*")]),
        keep=st.integers(0, 3),
        older_than=st.sampled_from([0.0, 3600.0, 86400.0 * 3]),
    ),
    max_size=2,
)


@st.composite
def policies(draw: st.DrawFn, graph: Graph) -> Policy:
    times = st.integers(-5, 100).map(lambda hours: ago(hours=hours))
    digests = st.sampled_from(sorted(graph.nodes))
    superseded = draw(st.dictionaries(digests, times, max_size=4))
    retention = Retention(prune=tuple(draw(RULES)), grace=draw(st.sampled_from([0.0, 7200.0])))
    if draw(st.booleans()):
        return superseded_policy(retention, NOW, superseded)
    return replace(
        prune_policy(retention, NOW, superseded=superseded), most=draw(st.integers(0, 8))
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[Graph, Policy, Abilities]:
    graph = draw(graphs())
    return graph, draw(policies(graph)), draw(ABILITIES)


def moments(graph: Graph, plan: RemovalPlan) -> Iterator[tuple[dict[Tag, Digest], set[Digest]]]:
    """Give tags and manifests of the repository after each removal of the plan."""
    tags, there = dict(graph.tags), set(graph.nodes)
    yield tags, there
    for item in plan.removed:
        if item.tag:
            del tags[item.tag]
        else:
            there.remove(item.digest)
            tags = {tag: digest for tag, digest in tags.items() if digest != item.digest}
        yield tags, there


def pulls(graph: Graph, digest: Digest, there: set[Digest]) -> bool:
    """Tell whether an image is complete, by the definition of a pull: not by podbuild's code."""
    if digest not in there:
        return False
    return all(pulls(graph, child, there) for child in graph.nodes[digest].children)


def broken(graph: Graph, plan: RemovalPlan) -> list[Tag]:
    """Give the tags that stay in the repository and can't be pulled at some moment."""
    return [
        tag
        for tags, there in moments(graph, plan)
        for tag, digest in tags.items()
        if tag in plan.roots and not pulls(graph, digest, there)
    ]


@CALM
@given(cases())
def test_every_kept_tag_pulls_completely_at_every_moment(
    case: tuple[Graph, Policy, Abilities],
) -> None:
    graph, policy, abilities = case
    plan = make_removal_plan(graph, policy, abilities)
    assert not broken(graph, plan)
    last_tags, _ = list(moments(graph, plan))[-1]
    assert last_tags == dict(plan.roots)


@CALM
@given(cases())
def test_a_referrer_lives_and_dies_with_its_subject(case: tuple[Graph, Policy, Abilities]) -> None:
    graph, policy, abilities = case
    plan = make_removal_plan(graph, policy, abilities)
    for _, there in moments(graph, plan):
        for node in graph.nodes.values():
            if node.subject in there:
                assert node.digest in there
        for tag, subject in graph.attached.items():
            if subject in there:
                assert graph.tags[tag] in there


@CALM
@given(cases())
def test_what_nothing_names_goes_only_when_it_is_old_enough(
    case: tuple[Graph, Policy, Abilities],
) -> None:
    graph, policy, abilities = case
    plan = make_removal_plan(graph, policy, abilities)
    gone_tags = set(graph.tags) - set(plan.roots)
    named = graph.brought_by({graph.tags[tag] for tag in gone_tags} | policy.due)
    for item in plan.removed:
        if item.tag is None and item.digest not in named:
            assert policy.leftovers is not None
            assert NOW - graph.pushed[item.digest] >= timedelta(hours=24)


@CALM
@given(cases())
def test_a_second_run_of_a_done_cleanup_finds_nothing_more_of_what_was_named(
    case: tuple[Graph, Policy, Abilities],
) -> None:
    graph, policy, abilities = case
    if len(graph.nodes) > policy.most:
        return
    plan = make_removal_plan(graph, policy, abilities)
    gone = {item.digest for item in plan.removed if item.tag is None}
    rest = Graph(
        tags=dict(plan.roots),
        nodes={digest: node for digest, node in graph.nodes.items() if digest not in gone},
        pushed=graph.pushed,
    )
    again = make_removal_plan(rest, policy, abilities)
    assert not {item.tag for item in again.removed if item.tag} & set(graph.attached)


def delete_untagged(graph: Graph) -> set[Digest]:
    """Do what the tools do whose bug reports fill the world."""
    return set(graph.nodes) - set(graph.tags.values())


def delete_by_the_first_index(graph: Graph) -> set[Digest]:
    """Delete the children of each index whose tag goes, shared or not."""
    doomed = {digest for tag, digest in graph.tags.items() if tag.text.startswith("sha-")}
    return doomed | {child for digest in doomed for child in graph.nodes[digest].children}


@pytest.mark.parametrize("naive", [delete_untagged, delete_by_the_first_index])
def test_the_same_graphs_catch_a_naive_cleanup(naive: Callable[[Graph], set[Digest]]) -> None:
    # Finding is enough: no shrinking.
    @settings(max_examples=200, deadline=None, database=None, phases=[Phase.generate])
    @given(graphs())
    def kept_tags_pull(graph: Graph) -> None:
        there = set(graph.nodes) - naive(graph)
        for tag, digest in graph.tags.items():
            if not tag.text.startswith(("sha-", "sha256-")):
                assert pulls(graph, digest, there)

    with pytest.raises(AssertionError):
        kept_tags_pull()


@CALM
@given(cases(), st.integers(-100, 100))
def test_a_clock_that_is_wrong_only_keeps_more(
    case: tuple[Graph, Policy, Abilities], hours: int
) -> None:
    graph, policy, abilities = case
    future = {digest: NOW + timedelta(hours=abs(hours) + 1) for digest in graph.nodes}
    ahead = Graph(tags=graph.tags, nodes=graph.nodes, pushed=future)
    plan = make_removal_plan(ahead, policy, abilities)
    named = {graph.tags[tag] for tag in set(graph.tags) - set(plan.roots)}
    assert {item.digest for item in plan.removed if not item.tag} <= (
        graph.brought_by(policy.due) | named
    )
