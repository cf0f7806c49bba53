"""The graph of one repository: what names what, and so what a kept tag needs.

Pure: the manifests are read elsewhere (chart.py). Nothing here is ever partial; a manifest
that podbuild does not understand stops the cleanup of the whole repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from podbuild.errors import CleanupError
from podbuild.oci.manifest import MANIFEST_TYPES, Manifest
from podbuild.oci.names import Digest, Tag
from podbuild.plan.labels import REVISION

# Cosign's tags and the fallback of distribution spec 1.1, "Referrers Tag Schema".
_ATTACHED = re.compile(r"sha256-(?P<hex>[0-9a-f]{64})(?:\.(?:sig|att|sbom))?")


def subject_of_tag(tag: Tag) -> Digest | None:
    """Give the digest that a `sha256-<hex>[.sig|.att|.sbom]` tag is attached to, if it is one."""
    found = _ATTACHED.fullmatch(tag.text)
    return Digest(f"sha256:{found['hex']}") if found else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """What the graph keeps of a manifest: its links and the commit it was built from."""

    digest: Digest
    children: tuple[Digest, ...] = ()
    subject: Digest | None = None
    revision: str = ""

    @classmethod
    def of(cls, manifest: Manifest) -> Node:
        """Read a manifest; raises CleanupError for a type whose links podbuild can't know."""
        for kind in (manifest.media_type, *(child.media_type for child in manifest.children)):
            if kind not in MANIFEST_TYPES:
                raise CleanupError(
                    f"{manifest.digest} holds the unknown media type {kind[:100]!r}",
                    hint="nothing is deleted where the graph is not fully understood",
                )
        return cls(
            digest=manifest.digest,
            children=tuple(dict.fromkeys(child.digest for child in manifest.children)),
            subject=manifest.subject.digest if manifest.subject else None,
            revision=manifest.annotations.get(REVISION, ""),
        )


@dataclass(frozen=True, kw_only=True)
class Graph:
    """All tags and manifests of one repository, and what is named but is not there.

    `pushed` and `touched` are the registry's own times, as in `Entry`; `immutable` the tags that it
    never gives up.
    """

    tags: Mapping[Tag, Digest] = field(default_factory=dict)
    nodes: Mapping[Digest, Node] = field(default_factory=dict)
    missing: frozenset[Digest] = frozenset()
    pushed: Mapping[Digest, datetime] = field(default_factory=dict)
    touched: Mapping[Digest, datetime] = field(default_factory=dict)
    immutable: frozenset[Tag] = frozenset()

    @cached_property
    def attached(self) -> Mapping[Tag, Digest]:
        """Give the tags that only say to which manifest here something belongs, with that one.

        Where the manifest is not here the tag may speak of another repository (cosign can be told
        to keep signatures apart), so it is a tag like any other.
        """
        found = ((tag, subject_of_tag(tag)) for tag in self.tags if tag not in self.immutable)
        return {tag: subject for tag, subject in found if subject and subject in self.nodes}

    @cached_property
    def plain(self) -> Mapping[Tag, Digest]:
        """Give the tags that people use."""
        return {tag: digest for tag, digest in self.tags.items() if tag not in self.attached}

    @cached_property
    def tags_of(self) -> Mapping[Digest, tuple[Tag, ...]]:
        """Give all tags of each tagged manifest, sorted."""
        found: dict[Digest, list[Tag]] = {}
        for tag in sorted(self.tags):
            found.setdefault(self.tags[tag], []).append(tag)
        return {digest: tuple(tags) for digest, tags in found.items()}

    @cached_property
    def referrers(self) -> Mapping[Digest, tuple[Digest, ...]]:
        """Give what refers to each manifest: by its own subject or by a `sha256-*` tag."""
        found: dict[Digest, dict[Digest, None]] = {}
        for node in self.nodes.values():
            if node.subject:
                found.setdefault(node.subject, {})[node.digest] = None
        for tag, subject in self.attached.items():
            found.setdefault(subject, {})[self.tags[tag]] = None
        return {subject: tuple(names) for subject, names in found.items()}

    def needs(self, digest: Digest) -> Iterator[Digest]:
        """Give what lives as long as this manifest: children, subject, referrers."""
        node = self.nodes.get(digest)
        if node:
            yield from node.children
            if node.subject:
                yield node.subject
        for tag in self.tags_of.get(digest, ()):
            if tag in self.attached:
                yield self.attached[tag]
        yield from self.referrers.get(digest, ())

    def brings(self, digest: Digest) -> Iterator[Digest]:
        """Give what goes with this manifest if nothing else needs it: children, referrers."""
        node = self.nodes.get(digest)
        if node:
            yield from node.children
        yield from self.referrers.get(digest, ())

    def kept_by(self, roots: Mapping[Digest, str]) -> dict[Digest, str]:
        """Give everything reachable from the roots, with why: the root's reason or its finder."""
        found = dict(roots)
        waiting = list(roots)
        while waiting:
            digest = waiting.pop()
            for needed in self.needs(digest):
                if needed not in found:
                    found[needed] = f"{self.name(digest)} needs it"
                    waiting.append(needed)
        return found

    def brought_by(self, doomed: Iterable[Digest]) -> frozenset[Digest]:
        """Give the manifests that go with these, these included."""
        found = set(doomed)
        waiting = list(found)
        while waiting:
            fresh = [digest for digest in self.brings(waiting.pop()) if digest not in found]
            found.update(fresh)
            waiting.extend(fresh)
        return frozenset(found)

    def parents_first(self, digests: frozenset[Digest]) -> tuple[Digest, ...]:
        """Sort manifests so that a parent or subject comes before its children and referrers."""
        order: list[Digest] = []
        seen: set[Digest] = set()
        for start in sorted(digests):
            if start not in seen:
                order.extend(self._finished(start, digests, seen))
        return tuple(reversed(order))

    def _finished(
        self, start: Digest, within: frozenset[Digest], seen: set[Digest]
    ) -> Iterator[Digest]:
        """Walk depth first, giving each manifest after all that it brings (deep graphs too)."""
        seen.add(start)
        path = [(start, iter(sorted(self.brings(start))))]
        while path:
            digest, rest = path[-1]
            onward = next((each for each in rest if each in within and each not in seen), None)
            if onward is None:
                path.pop()
                yield digest
            else:
                seen.add(onward)
                path.append((onward, iter(sorted(self.brings(onward)))))

    def name(self, digest: Digest) -> str:
        """Name a manifest for people: a tag where it has one, else the digest's beginning."""
        tags = self.tags_of.get(digest, ())
        return str(tags[0]) if tags else f"{digest.algorithm}:{digest.short}"
