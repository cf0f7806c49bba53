"""What of a graph goes and what stays, with the reason for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from podbuild.oci.delete import Abilities
from podbuild.oci.names import Digest, Tag
from podbuild.publish.retention.graph import Graph
from podbuild.publish.retention.policy import Policy
from podbuild.publish.retention.tags import TagFate, judge_tags, newest, pushed_or_committed

Reasons = Mapping[Digest, str]


@dataclass(frozen=True, kw_only=True)
class Fate:
    """Tags and manifests that go, and those that stay, each with its reason.

    `kept` may hold digests that are not in the repository (a subject that never was there).
    """

    tags: Mapping[Tag, str]
    stays: Mapping[Tag, str]
    gone: Reasons
    kept: Reasons


def decide(graph: Graph, policy: Policy, abilities: Abilities) -> Fate:
    """Give the fate of every tag and manifest: all that is reachable from a kept root stays."""
    verdicts = _keep_one(judge_tags(graph, policy), graph, policy)
    fate = _reach(graph, policy, abilities, verdicts, {})
    beyond = _beyond_cap(graph, policy, fate)
    if not beyond:
        return fate
    reason = f"more than {policy.most} images in one run; the next run takes it"
    verdicts = {
        tag: TagFate(False, reason) if graph.tags[tag] in beyond and verdict.goes else verdict
        for tag, verdict in verdicts.items()
    }
    return _reach(graph, policy, abilities, verdicts, dict.fromkeys(beyond, reason))


def _keep_one(
    verdicts: Mapping[Tag, TagFate], graph: Graph, policy: Policy
) -> Mapping[Tag, TagFate]:
    """Let the newest tag stay where all would go: a repository never loses its last one."""
    if not all(verdict.goes for verdict in verdicts.values()):
        return verdicts
    last = newest(verdicts, graph, policy)
    stays = TagFate(False, "the last tag of a repository stays")
    return {tag: stays if tag in last else verdict for tag, verdict in verdicts.items()}


def _reach(
    graph: Graph,
    policy: Policy,
    abilities: Abilities,
    verdicts: Mapping[Tag, TagFate],
    roots: Reasons,
) -> Fate:
    tagged = {
        graph.tags[tag]: f"tagged {tag}" for tag, verdict in verdicts.items() if not verdict.goes
    }
    named = _named(graph, verdicts)
    kept = graph.kept_by({**roots, **tagged})
    careful = _Caution(graph, policy, abilities, frozenset(named), bool(tagged))
    kept = graph.kept_by(kept | dict(careful.roots(frozenset(graph.nodes) - kept.keys())))
    gone = {
        digest: named.get(digest) or careful.why_gone(digest)
        for digest in graph.nodes
        if digest not in kept
    }
    return _fate_of_tags(graph, verdicts, abilities, gone, kept)


def _named(graph: Graph, verdicts: Mapping[Tag, TagFate]) -> dict[Digest, str]:
    """Give the manifests that a tag which goes names, with the reason."""
    return {
        graph.tags[tag]: f"tagged {tag}, {verdict.reason}"
        for tag, verdict in verdicts.items()
        if verdict.goes
    }


def _fate_of_tags(
    graph: Graph,
    verdicts: Mapping[Tag, TagFate],
    abilities: Abilities,
    gone: Reasons,
    kept: Reasons,
) -> Fate:
    tags: dict[Tag, str] = {}
    stays: dict[Tag, str] = {}
    for tag, digest in graph.tags.items():
        verdict = verdicts.get(tag)
        if verdict is None:
            stays[tag] = "what it is attached to stays"
        elif not verdict.goes:
            stays[tag] = verdict.reason
        elif abilities.tags or digest in gone:
            tags[tag] = verdict.reason
        else:
            blocked = abilities.reason or "the registry can't free one tag of several"
            stays[tag] = f"{blocked}; its image stays: {kept[digest]}"
    return Fate(tags=tags, stays=stays, gone=gone, kept=kept)


@dataclass(frozen=True)
class _Caution:
    """The reasons for which something that no kept tag needs stays nevertheless."""

    graph: Graph
    policy: Policy
    abilities: Abilities
    named: frozenset[Digest]
    tags_stay: bool

    @cached_property
    def recorded(self) -> frozenset[Digest]:
        """Give what podbuild's own records name, with all that belongs to it."""
        return self.graph.brought_by(self.policy.due)

    @cached_property
    def brought(self) -> frozenset[Digest]:
        """Give what goes with the images of the tags that go."""
        return self.graph.brought_by(self.named)

    def roots(self, digests: frozenset[Digest]) -> Iterator[tuple[Digest, str]]:
        """Give those of the unreachable manifests that stay, each with its reason."""
        for digest in digests:
            reason = self._unable(digest) or self._too_soon(digest)
            if reason:
                yield digest, reason

    def why_gone(self, digest: Digest) -> str:
        """Give why a manifest goes that no tag names."""
        if digest in self.policy.due:
            left = self.policy.superseded[digest]
            return f"superseded: a moving tag left it at {left:%Y-%m-%d %H:%M} UTC"
        if digest in self.brought or digest in self.recorded:
            return "it belongs to an image that goes, and nothing else needs it"
        hours = self.policy.caution.total_seconds() / 3600
        return f"untagged for more than {hours:g} hours, and nothing needs it"

    def _unable(self, digest: Digest) -> str:
        if not self.tags_stay:
            return "the repository has no tag that would stay"
        if not self.abilities.manifests:
            return self.abilities.reason or "this registry deletes no manifests"
        takes_tags = self.abilities.together or self.abilities.tags
        if digest in self.graph.tags_of and not takes_tags:
            return self.abilities.reason or "this registry deletes no tags"
        return ""

    def _too_soon(self, digest: Digest) -> str:
        if digest in self.policy.superseded and digest not in self.policy.due:
            return "a moving tag left it too short ago for [retention] grace"
        if digest in self.named:
            return ""
        touched = self.graph.touched.get(digest) or self.graph.pushed.get(digest)
        if digest not in self.recorded and digest not in self.brought:
            if self.policy.leftovers is None:
                return "untagged, and no record says that podbuild superseded it"
            if touched is None:
                return "untagged, and the registry tells no time for it"
        least = self.policy.grace if digest in self.recorded else self.policy.caution
        if touched and self.policy.now - touched < least:
            return "pushed too short ago: an upload may still need it"
        return ""


def _beyond_cap(graph: Graph, policy: Policy, fate: Fate) -> frozenset[Digest]:
    """Give the images that are too many for one run: the oldest go first."""
    brought = {each for digest in fate.gone for each in graph.brings(digest) if each != digest}
    images = [digest for digest in fate.gone if digest not in brought]
    times = {digest: pushed_or_committed(digest, graph, policy) for digest in images}
    images.sort(key=lambda digest: (time.timestamp() if (time := times[digest]) else _LAST, digest))
    return frozenset(images[policy.most :])


_LAST = float("inf")
