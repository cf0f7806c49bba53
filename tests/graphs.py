"""Random repositories for tests of cleanup: indexes nested and shared, attestations, referrers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from podbuild.oci.names import Digest, Tag
from podbuild.publish.retention.graph import Graph, Node

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
SUFFIXES = ("", ".sig", ".att", ".sbom")


def digest_of(name: object) -> Digest:
    """Give a digest that is always the same for one name."""
    return Digest.of(str(name).encode())


def ago(**span: float) -> datetime:
    """Give the instant so long before NOW."""
    return NOW - timedelta(**span)


def attached(subject: Digest, suffix: str = "") -> Tag:
    """Give the tag that is attached to a manifest."""
    return Tag(f"sha256-{subject.hex}{suffix}")


def graph_of(
    tags: dict[str, str],
    links: dict[str, tuple[str, ...]] | None = None,
    *,
    subjects: dict[str, str] | None = None,
    pushed: dict[str, datetime] | None = None,
    attachments: dict[str, str] | None = None,
    untagged: tuple[str, ...] = (),
    missing: tuple[str, ...] = (),
    revisions: dict[str, str] | None = None,
) -> Graph:
    """Make a graph from names: `tags` name manifests, `links` parents their children."""
    links, subjects, revisions = links or {}, subjects or {}, revisions or {}
    attachments = attachments or {}
    names = {*tags.values(), *links, *subjects, *untagged, *attachments.values()}
    names |= {child for children in links.values() for child in children}
    nodes = {
        digest_of(name): Node(
            digest=digest_of(name),
            children=tuple(map(digest_of, links.get(name, ()))),
            subject=digest_of(subjects[name]) if name in subjects else None,
            revision=revisions.get(name, ""),
        )
        for name in names - set(missing)
    }
    return Graph(
        tags={Tag(tag): digest_of(name) for tag, name in tags.items()}
        | {
            attached(digest_of(subject), ".sig"): digest_of(name)
            for subject, name in attachments.items()
        },
        nodes=nodes,
        missing=frozenset(map(digest_of, missing)),
        pushed={digest_of(name): time for name, time in (pushed or {}).items()},
    )


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Give a repository as people and tools really leave them.

    Nothing refers to what lies below itself: parents go before children and subjects before their
    referrers, which no order could then do.
    """
    count = draw(st.integers(1, 14))
    digests = [digest_of(number) for number in range(count)]
    nodes: dict[Digest, Node] = {}
    later: dict[Digest, set[Digest]] = {}  # what goes after each manifest
    for number, digest in enumerate(digests):
        below = digests[:number]  # content addressing: what is named exists first
        children = draw(st.lists(st.sampled_from(below), max_size=3, unique=True)) if below else []
        later[digest] = set(children)
        free = [each for each in below if each not in _after(digest, later)]
        subject = draw(st.none() | st.sampled_from(free)) if free else None
        if subject:
            later[subject].add(digest)
        nodes[digest] = Node(digest=digest, children=tuple(children), subject=subject)
    names = draw(st.lists(st.sampled_from(_TAGS), max_size=10, unique=True))
    tags = {Tag(name): draw(st.sampled_from(digests)) for name in names}
    for _ in range(draw(st.integers(0, 3))):
        subject = draw(st.sampled_from(digests))
        named = draw(st.sampled_from(digests))
        if subject not in _after(named, later):
            tags[attached(subject, draw(st.sampled_from(SUFFIXES)))] = named
            later[subject].add(named)
    times = st.integers(-48, 24 * 60).map(lambda hours: ago(hours=hours))
    pushed = {digest: time for digest in digests if (time := draw(st.none() | times))}
    return Graph(tags=tags, nodes=nodes, pushed=pushed)


def _after(digest: Digest, later: Mapping[Digest, set[Digest]]) -> frozenset[Digest]:
    found, waiting = {digest}, [digest]
    while waiting:
        fresh = later[waiting.pop()] - found
        found |= fresh
        waiting.extend(fresh)
    return frozenset(found)


_TAGS = [
    "latest",
    "edge",
    "1.0.0",
    "1.0.1",
    "1.1.0-rc.1",
    "2.0.0",
    *(f"sha-{number:07x}" for number in range(8)),
]
