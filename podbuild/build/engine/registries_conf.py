"""registries.conf: what the user's own says, plus mirrors, insecure registries and staging.

containers-registries.conf(5), version 2.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from podbuild.errors import ConfigError
from podbuild.oci.names import DOCKER_HUB, Repository, is_registry

ALL, DIGEST_ONLY, TAG_ONLY = "all", "digest-only", "tag-only"  # pull-from-mirror


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """Another place that serves the same repositories."""

    location: str
    insecure: bool = False
    pull_from: str = ""  # "all", "digest-only" or "tag-only"; empty is the engines' default

    def serves(self, *, digest: bool) -> bool:
        """Tell whether it may be asked for a digest, or for a tag."""
        return self.pull_from != (TAG_ONLY if digest else DIGEST_ONLY)


@dataclass(frozen=True, kw_only=True)
class RegistryEntry:
    """What holds for all references under a prefix."""

    prefix: str
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    digest_mirrors_only: bool = False
    mirrors: tuple[Mirror, ...] = ()

    def sources(self, reference: str) -> tuple[Mirror, ...]:
        """Give the places for a reference that the prefix covers, mirrors first.

        sysregistriesv2, PullSourcesFromReference: what follows the prefix follows the location.
        """
        digest = "@" in reference
        name = _split(reference)[0]
        rest = name[_covered(self.prefix, reference) :]
        mirrors = tuple(
            replace(mirror, location=mirror.location + rest)
            for mirror in self.mirrors
            if mirror.serves(digest=digest) and (digest or not self.digest_mirrors_only)
        )
        own = self.location + rest if self.location else name
        return (*mirrors, Mirror(location=own, insecure=self.insecure))

    def narrowed(self, prefix: str) -> RegistryEntry:
        """Give what this entry says of a longer prefix, as an entry that others can be added to."""
        rest = prefix[_covered(self.prefix, prefix) :]
        mirrors = tuple(
            replace(
                mirror,
                location=mirror.location + rest,
                pull_from=DIGEST_ONLY if self.digest_mirrors_only else mirror.pull_from,
            )
            for mirror in self.mirrors
        )
        return replace(
            self,
            prefix=prefix,
            location=self.location + rest if self.location else prefix,
            digest_mirrors_only=False,
            mirrors=mirrors,
        )


@dataclass(frozen=True, kw_only=True)
class RegistriesConf:
    """A registries.conf. `search` are the registries for names without one; None: not said."""

    search: tuple[str, ...] | None = None
    entries: tuple[RegistryEntry, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)  # an empty one is none
    short_names: str = ""  # short-name-mode
    helpers: tuple[str, ...] | None = None  # credential-helpers; None: not said

    def candidates(self, reference: str) -> tuple[str, ...]:
        """Give the full references that a name may mean, without resolving mirrors.

        Raises ConfigError where the user wants to be asked which one is meant.

        >>> RegistriesConf(search=("docker.io",)).candidates("alpine:3")
        ('docker.io/library/alpine:3',)
        """
        name, mark, rest = _split(reference)
        host, slash, _ = name.partition("/")
        if slash and is_registry(host):
            return (str(Repository.parse(name)) + mark + rest,)
        if alias := self.aliases.get(name):
            return (str(Repository.parse(alias)) + mark + rest,)
        search = self.search or (DOCKER_HUB,)
        if self.short_names == "enforcing" and len(search) > 1:
            raise ConfigError(
                f"registries.conf does not let {name} be looked for in {', '.join(search)} unasked",
                hint=f"write it with its registry, such as {search[0]}/{name}",
            )
        return tuple(
            str(Repository.parse(f"{registry}/{name}")) + mark + rest for registry in search
        )

    def sources(self, reference: str) -> tuple[Mirror, ...]:
        """Give the places that serve REPOSITORY:TAG or REPOSITORY@DIGEST, mirrors first.

        Their locations are whole repositories. Raises ConfigError when the user's configuration
        blocks it.
        """
        entry = self._entry(reference) or RegistryEntry(prefix=reference)
        if entry.blocked:
            raise ConfigError(
                f"registries.conf blocks {reference}", hint=f"its entry for {entry.prefix} says so"
            )
        return entry.sources(reference)

    def extended(self, prefix: str) -> RegistryEntry:
        """Give the entry for a prefix that something is to be added to."""
        return (self._entry(prefix) or RegistryEntry(prefix=prefix, location=prefix)).narrowed(
            prefix
        )

    def _entry(self, reference: str) -> RegistryEntry | None:
        """Give the entry with the longest prefix; of two that are as long, the first by name."""
        fitting = [entry for entry in self.entries if _covered(entry.prefix, reference) >= 0]
        fitting.sort(key=lambda entry: (-len(entry.prefix), entry.prefix))
        return fitting[0] if fitting else None


def with_own(
    conf: RegistriesConf,
    *,
    mirrors: Mapping[str, Sequence[str]],
    insecure: Sequence[str],
) -> RegistriesConf:
    """Add docker.io for short names where nothing is searched, mirrors, insecure registries.

    A project's mirror comes first for all under its prefix, also where the user has more to say
    of a part of it.
    """
    plain = frozenset(insecure)
    for host in insecure:
        conf = _with(conf, replace(conf.extended(host), insecure=True))
    for prefix, places in mirrors.items():
        own = tuple(
            Mirror(location=place, insecure=place.partition("/")[0] in plain) for place in places
        )
        below = {entry.prefix for entry in conf.entries if entry.prefix.startswith(f"{prefix}/")}
        for each in sorted({prefix, *below}):
            entry = conf.extended(each)
            first = (replace(place, location=place.location + each[len(prefix) :]) for place in own)
            conf = _with(conf, replace(entry, mirrors=(*first, *entry.mirrors)))
    return replace(conf, search=conf.search or (DOCKER_HUB,))


def _with(conf: RegistriesConf, entry: RegistryEntry) -> RegistriesConf:
    by_prefix = {each.prefix: each for each in (*conf.entries, entry)}
    return replace(conf, entries=tuple(by_prefix[prefix] for prefix in sorted(by_prefix)))


def render(conf: RegistriesConf) -> str:
    """Give the file's text; JSON's strings and arrays are TOML's too."""
    return "\n".join(_lines(conf)) + "\n"


def _lines(conf: RegistriesConf) -> Iterator[str]:
    if conf.search is not None:
        yield f"unqualified-search-registries = {json.dumps(list(conf.search))}"
    if conf.short_names:
        yield f"short-name-mode = {json.dumps(conf.short_names)}"
    if conf.helpers is not None:
        yield f"credential-helpers = {json.dumps(list(conf.helpers))}"
    for entry in conf.entries:
        yield from _entry_lines(entry)
    if conf.aliases:
        yield "[aliases]"
        for name, value in sorted(conf.aliases.items()):
            yield f"{json.dumps(name)} = {json.dumps(value)}"


def _entry_lines(entry: RegistryEntry) -> Iterator[str]:
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


def _covered(prefix: str, reference: str) -> int:
    """Give how much of a reference a prefix covers, in characters; -1 where it does not.

    sysregistriesv2, refMatchingPrefix. `*.example.com` is for what is below; a host's entry holds
    for its ports too.

    >>> _covered("example.com", "example.com:5000/web:1"), _covered("*.b.c", "a.b.c:5000/web:1")
    (11, 5)
    """
    end = len(prefix)
    if prefix.startswith("*."):
        at = reference.find(prefix[1:])
        if at < 0 or "/" in reference[:at]:
            return -1
        end = at + len(prefix) - 1
    elif not reference.startswith(prefix):
        return -1
    return end if reference[end : end + 1] in ("", ":", "/", "@") else -1


def _split(reference: str) -> tuple[str, str, str]:
    """Split a reference before its tag or digest."""
    name, at, digest = reference.partition("@")
    if at:
        return _split(name)[0], at, digest
    head, colon, tag = name.rpartition(":")
    return (head, colon, tag) if colon and "/" not in tag else (name, "", "")
