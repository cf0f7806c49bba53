"""registries.conf: what the user's own says, plus mirrors, insecure registries and staging.

containers-registries.conf(5), version 2.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from podbuild.errors import ConfigError
from podbuild.model import DOCKER_HUB, Repository, is_registry


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """Another place that serves the same repositories."""

    location: str
    insecure: bool = False
    pull_from: str = ""  # "all", "digest-only" or "tag-only"; empty is the engines' default


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What holds for all repositories under a prefix."""

    prefix: str
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    digest_mirrors_only: bool = False
    mirrors: tuple[Mirror, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RegistriesConf:
    """A registries.conf. `search` are the registries for names without one."""

    search: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    short_names: str = ""  # short-name-mode
    helpers: tuple[str, ...] = ()  # credential-helpers

    def candidates(self, reference: str) -> tuple[str, ...]:
        """Give the full references that a name may mean, without resolving mirrors.

        >>> RegistriesConf(search=("docker.io",)).candidates("alpine:3")
        ('docker.io/library/alpine:3',)
        """
        name, mark, rest = _split(reference)
        host, slash, _ = name.partition("/")
        if slash and is_registry(host):
            return (str(Repository.parse(name)) + mark + rest,)
        if name in self.aliases:
            return (str(Repository.parse(self.aliases[name])) + mark + rest,)
        return tuple(
            str(Repository.parse(f"{registry}/{name}")) + mark + rest
            for registry in self.search or (DOCKER_HUB,)
        )

    def sources(self, repository: Repository) -> tuple[Mirror, ...]:
        """Give the places that serve a repository, mirrors first, with their full locations.

        Raises ConfigError when the user's configuration blocks it.
        """
        name = str(repository)
        fitting = [entry for entry in self.entries if _covers(entry.prefix, name)]
        entry = max(fitting, key=lambda found: len(found.prefix), default=Entry(prefix=name))
        if entry.blocked:
            raise ConfigError(
                f"registries.conf blocks {name}", hint=f"its entry for {entry.prefix} says so"
            )
        below = "" if entry.prefix.startswith("*.") else name.removeprefix(entry.prefix)
        own = Mirror(
            location=(entry.location + below) if entry.location else name, insecure=entry.insecure
        )
        mirrors = (replace(mirror, location=mirror.location + below) for mirror in entry.mirrors)
        return (*mirrors, own)


def with_own(
    conf: RegistriesConf,
    *,
    mirrors: Mapping[str, Sequence[str]],
    insecure: Sequence[str],
) -> RegistriesConf:
    """Add docker.io for short names where nothing is searched, mirrors, insecure registries."""
    by_prefix = {entry.prefix: entry for entry in conf.entries}
    plain = frozenset(insecure)
    for prefix, places in mirrors.items():
        entry = by_prefix.get(prefix, Entry(prefix=prefix, location=prefix))
        own = tuple(
            Mirror(location=place, insecure=place.partition("/")[0] in plain) for place in places
        )
        by_prefix[prefix] = replace(entry, mirrors=(*own, *entry.mirrors))
    for host in insecure:
        entry = by_prefix.get(host, Entry(prefix=host, location=host))
        by_prefix[host] = replace(entry, insecure=True)
    return replace(
        conf,
        search=conf.search or (DOCKER_HUB,),
        entries=tuple(by_prefix[prefix] for prefix in sorted(by_prefix)),
    )


def render(conf: RegistriesConf) -> str:
    """Give the file's text; JSON's strings and arrays are TOML's too."""
    return "\n".join(_lines(conf)) + "\n"


def _lines(conf: RegistriesConf) -> Iterator[str]:
    yield f"unqualified-search-registries = {json.dumps(list(conf.search))}"
    if conf.short_names:
        yield f"short-name-mode = {json.dumps(conf.short_names)}"
    if conf.helpers:
        yield f"credential-helpers = {json.dumps(list(conf.helpers))}"
    for entry in conf.entries:
        yield from _entry_lines(entry)
    if conf.aliases:
        yield "[aliases]"
        for name, value in sorted(conf.aliases.items()):
            yield f"{json.dumps(name)} = {json.dumps(value)}"


def _entry_lines(entry: Entry) -> Iterator[str]:
    yield "[[registry]]"
    yield f"prefix = {json.dumps(entry.prefix)}"
    if entry.location:
        yield f"location = {json.dumps(entry.location)}"
    flags = {
        "insecure": entry.insecure,
        "blocked": entry.blocked,
        "mirror-by-digest-only": entry.digest_mirrors_only,
    }
    yield from (f"{name} = true" for name, given in flags.items() if given)
    for mirror in entry.mirrors:
        yield "[[registry.mirror]]"
        yield f"location = {json.dumps(mirror.location)}"
        if mirror.insecure:
            yield "insecure = true"
        if mirror.pull_from:
            yield f"pull-from-mirror = {json.dumps(mirror.pull_from)}"


def _covers(prefix: str, name: str) -> bool:
    """Tell whether an entry holds for a repository: its own name, what is under it, `*.host`."""
    if prefix.startswith("*."):
        return name.partition("/")[0].endswith(prefix[1:])
    return name == prefix or name.startswith(f"{prefix}/")


def _split(reference: str) -> tuple[str, str, str]:
    """Split a reference before its tag or digest."""
    name, at, digest = reference.partition("@")
    if at:
        return _split(name)[0], at, digest
    head, colon, tag = name.rpartition(":")
    return (head, colon, tag) if colon and "/" not in tag else (name, "", "")
