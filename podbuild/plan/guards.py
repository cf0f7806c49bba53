"""Whether a tag may move: decided once, over all required registries together.

Version tags are immutable, moving tags never go backwards (design, invariants 4 and 5).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field
from enum import StrEnum

from podbuild.oci.names import Digest, Platform, Tag
from podbuild.plan.tags import NamedTag, Range
from podbuild.semver import Version
from podbuild.system.later import dataclass


class Decision(StrEnum):
    """What becomes of a tag on one registry."""

    CREATE = "create"
    MOVE = "move"
    ADOPT = "adopt"  # it is this release's result already
    KEEP = "keep"  # it names this release's image already
    SKIP = "skip"  # a guard holds it back, which is no failure
    REFUSE = "refuse"  # it must not change, and the release can't go on
    UNKNOWN = "unknown"  # the registry was not asked

    @property
    def writes(self) -> bool:
        """Tell whether the tag is to be written."""
        return self in (Decision.CREATE, Decision.MOVE, Decision.UNKNOWN)

    @property
    def is_wanted(self) -> bool:
        """Tell whether the tag is to name this release's image in the end."""
        return self.writes or self in (Decision.ADOPT, Decision.KEEP)


class Ancestry(StrEnum):
    """How the commit that a tag names stands to the commit that is being published."""

    ANCESTOR = "ancestor"  # or the same commit
    NOT_ANCESTOR = "not an ancestor"
    GONE = "gone"  # no longer in the remote branch: a force-push
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """A decision and its reason; `warn` where people must hear of it."""

    decision: Decision
    reason: str
    warn: bool = False


@dataclass(frozen=True, kw_only=True)
class RemoteTag:
    """What a registry holds under a tag, as far as it says.

    `revision` stands on the index, else in a child's config; `fingerprint` is that of the
    configuration, which podbuild writes on what it publishes.
    """

    tag: Tag
    digest: Digest
    revision: str = ""
    version: Version | None = None
    fingerprint: str = ""
    platforms: frozenset[Platform] = frozenset()
    dirty: bool = False  # it carries the mark of a work tree with changes
    sources: Mapping[Platform, str] = field(default_factory=dict, hash=False)  # source hashes
    children: frozenset[Digest] = frozenset()
    signed: bool = False  # an accepted signature is about it; nobody asks where none is configured


@dataclass(frozen=True, kw_only=True)
class ReleaseIdentity:
    """What this release would put under a version tag."""

    commit: str  # empty where there is no git repository
    fingerprint: str  # of the configuration
    platforms: frozenset[Platform]
    clean: bool
    sources: Mapping[Platform, frozenset[str]] = field(  # that count as the same, where compared
        default_factory=dict, hash=False
    )
    doubts: str = ""  # what of its files no commit holds, for people

    def difference(self, remote: RemoteTag) -> str:
        """Say why what is there is not this result; empty where it is."""
        there = ", ".join(sorted(map(str, remote.platforms)))
        odd = ", ".join(
            sorted(
                str(each)
                for each, hashes in self.sources.items()
                if remote.sources.get(each, "") not in hashes
            )
        )
        differences = (
            (not self.commit, "there is no commit here to compare it with"),
            (not self.clean, "the work tree has changes that no commit holds"),
            (not (remote.revision and remote.fingerprint), "it does not say what it was made from"),
            (remote.dirty, "it was made from a work tree with changes that no commit holds"),
            (remote.revision != self.commit, f"it was made from commit {remote.revision[:12]}"),
            (remote.fingerprint != self.fingerprint, "it was made with another configuration"),
            (remote.platforms != self.platforms, f"it has other platforms ({there})"),
            (bool(odd), f"its files for {odd} are not those of this tree{self.doubts}"),
        )
        return next((reason for differs, reason in differences if differs), "")


@dataclass(frozen=True, kw_only=True)
class Located:
    """What one registry says of one tag; None where it has none. `required` as configured."""

    registry: str
    required: bool
    remote: RemoteTag | None


def immutable_guard(
    found: Sequence[Located], result: ReleaseIdentity, *, overwrite: bool
) -> tuple[Digest | None, Mapping[str, Verdict]]:
    """Decide an immutable tag: give the digest to adopt, if any, and a verdict by registry.

    The first required registry that holds this release's result wins, what is signed before all
    others. `overwrite` is --allow-overwrite.
    """
    matching = [
        each.remote
        for each in sorted(found, key=lambda each: not each.required)
        if each.remote and not result.difference(each.remote)
    ]
    matching.sort(key=lambda remote: not remote.signed)
    adopted = matching[0].digest if matching else None
    return adopted, {
        each.registry: _version_tag(each, result, adopted, overwrite) for each in found
    }


def _version_tag(
    found: Located, result: ReleaseIdentity, adopted: Digest | None, overwrite: bool
) -> Verdict:
    remote = found.remote
    if remote is None:
        return Verdict(Decision.CREATE, "it does not exist yet")
    difference = result.difference(remote)
    if not difference and remote.digest == adopted:
        return Verdict(Decision.ADOPT, "it is the result of this commit and configuration")
    if not difference:
        return Verdict(Decision.MOVE, "another registry's result of this commit is used", warn=True)
    if overwrite:
        return Verdict(Decision.MOVE, f"overwritten as asked: {difference}", warn=True)
    reason = f"it names {remote.digest.algorithm}:{remote.digest.short} already: {difference}"
    if found.required:
        return Verdict(Decision.REFUSE, reason)
    return Verdict(Decision.SKIP, reason, warn=True)


@dataclass(frozen=True, kw_only=True)
class HeldVersions:
    """What all required registries together hold of one image: its versions, by any tag."""

    versions: frozenset[Version] = field(default_factory=frozenset)
    yanked: frozenset[Version] = field(default_factory=frozenset)

    def highest(self, within: Range) -> Version | None:
        """Give the highest stable version in a range; None where there is none."""
        return max(_stable(self.versions, within, self.yanked), default=None)


def version_guard(named: NamedTag, version: Version, published: HeldVersions) -> Verdict:
    """Decide whether a moving tag of releases may go to this version.

    >>> from podbuild.plan.tags import TagKind
    >>> from podbuild.config.template import Template
    >>> named = NamedTag(tag=Tag("latest"), kind=TagKind.MOVING, template=Template("latest"))
    >>> out = HeldVersions(versions=frozenset({Version(2, 0, 0)}))
    >>> version_guard(named, Version(1, 9, 1), out).decision
    <Decision.SKIP: 'skip'>
    """
    highest = published.highest(Range.of(named.template, version))
    if highest is None:
        return Verdict(Decision.MOVE, "there is no other version yet")
    if version < highest:
        return Verdict(Decision.SKIP, f"{highest} is out already")
    return Verdict(Decision.MOVE, f"{version} is at least as high as {highest}")


def _stable(
    versions: Iterable[Version], within: Range, yanked: Collection[Version]
) -> list[Version]:
    return [
        version
        for version in versions
        if version.is_stable and within.holds(version) and version not in yanked
    ]


def rollback_target(within: Range, present: Version, held: HeldVersions) -> Version | None:
    """Give the highest stable version below the present one in its range.

    `held` must have only what all required registries hold. None: the tag stays.
    """
    below = [each for each in _stable(held.versions, within, held.yanked) if each < present]
    return max(below, default=None)


def branch_guard(revision: str, commit: str, ancestry: Ancestry) -> Verdict:
    """Decide whether a branch's tag may go from the commit `revision` to `commit`.

    `revision` is empty where the present target does not tell it.
    """
    if not revision:
        return Verdict(Decision.MOVE, "what it names does not tell its commit", warn=True)
    if revision == commit:
        return Verdict(Decision.MOVE, "it names this commit already")
    short = revision[:12]
    match ancestry:
        case Ancestry.ANCESTOR:
            return Verdict(Decision.MOVE, f"{short} is older than this commit")
        case Ancestry.NOT_ANCESTOR:
            return Verdict(Decision.SKIP, f"{short} is not older than this commit")
        case Ancestry.GONE:
            return Verdict(Decision.MOVE, f"{short} is no longer in the branch", warn=True)
        case Ancestry.UNKNOWN:
            return Verdict(
                Decision.SKIP,
                f"whether {short} is older than this commit can't be known",
                warn=True,
            )


def sha_guard(revision: str, commit: str) -> Verdict:
    """Decide whether a commit's tag may be replaced: only by a build of the same commit."""
    if not revision:
        return Verdict(Decision.MOVE, "what it names does not tell its commit", warn=True)
    if revision == commit:
        return Verdict(Decision.MOVE, "it names this commit already")
    return Verdict(Decision.SKIP, f"it names another commit, {revision[:12]}", warn=True)
