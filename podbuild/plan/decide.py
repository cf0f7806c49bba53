"""What the registries' answers decide: which tags are adopted, moved, skipped or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from podbuild.oci.names import Digest, Tag
from podbuild.plan.guards import (
    Ancestry,
    Decision,
    HeldVersions,
    Located,
    RemoteTag,
    Verdict,
    branch_guard,
    immutable_guard,
    sha_guard,
    version_guard,
)
from podbuild.plan.journal import TagKey
from podbuild.plan.make import with_jobs
from podbuild.plan.model import Plan, PlannedImage, TagMove, Target, by_image
from podbuild.plan.tags import NamedTag, TagKind, is_own_tag, owned_versions
from podbuild.semver import Version
from podbuild.system.later import dataclass


@dataclass(frozen=True, kw_only=True)
class Held:
    """What one target holds: all its tags, and what those that the plan writes say."""

    tags: tuple[Tag, ...] = ()
    found: Mapping[Tag, RemoteTag] = field(default_factory=dict)


def decide_tags(
    plan: Plan, facts: Mapping[str, Held], ancestry: Mapping[str, Ancestry] | None = None
) -> Plan:
    """Give the plan with every tag decided.

    `facts` are by `Target.key`; a target without an entry could not be asked, and its tags stay
    unknown. What registries beside the plan hold counts as if they were asked for.
    `ancestry` tells how revisions that branch tags name stand to this commit.
    """
    mine, beside = by_image(plan.targets), by_image(plan.beside)
    decided: dict[str, Target] = {}
    images = []
    for image in plan.images:
        adopted = image.adopted
        if image.published:
            places = _Places(
                own=mine.get(image.name, ()), beside=beside.get(image.name, ()), facts=facts
            )
            verdicts, adopted = _decide_image(plan, image, places, ancestry or {})
            decided |= {
                each.key: _unmoved(_decided(each, verdicts), facts[each.key], adopted)
                for each in places.own
                if each.key in facts
            }
        images.append(replace(image, adopted=adopted))
    targets = tuple(decided.get(target.key, target) for target in plan.targets)
    return with_jobs(replace(plan, targets=targets, images=tuple(images)))


@dataclass(frozen=True, kw_only=True)
class _Places:
    """Where one image goes, by the plan and beside it, and what was found there."""

    own: tuple[Target, ...]
    beside: tuple[Target, ...]
    facts: Mapping[str, Held]

    @property
    def asked(self) -> tuple[Target, ...]:
        return tuple(target for target in (*self.own, *self.beside) if target.key in self.facts)


def _decide_image(
    plan: Plan, image: PlannedImage, places: _Places, ancestry: Mapping[str, Ancestry]
) -> tuple[Mapping[tuple[str, Tag], Verdict], Digest | None]:
    """Decide each tag once, over all registries of the image together; give what is adopted too."""
    verdicts: dict[tuple[str, Tag], Verdict] = {}
    adopted: Digest | None = None
    asked, facts = places.asked, places.facts
    for named in {move.named: None for target in places.own for move in target.tags}:
        located = [_located(target, named.tag, facts) for target in asked]
        if named.kind is TagKind.VERSION:
            digest, found = immutable_guard(
                located, plan.result(image.name), overwrite=plan.request.overwrite
            )
            adopted = adopted or digest
        elif named.kind is TagKind.SHA:
            found = {each.registry: _sha_verdict(plan, each) for each in located}
        elif plan.version is None:
            found = _together(located, [_branch_verdict(plan, each, ancestry) for each in located])
        else:
            verdict = _release_verdict(plan, image, named, asked, facts)
            found = {
                each.registry: _existing(each, _own_tag(image, each) or verdict) for each in located
            }
        verdicts |= {(registry, named.tag): verdict for registry, verdict in found.items()}
    return verdicts, adopted


def _located(target: Target, tag: Tag, facts: Mapping[str, Held]) -> Located:
    return Located(
        registry=target.registry.name,
        required=target.registry.required,
        remote=facts[target.key].found.get(tag),
    )


def _decided(target: Target, verdicts: Mapping[tuple[str, Tag], Verdict]) -> Target:
    moves = tuple(
        TagMove(named=move.named, verdict=verdicts[target.registry.name, move.named.tag])
        for move in target.tags
    )
    return replace(target, tags=moves)


def _unmoved(target: Target, held: Held, adopted: Digest | None) -> Target:
    """Say of tags that may move and name what is adopted that they are in place."""
    there = Verdict(Decision.KEEP, "it names this release's image already")

    def judged(move: TagMove) -> TagMove:
        remote = held.found.get(move.named.tag)
        is_there = remote is not None and remote.digest == adopted
        return replace(move, verdict=there) if is_there and _may_move(move) else move

    return replace(target, tags=tuple(map(judged, target.tags)))


def _may_move(move: TagMove) -> bool:
    return move.decision is Decision.MOVE and move.kind is not TagKind.VERSION


def _own_tag(image: PlannedImage, found: Located) -> Verdict | None:
    """Keep a moving tag from the tag of a version: `24.04` of 24.04.1 from that of 24.04."""
    remote = found.remote
    if remote is None or not is_own_tag(remote.tag, remote.version, image.readers):
        return None
    return Verdict(Decision.SKIP, f"it is the tag of version {remote.version}", warn=True)


def _existing(found: Located, verdict: Verdict) -> Verdict:
    """Say `create` where a tag that may move does not exist yet."""
    if found.remote is None and verdict.decision is Decision.MOVE:
        return replace(verdict, decision=Decision.CREATE)
    return verdict


def _release_verdict(
    plan: Plan,
    image: PlannedImage,
    named: NamedTag,
    targets: tuple[Target, ...],
    facts: Mapping[str, Held],
) -> Verdict:
    if plan.version is None or plan.request.backwards:
        return Verdict(Decision.MOVE, "--allow-backwards", warn=True)
    return version_guard(named, plan.version, published(plan, image, targets, facts))


def published(
    plan: Plan,
    image: PlannedImage,
    targets: tuple[Target, ...],
    facts: Mapping[str, Held],
) -> HeldVersions:
    """Give the versions of an image that its required registries hold, all together.

    Where all of its registries are optional, they count.
    """
    counted = [target for target in targets if target.registry.required] or targets
    beside = plan.readers_beside(image.name)
    versions = set()
    for target in counted:
        held = facts[target.key]
        versions |= {*owned_versions(held.tags, image.readers, beside).values()}
        versions |= {remote.version for remote in held.found.values() if remote.version}
    return HeldVersions(versions=frozenset(versions), yanked=plan.yanked)


def _branch_verdict(plan: Plan, found: Located, ancestry: Mapping[str, Ancestry]) -> Verdict:
    if found.remote is None:
        return Verdict(Decision.CREATE, "it does not exist yet")
    if plan.request.backwards:
        return Verdict(Decision.MOVE, "--allow-backwards", warn=True)
    if plan.source.pr:  # CI systems build merges that are made anew each time
        return Verdict(Decision.MOVE, f"it is pull request {plan.source.pr}'s")
    revision = found.remote.revision
    return branch_guard(revision, plan.source.commit, ancestry.get(revision, Ancestry.UNKNOWN))


def _together(located: list[Located], verdicts: list[Verdict]) -> Mapping[str, Verdict]:
    """Move the tag nowhere when one required registry has a newer commit."""
    by_registry = {each.registry: verdict for each, verdict in zip(located, verdicts, strict=True)}
    counted = {each.registry for each in located if each.required} or by_registry.keys()
    held_back = [
        verdict
        for registry, verdict in by_registry.items()
        if registry in counted and verdict.decision is Decision.SKIP
    ]
    return dict.fromkeys(by_registry, held_back[0]) if held_back else by_registry


def _sha_verdict(plan: Plan, found: Located) -> Verdict:
    if found.remote is None:
        return Verdict(Decision.CREATE, "it does not exist yet")
    return sha_guard(found.remote.revision, plan.source.commit)


def named_revisions(plan: Plan, facts: Mapping[str, Held]) -> frozenset[str]:
    """Give the commits that a branch's tags name now; of a version none, as it needs no history."""
    if plan.version is not None:
        return frozenset()
    named = (
        facts[target.key].found.get(move.named.tag)
        for target in (*plan.targets, *plan.beside)
        if target.key in facts
        for move in target.tags
        if move.kind is TagKind.MOVING
    )
    return frozenset(remote.revision for remote in named if remote and remote.revision)


def replaced_tags(plan: Plan, facts: Mapping[str, Held]) -> Mapping[TagKey, Digest]:
    """Give what each tag that moves names now."""
    return {
        TagKey(target.key, move.named.tag): remote.digest
        for target in plan.targets
        if target.key in facts
        for move in target.tags
        if move.decision is Decision.MOVE
        and (remote := facts[target.key].found.get(move.named.tag))
    }


def earlier_tags(plan: Plan, facts: Mapping[str, Held]) -> Mapping[str, tuple[Tag, ...]]:
    """Give the tags of each target whose images may have the same inputs, by its key.

    What moves, and the highest versions.
    """
    found = {}
    for target in plan.targets:
        if target.key in facts:
            held = facts[target.key]
            versions = _versions(plan, target, held)
            newest = sorted(versions, key=versions.__getitem__, reverse=True)
            moving = [tag for tag in held.found if tag not in versions]
            found[target.key] = tuple(dict.fromkeys((*moving[:1], *newest[:2], *moving[1:])))
    return found


def tags_before(plan: Plan, facts: Mapping[str, Held]) -> Mapping[str, Tag]:
    """Give the tag of each target that sizes are compared with, by its key.

    For a version the highest stable one below it, else what the branch's tag names now.
    """
    found: dict[str, Tag] = {}
    for target in plan.targets:
        held = facts.get(target.key)
        if held is None:
            continue
        if plan.version is None:
            moving = (move.named.tag for move in target.tags if move.kind is TagKind.MOVING)
            tags = [tag for tag in moving if tag in held.found]
        else:
            every = _versions(plan, target, held)
            below = {tag: at for tag, at in every.items() if _is_before(at, plan)}
            tags = sorted(below, key=below.__getitem__, reverse=True)
        if tags:
            found[target.key] = tags[0]
    return found


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What the plan has read of images that stand at its targets, by `Target.key`."""

    compared: Mapping[str, Digest] = field(default_factory=dict)  # what `tags_before` name
    children: Mapping[str, frozenset[Digest]] = field(default_factory=dict)  # of all tags read


def standing_images(plan: Plan, facts: Mapping[str, Held]) -> Standing:
    """Give what need not be read, or not be asked for twice, as it was read for the plan."""
    children = {
        key: frozenset().union(*(remote.children for remote in held.found.values()))
        for key, held in facts.items()
    }
    return Standing(compared=_digests_before(plan, facts), children=children)


def _digests_before(plan: Plan, facts: Mapping[str, Held]) -> Mapping[str, Digest]:
    found: dict[str, Digest] = {}
    before = tags_before(plan, facts)
    for target in plan.targets:
        tag = before.get(target.key)
        if tag is None:
            continue
        held = facts[target.key]
        version = _versions(plan, target, held).get(tag)
        for remote in held.found.values():
            if remote.tag == tag or (version is not None and remote.version == version):
                found[target.key] = remote.digest
    return found


def _versions(plan: Plan, target: Target, held: Held) -> Mapping[Tag, Version]:
    image = plan.image(target.image)
    return owned_versions(held.tags, image.readers, plan.readers_beside(image.name))


def _is_before(version: Version, plan: Plan) -> bool:
    asked = plan.version
    stable = version.is_stable and version not in plan.yanked
    return stable and asked is not None and version < asked
