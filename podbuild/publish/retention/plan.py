"""The plan of a cleanup: per tag and manifest what becomes of it and why, in a safe order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from podbuild.errors import CleanupError
from podbuild.oci.delete import Abilities
from podbuild.oci.names import Digest, Tag
from podbuild.publish.retention.graph import Graph
from podbuild.publish.retention.policy import Policy
from podbuild.publish.retention.reach import Fate, decide
from podbuild.system.records import JSONValue


@dataclass(frozen=True, kw_only=True)
class RemovalItem:
    """One tag, or one manifest with the tags that go with it; `reason` says why (or why not)."""

    digest: Digest
    reason: str
    tag: Tag | None = None
    tags: frozenset[Tag] = frozenset()

    def __str__(self) -> str:
        return str(self.tag or self.digest)

    def to_json(self) -> dict[str, JSONValue]:
        """Give the item as `podbuild prune --json` shows it."""
        found: dict[str, JSONValue] = {"digest": str(self.digest), "reason": self.reason}
        if self.tag:
            found["tag"] = str(self.tag)
        if self.tags:
            found["tags"] = [str(tag) for tag in sorted(self.tags)]
        return found


@dataclass(frozen=True, kw_only=True)
class RemovalPlan:
    """What goes, in this order, and what stays.

    `roots` are the tags that keep their digest, `needed` every manifest that must still be there
    afterwards.
    """

    removed: tuple[RemovalItem, ...]
    kept: tuple[RemovalItem, ...]
    roots: Mapping[Tag, Digest]
    needed: frozenset[Digest]


def make_removal_plan(graph: Graph, policy: Policy, abilities: Abilities) -> RemovalPlan:
    """Give the plan for one repository.

    Raises CleanupError where something kept is incomplete already: then nothing is deleted.
    """
    fate = decide(graph, policy, abilities)
    _refuse_incomplete(graph, fate)
    removed = (
        *_untagged_first(graph, fate, abilities),
        *_manifests(graph, fate, abilities),
    )
    gone_tags = {item.tag for item in removed} | {tag for item in removed for tag in item.tags}
    roots = {tag: digest for tag, digest in graph.tags.items() if tag not in gone_tags}
    return RemovalPlan(
        removed=removed,
        kept=tuple(_kept(graph, fate, roots)),
        roots=roots,
        needed=frozenset(fate.kept.keys() & graph.nodes.keys()),
    )


def _refuse_incomplete(graph: Graph, fate: Fate) -> None:
    for digest in fate.kept:
        node = graph.nodes.get(digest)
        broken = graph.missing.intersection(node.children) if node else None
        if broken:
            raise CleanupError(
                f"{graph.name(digest)} is kept, but its manifest {min(broken)} is missing",
                hint="nothing is deleted here; repair or delete that image first",
            )


def _untagged_first(graph: Graph, fate: Fate, abilities: Abilities) -> Iterator[RemovalItem]:
    """Give the tags that go before any manifest does."""
    if not abilities.tags:
        return
    for tag, reason in sorted(fate.tags.items()):
        digest = graph.tags[tag]
        if not (abilities.together and digest in fate.gone):
            yield RemovalItem(tag=tag, digest=digest, reason=reason)


def _manifests(graph: Graph, fate: Fate, abilities: Abilities) -> Iterator[RemovalItem]:
    """Give parents before children and referrers; a referrer's tag right before itself."""
    for digest in graph.parents_first(frozenset(fate.gone)):
        tags = graph.tags_of.get(digest, ())
        reason = fate.gone[digest]
        if abilities.together:
            yield RemovalItem(digest=digest, reason=reason, tags=frozenset(tags))
            continue
        for tag in tags:
            if tag in graph.attached:
                yield RemovalItem(tag=tag, digest=digest, reason=reason)
        yield RemovalItem(digest=digest, reason=reason)


def _kept(graph: Graph, fate: Fate, roots: Mapping[Tag, Digest]) -> Iterator[RemovalItem]:
    for tag, digest in sorted(roots.items()):
        yield RemovalItem(tag=tag, digest=digest, reason=fate.stays[tag])
    for digest in sorted(fate.kept.keys() & graph.nodes.keys()):
        if digest not in graph.tags_of:
            yield RemovalItem(digest=digest, reason=fate.kept[digest])
