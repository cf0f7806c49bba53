"""Which tags the rules let go: anchored match, keep by distinct digest, age, protection."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from podbuild.config.model import PruneRule
from podbuild.oci.names import Digest, Tag
from podbuild.plan.tags import without_ranges
from podbuild.publish.history import RUN_TAG
from podbuild.publish.retention.graph import Graph, subject_of_tag
from podbuild.publish.retention.policy import Policy
from podbuild.semver import Version

Rank = Version | datetime
_LATEST = Tag("latest")


@dataclass(frozen=True)
class TagFate:
    """Whether a tag goes, and why (or why not)."""

    goes: bool
    reason: str


def judge_tags(graph: Graph, policy: Policy) -> dict[Tag, TagFate]:
    """Give the verdict on every tag that people use.

    A tag goes only where every rule that matches it lets it go; protection wins over all.
    """
    policy = _told_apart(graph, policy)
    settled = dict(_settled(graph, policy))
    judged: dict[Tag, list[TagFate]] = {tag: [] for tag in graph.plain}
    for rule in policy.rules:
        for group in _channels(rule, graph.plain):
            for tag, verdict in _judge_group(rule, group, graph, policy):
                judged[tag].append(verdict)
    return {tag: settled.get(tag) or _together(found) for tag, found in judged.items()}


def _together(verdicts: list[TagFate]) -> TagFate:
    """Give the first verdict that keeps, else the first that lets go."""
    kept = [verdict for verdict in verdicts if not verdict.goes]
    return next(iter(kept + verdicts), TagFate(False, "no rule matches it"))


def newest(tags: Iterable[Tag], graph: Graph, policy: Policy) -> frozenset[Tag]:
    """Give the newest of some tags, with all that can't be told apart from it."""
    ranks = _ranks(frozenset(tags), graph, _told_apart(graph, policy))
    if not ranks:
        return frozenset(tags)
    best = max(ranks.values(), key=_key)
    digests = {graph.tags[tag] for tag, rank in ranks.items() if rank == best}
    return frozenset(tag for tag in tags if tag not in ranks or graph.tags[tag] in digests)


def pushed_or_committed(digest: Digest, graph: Graph, policy: Policy) -> datetime | None:
    """Give when the registry says it was pushed, else its revision's committer date."""
    node = graph.nodes.get(digest)
    known = graph.pushed.get(digest)
    return known or (policy.dates.get(node.revision) if node else None)


def _told_apart(graph: Graph, policy: Policy) -> Policy:
    """Give the policy that takes no moving tag for a calendar version: 24.04 beside 24.04.1."""
    found = {tag: version for tag in graph.plain if (version := policy.version_of(tag))}
    if not any(version.numbers for version in found.values()):
        return policy
    versions = without_ranges(found, [tag for tag in found if policy.range_of(tag)])
    return replace(policy, version_of=versions.get)


def _settled(graph: Graph, policy: Policy) -> Iterator[tuple[Tag, TagFate]]:
    """Protection wins over every rule; so does a subject that went with its image."""
    versions = {tag: policy.version_of(tag) for tag in graph.plain}
    released = _current(versions, policy)
    latest = graph.tags.get(_LATEST)
    for tag, version in versions.items():
        current = released.get(policy.image_of(tag))
        if tag in graph.immutable:
            yield tag, TagFate(False, "it is immutable at the registry")
        elif RUN_TAG.fullmatch(tag.text):
            yield tag, TagFate(False, "it is a run of the history")
        elif tag in policy.protected:
            yield tag, TagFate(False, "it is a moving tag")
        elif current and version == current:
            yield tag, TagFate(False, "it is the current release")
        elif version and graph.tags[tag] == latest:
            yield tag, TagFate(False, "it is the release that latest names")
        elif current and (within := policy.range_of(tag)) and within.holds(current):
            yield tag, TagFate(False, "it is a moving tag of the current release")
        elif any(pattern.fullmatch(tag.text) for pattern in policy.retention.protect):
            yield tag, TagFate(False, "[retention] protect names it")
        elif subject_of_tag(tag) in policy.due:
            yield tag, TagFate(True, "its image was superseded and is gone")


def _current(versions: Mapping[Tag, Version | None], policy: Policy) -> Mapping[str, Version]:
    """Give each image's highest stable version that is not yanked."""
    found: dict[str, Version] = {}
    for tag, version in versions.items():
        if version and version.is_stable and version not in policy.yanked:
            image = policy.image_of(tag)
            found[image] = max(version, found.get(image, version))
    return found


def _channels(rule: PruneRule, tags: Iterable[Tag]) -> Iterator[frozenset[Tag]]:
    """Give the tags a rule matches, apart by what its group `channel` holds if it has one."""
    groups: dict[str, set[Tag]] = {}
    for tag in tags:
        found = rule.match.fullmatch(tag.text)
        if found:
            groups.setdefault(_channel(found), set()).add(tag)
    return map(frozenset, groups.values())


def _channel(found: re.Match[str]) -> str:
    return found.groupdict().get("channel") or ""


def _judge_group(
    rule: PruneRule, group: frozenset[Tag], graph: Graph, policy: Policy
) -> Iterator[tuple[Tag, TagFate]]:
    """Keep counts distinct digests over everything that matches, gone or not by other rules."""
    ranks = _ranks(group, graph, policy)
    kept = _kept_digests(rule.keep, ranks, graph)
    for tag in group:
        digest = graph.tags[tag]
        if rule.keep and digest in kept:
            yield tag, TagFate(False, f"among the newest {rule.keep} of {rule.match.pattern}")
        elif rule.keep and tag not in ranks:
            yield tag, TagFate(False, f"its place in the order of {rule.match.pattern} is unknown")
        else:
            yield tag, _judge_age(rule, digest, graph, policy)


def _kept_digests(keep: int, ranks: Mapping[Tag, Rank], graph: Graph) -> frozenset[Digest]:
    """Give the newest `keep` digests, and all that are as new as the last of them."""
    best: dict[Digest, Rank] = {}
    for tag, rank in ranks.items():
        digest = graph.tags[tag]
        if digest not in best or _key(rank) > _key(best[digest]):
            best[digest] = rank
    order = sorted(best.values(), key=_key, reverse=True)
    if not keep or not order:
        return frozenset()
    least = _key(order[min(keep, len(order)) - 1])
    return frozenset(digest for digest, rank in best.items() if _key(rank) >= least)


def _judge_age(rule: PruneRule, digest: Digest, graph: Graph, policy: Policy) -> TagFate:
    outside = f"outside the newest {rule.keep} of {rule.match.pattern}"
    if not rule.older_than:
        return TagFate(True, outside)
    time = pushed_or_committed(digest, graph, policy)
    if time is None:
        return TagFate(False, "its age is unknown")
    least = timedelta(seconds=rule.older_than)
    if policy.now - time < least:
        return TagFate(False, f"younger than {_days(least)}")
    return TagFate(True, f"{outside} and older than {_days(least)}")


def _days(span: timedelta) -> str:
    """Write a duration as the configuration does: 30d, 12h."""
    days = span.total_seconds() / 86400
    return f"{days:g}d" if days >= 1 else f"{days * 24:g}h"


def _ranks(tags: frozenset[Tag], graph: Graph, policy: Policy) -> dict[Tag, Rank]:
    """Give each tag's place by the best order that any of them has; the others have none.

    Versions and times, or the times of different clocks, can't be compared.
    """
    versions = {tag: version for tag in tags if (version := policy.version_of(tag))}
    if versions:
        return dict(versions)
    pushed = {tag: graph.pushed[graph.tags[tag]] for tag in tags if graph.tags[tag] in graph.pushed}
    if pushed:
        return dict(pushed)
    dates = {tag: pushed_or_committed(graph.tags[tag], graph, policy) for tag in tags}
    return {tag: date for tag, date in dates.items() if date}


def _key(rank: Rank) -> tuple[Version, float]:
    """Make ranks of one kind comparable for the type checker; kinds never meet."""
    match rank:
        case Version():
            return rank, 0.0
        case datetime():
            return _ZERO, rank.timestamp()


_ZERO = Version(0, 0, 0)
