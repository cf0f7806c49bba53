"""Retention of the layer cache: the repositories of `[cache]`, by when entries were used last.

They are pruned as any repository is, with one rule of their own; a release's repository is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from podbuild.config import Config
from podbuild.config.model import CacheSettings, PruneRule
from podbuild.layer_cache import NAME, cache_registry, cache_repository, open_cache_store
from podbuild.model import Digest, Repository, Tag
from podbuild.plan import Target
from podbuild.retention import Policy
from podbuild.retention.policy import DAY
from podbuild.services import Services
from podbuild.steps.chart import Place
from podbuild.store import Abilities, Entry, Inventory, Removal, Remover, Store
from podbuild.store.cache_use import ENTRY, all_uses
from podbuild.store.removers import Removers


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


def cache_place(services: Services, removers: Removers, target: Target) -> Place:
    """Open a cache's repository for reading and deleting; raises as Removers.open does."""
    repository = Repository.parse(target.place)
    store = open_cache_store(services.config, services.opener.registries, repository)
    remover = removers.open(cache_registry(services.config, repository), store)
    return Place(key=target.key, store=store, remover=UsedRemover(remover, store))


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


def _dated(entry: Entry, uses: Mapping[Tag, datetime]) -> Entry:
    if not any(ENTRY.fullmatch(tag.text) for tag in entry.tags):
        return entry
    used = max((uses[tag] for tag in entry.tags if tag in uses), default=None)
    return replace(entry, pushed=used, touched=used)
