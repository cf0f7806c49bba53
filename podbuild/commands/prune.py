"""`podbuild prune`: retention over every repository that the configuration publishes to.

Retention of the layer cache: the repositories of `[cache]`, by when entries were used last.

They are pruned as any repository is, with one rule of their own; a release's repository is none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from podbuild.build.cache.open import NAME, cache_registry, cache_repository, open_cache_store
from podbuild.build.cache.uses import ENTRY, all_uses
from podbuild.commands.cleanup import expected_in
from podbuild.commands.relocate import plan_of
from podbuild.config.image import Image
from podbuild.config.model import CacheSettings, Config, PruneRule
from podbuild.config.template import Placeholders
from podbuild.errors import PodbuildError
from podbuild.oci.delete import Abilities, Inventory, ListedManifest, Removal, Remover
from podbuild.oci.names import Digest, Repository, Tag
from podbuild.oci.store import Store
from podbuild.plan.destination import own_failure
from podbuild.plan.expected import fixed_tags
from podbuild.plan.git.worktree import commit_dates
from podbuild.plan.model import Plan, Request, Target
from podbuild.plan.tags import Owners, Reader, TagKind, kind_of
from podbuild.publish.ledger import Ledger
from podbuild.publish.retention.chart import CleanupTarget
from podbuild.publish.retention.cleanup import (
    CleanupProgress,
    PlannedCleanup,
    apply_plan,
    plan_repository,
    prune_repository,
)
from podbuild.publish.retention.policy import DAY, MOST, Policy, prune_policy
from podbuild.publish.retention.removal import Cleaned
from podbuild.publish.retention.removers import Removers
from podbuild.system.locks import Holder, Purpose, project_lock
from podbuild.workspace import Services


def cache_targets(config: Config, images: tuple[str, ...]) -> Iterator[Target]:
    """Give each repository of the cache once; `images` narrows, empty means all.

    Raises ConfigError for what is no repository.
    """
    seen = set()
    for image in config.images:
        repository = cache_repository(config, image.name)
        if repository is None or repository in seen or (images and image.name not in images):
            continue
        seen.add(repository)
        settings = cache_registry(config, repository)
        yield Target(
            registry=replace(settings, name=f"{NAME}:{repository.host}", required=False),
            image=image.name,
            place=str(repository),
        )


def is_cache(target: Target) -> bool:
    """Tell whether a target is a cache's repository."""
    return target.registry.name.startswith(f"{NAME}:")


def cache_policy(settings: CacheSettings, now: datetime, most: int) -> Policy:
    """Give the retention of a cache: entries outside `keep` that no build used for long."""
    rule = PruneRule(match=ENTRY, keep=settings.keep, older_than=settings.older_than)
    return Policy(now=now, rules=(rule,), leftovers=DAY, most=most)


def cache_place(services: Services, removers: Removers, target: Target) -> CleanupTarget:
    """Open a cache's repository for reading and deleting; raises as Removers.open does."""
    repository = Repository.parse(target.place)
    store = open_cache_store(services.config, services.opener.registries, repository)
    remover = removers.open(cache_registry(services.config, repository), store)
    return CleanupTarget(key=target.key, store=store, remover=UsedRemover(remover, store))


@dataclass(frozen=True)
class UsedRemover:
    """A Remover that dates entries by their last use instead of by when they were pushed.

    What is in no record has no date here, and is kept.
    """

    inner: Remover
    store: Store

    @property
    def referrers(self) -> Callable[[Digest], tuple[Digest, ...]]:
        """Give what the registry's referrers API adds."""
        return self.inner.referrers

    def abilities(self) -> Abilities:
        """Ask what can be deleted."""
        return self.inner.abilities()

    def inventory(self, on_page: Callable[[int], None] = lambda _count: None) -> Inventory:
        """List the repository; entries with the time of their last use."""
        found = self.inner.inventory(on_page)
        tags = [tag for entry in found.entries for tag in entry.tags]
        uses = all_uses(self.store, tags)
        entries = tuple(_dated(entry, uses) for entry in found.entries)
        return replace(found, entries=entries)

    def listed(self) -> frozenset[Tag | Digest]:
        """List the repository again."""
        return self.inner.listed()

    def remove_tag(self, tag: Tag, expected: Digest) -> Removal:
        """Remove one tag."""
        return self.inner.remove_tag(tag, expected)

    def remove_manifest(self, digest: Digest, tags: frozenset[Tag] = frozenset()) -> Removal:
        """Remove a manifest with its tags."""
        return self.inner.remove_manifest(digest, tags)

    def sweep(self) -> None:
        """Remove what only the removed manifests needed."""
        self.inner.sweep()


def _dated(entry: ListedManifest, uses: Mapping[Tag, datetime]) -> ListedManifest:
    if not any(ENTRY.fullmatch(tag.text) for tag in entry.tags):
        return entry
    used = max((uses[tag] for tag in entry.tags if tag in uses), default=None)
    return replace(entry, pushed=used, touched=used)


Group = tuple[Target, ...]  # the images that one repository holds
Hear = Callable[[str], CleanupProgress]


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What became of one repository: its plan, what was done of it, or why it could not be."""

    target: Target
    planned: PlannedCleanup | None = None
    cleaned: Cleaned | None = None
    error: PodbuildError | None = None
    requests: int = 0


@dataclass(frozen=True, kw_only=True)
class Pruner:
    """Plans and prunes the repositories asked for, one at a time, each only once.

    `hear` gives who hears of the progress in a repository.
    """

    services: Services
    request: Request
    most: int = MOST
    hear: Hear = lambda _name: CleanupProgress()
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def plans(self) -> Iterator[Pruned]:
        """Give the plan of each repository; an error of one is in its place."""
        yield from self._each(self._planned)

    def prune(self, plans: Collection[Pruned]) -> tuple[Pruned, ...]:
        """Carry out these plans; one whose repository has changed since is made again.

        No release of this project runs on this machine meanwhile, and no other prune.
        """
        me = Holder(work=Purpose.OTHER, name="prune", pid=os.getpid())
        services = self.services
        with project_lock(
            services.folders,
            services.config.root,
            me,
            cancel=services.cancel,
            on_wait=lambda other: services.ui.info(f"waiting for {other or 'another podbuild'}"),
        ):
            return tuple(self._prune(plans))

    def _prune(self, plans: Collection[Pruned]) -> Iterator[Pruned]:
        known = {each.target.key: each.planned for each in plans if each.planned}

        def carry_out(group: Group, place: CleanupTarget, policy: Policy) -> Pruned:
            return self._carried_out(group, place, policy, known[group[0].key])

        yield from self._each(carry_out, frozenset(known))

    def _each(
        self,
        act: Callable[[Group, CleanupTarget, Policy], Pruned],
        only: frozenset[str] | None = None,
    ) -> Iterator[Pruned]:
        services = self.services
        plan = plan_of(services, Request(registries=self.request.registries))
        removers = Removers(services.opener.registries)
        asked = self.request
        caches = () if asked.registries else cache_targets(services.config, asked.images)
        groups = filter(self._is_wanted, _by_place(plan))
        for group in (*groups, *((target,) for target in caches)):
            target = group[0]
            if only is not None and target.key not in only:
                continue
            before = removers.requests
            try:
                done = act(group, self._place(removers, group), self._policy(plan, group))
            except PodbuildError as error:
                done = Pruned(target=target, error=own_failure(error, services.cancel))
            yield replace(done, requests=removers.requests - before)
        removers.close()

    def _is_wanted(self, group: Group) -> bool:
        """Tell whether any image of a repository is asked for: its tags have no other owners."""
        images = self.request.images
        return not images or any(target.image in images for target in group)

    def _place(self, removers: Removers, group: Group) -> CleanupTarget:
        target = group[0]
        if is_cache(target):
            return cache_place(self.services, removers, target)
        store = self.services.opener.open(target.registry, target.place)
        return CleanupTarget(
            key=target.key,
            store=store,
            remover=removers.open(target.registry, store),
            expected=expected_in(self.services, group),
        )

    def _planned(self, group: Group, place: CleanupTarget, policy: Policy) -> Pruned:
        hears = self.hear(place.store.name)
        found = plan_repository(place, policy, hears, self._dates)
        return Pruned(target=group[0], planned=found)

    def _carried_out(
        self, group: Group, place: CleanupTarget, policy: Policy, planned: PlannedCleanup
    ) -> Pruned:
        hears = self.hear(place.store.name)
        cleaned = apply_plan(planned, self.services.cancel, hears)
        if cleaned is None:
            planned, cleaned = prune_repository(
                place, policy, self.services.cancel, hears, self._dates
            )
        finished = {item.digest for item in (*cleaned.removed, *cleaned.gone)}
        forgotten = frozenset(finished & policy.superseded.keys())
        if forgotten:
            self._ledger.forget({target.key: forgotten for target in group})
        return Pruned(target=group[0], planned=planned, cleaned=cleaned)

    def _policy(self, plan: Plan, group: Group) -> Policy:
        """Give the rules with all that the images of one repository say of its tags."""
        config = self.services.config
        if is_cache(group[0]):
            return cache_policy(config.cache, self.now, self.most)
        images = tuple(config.image(target.image) for target in group)
        owner = Owners(
            {each.name: (*plan.image(each.name).readers, *self._moving(each)) for each in images}
        )
        recorded = self._ledger.read()
        superseded = {
            digest: when for t in group for digest, when in recorded.get(t.key, {}).items()
        }
        moving = frozenset(tag for image in images for tag in fixed_tags(config, image))
        return replace(
            prune_policy(config.retention, self.now, moving=moving, superseded=superseded),
            version_of=lambda tag: owner(tag).version,
            range_of=lambda tag: owner(tag).range,
            image_of=lambda tag: owner(tag).image,
            yanked=plan.yanked,
            most=self.most,
        )

    @property
    def _ledger(self) -> Ledger:
        return Ledger.of(self.services.folders, self.services.config.root)

    def _dates(self, revisions: Collection[str]) -> Mapping[str, datetime]:
        return commit_dates(self.services.runner, self.services.config.root, revisions)

    def _moving(self, image: Image) -> Iterator[Reader]:
        """Give the readers of a release's moving tags: `1`, `1.2`, `latest`."""
        config = self.services.config
        values = _values(config, image)
        for template in config.tags_of(image).release:
            if kind_of(template) is TagKind.MOVING:
                yield Reader(template, values)


def _values(config: Config, image: Image) -> Placeholders:
    return Placeholders(
        project=config.project.name,
        image=image.name,
        env=config.env,
        scheme=config.project.scheme,
    )


def _by_place(plan: Plan) -> Iterator[Group]:
    """Several images may share a repository: it is pruned once, with the tags of them all."""
    groups: dict[str, list[Target]] = {}
    for target in plan.targets:
        groups.setdefault(target.place, []).append(target)
    return (tuple(group) for group in groups.values())
