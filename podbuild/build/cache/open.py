"""The layer cache of one command: which repository holds what, opened once, filled until the end.

Engines only ever meet staging, with a repository for each image and platform; podbuild itself
talks to the registry, with its own logins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from podbuild.build.cache.job import JobCache
from podbuild.build.cache.mounts import mounts_tag
from podbuild.build.cache.remote import (
    CachedRepository,
    CacheRemote,
    Tellers,
    cached_name,
    close_all,
)
from podbuild.build.cache.uses import record_tag
from podbuild.build.inputs.recipe import Recipe
from podbuild.build.staging.area import repository_name
from podbuild.build.staging.server import StagingRegistry
from podbuild.config.model import Config, Registry
from podbuild.config.template import Placeholders, Template
from podbuild.errors import CredentialError, PodbuildError
from podbuild.oci import kinds
from podbuild.oci.auth.credentials import token_variables
from podbuild.oci.names import Repository
from podbuild.oci.registries import Registries
from podbuild.oci.store import Store
from podbuild.plan.model import Job
from podbuild.workspace import Services, endpoint_of

NAME = "cache"  # of its registry, where none is configured for its host
_AT_ONCE = 8  # repositories that are asked at the same time


def cache_repository(config: Config, image: str) -> Repository | None:
    """Give where the cache of an image is; None where none is configured.

    Raises ConfigError for a variable that is not set and for what is no repository.
    """
    template = config.cache.repository
    if template is None:
        return None
    values = Placeholders(project=config.project.name, image=image, env=config.env)
    return Repository.parse(template.expand(values).lower())


def by_host(config: Config) -> Mapping[str, Registry]:
    """Give the first configured registry of each host: what it says of its host holds for all."""
    found: dict[str, Registry] = {}
    for each in config.registries:
        if each.host:
            found.setdefault(each.host, each)
    return found


def open_cache_store(config: Config, registries: Registries, repository: Repository) -> Store:
    """Open a cache's repository, with the settings and login of a configured registry there.

    Raises CredentialError (a login that can't be read), ConfigError (a bad CA file).
    """
    settings = cache_registry(config, repository)
    return registries.open(repository, endpoint_of(settings, repository), settings.name)


def cache_registry(config: Config, repository: Repository) -> Registry:
    """Give how a cache's host is reached: as a configured registry there, else as is usual.

    Where none is, PODBUILD_CACHE_TOKEN is its login, unless a registry has that name.
    """
    known = by_host(config).get(repository.host)
    if known:
        return known
    login = token_variables(NAME)
    taken = any(token_variables(each.name) == login for each in config.registries)
    return Registry(
        name="" if taken else NAME,
        kind=kinds.kind_of(repository.host),
        repository=Template(str(repository)),
    )


@contextmanager
def open_caches(
    services: Services, staging: StagingRegistry, recipes: Iterable[Recipe], engine: str
) -> Iterator[Mapping[Job, JobCache]]:
    """Give each job's cache while the block runs; its end waits for what is being uploaded.

    `engine` is the engine's identity. Raises ConfigError where the configuration names no
    repository; a registry that fails is only told.
    """
    wanted = [
        (recipe, repository)
        for recipe in recipes
        if recipe.layers and (repository := cache_repository(services.config, recipe.job.image))
    ]
    registries = services.opener.registries.impatient()
    remotes = _open_remotes(services, registries, {repository for _, repository in wanted})
    caches = {
        recipe.job: _job_cache(staging, remotes[repository], recipe.job, _prefix(recipe, engine))
        for recipe, repository in wanted
        if repository in remotes and (remotes[repository].reads or remotes[repository].writes)
    }
    if services.config.cache.mounts:
        caches = {job: _with_mounts(job, cache) for job, cache in caches.items()}
    try:
        yield caches
    finally:
        now = datetime.now(UTC)
        for job, cache in caches.items():
            if cache.cached.used:
                cache.cached.close(record_tag(job.image, job.platform.slug), now)
        if any(remote.busy for remote in remotes.values()):
            services.ui.info("uploads the rest to the layer cache")
        close_all(remotes.values())
        registries.close()


def _open_remotes(
    services: Services, registries: Registries, repositories: Collection[Repository]
) -> Mapping[Repository, CacheRemote]:
    tellers = {each.host: _once(services) for each in repositories}
    found = {
        repository: remote
        for repository in sorted(repositories)
        if (remote := _remote(services, registries, repository, tellers[repository.host]))
    }
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="layer-cache") as pool:
        for opened in [pool.submit(remote.open) for remote in found.values()]:
            opened.result()
    return found


def _remote(
    services: Services, registries: Registries, repository: Repository, tellers: Tellers
) -> CacheRemote | None:
    """Give a cache's repository; without a login where the one that is asked for is missing."""
    config, writes = services.config, services.config.cache.write
    try:
        try:
            store = open_cache_store(config, registries, repository)
        except CredentialError as error:  # jobs for pull requests from forks get no secrets
            tellers.note(f"the layer cache is only read: {error.message}")
            store, writes = open_cache_store(config, registries.anonymous(), repository), False
    except PodbuildError as error:
        tellers.warn(f"built without the layer cache: {error.message}")
        return None
    return CacheRemote(store, tellers, services.cancel, reads=config.cache.read, writes=writes)


def _once(services: Services) -> Tellers:
    """Give who tells of one host: once is enough, however many repositories it has."""
    told: set[str] = set()

    def tell(say: Callable[[str], None], kind: str) -> Callable[[str], None]:
        def once(text: str) -> None:
            if kind not in told:
                told.add(kind)
                say(text)

        return once

    return Tellers(note=tell(services.ui.note, "note"), warn=tell(services.ui.warn, "warn"))


def _with_mounts(job: Job, cache: JobCache) -> JobCache:
    return replace(cache, mounts=mounts_tag(job.image, job.platform.slug))


def _job_cache(staging: StagingRegistry, remote: CacheRemote, job: Job, prefix: str) -> JobCache:
    name = cached_name(repository_name(job.image), job.platform.slug)
    cached = CachedRepository(remote=remote, prefix=prefix, local=staging.staging.repository(name))
    staging.staging.back(name, cached)
    return JobCache(
        reference=f"{staging.login.host}/{name}",
        cached=cached,
        reads=remote.reads,
        writes=remote.writes,
    )


def _prefix(recipe: Recipe, engine: str) -> str:
    """Give what stands before an engine's keys: layers of other engines are others (design §6)."""
    made = hashlib.sha256(f"{engine} {recipe.compression} docker".encode()).hexdigest()[:8]
    return f"{recipe.job.platform.slug}-{made}-"
