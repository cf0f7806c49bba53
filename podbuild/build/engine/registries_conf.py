"""registries.conf: what the user's own says, plus mirrors, insecure registries and staging.

containers-registries.conf(5), version 2.

Read the user's registries.conf and its drop-ins, versions 1 and 2, in the engines' order.

The user's own configuration files, as text.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from podbuild.errors import ConfigError
from podbuild.oci.names import DOCKER_HUB, Repository, is_registry


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """Another place that serves the same repositories."""

    location: str
    insecure: bool = False
    pull_from: str = ""  # "all", "digest-only" or "tag-only"; empty is the engines' default


@dataclass(frozen=True, kw_only=True)
class RegistryEntry:
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
    entries: tuple[RegistryEntry, ...] = ()
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
        entry = max(
            fitting, key=lambda found: len(found.prefix), default=RegistryEntry(prefix=name)
        )
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
        entry = by_prefix.get(prefix, RegistryEntry(prefix=prefix, location=prefix))
        own = tuple(
            Mirror(location=place, insecure=place.partition("/")[0] in plain) for place in places
        )
        by_prefix[prefix] = replace(entry, mirrors=(*own, *entry.mirrors))
    for host in insecure:
        entry = by_prefix.get(host, RegistryEntry(prefix=host, location=host))
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


def read_setting(file: Path) -> str:
    """Give a file's text; raises ConfigError naming one that can't be read."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        reason = "not UTF-8"
    except OSError as error:
        reason = error.strerror or str(error)
    raise ConfigError(f"{file}: can't be read: {reason}", hint="correct the file, or move it away")


def read_registries_conf(text: str, *, where: str) -> RegistriesConf:
    """Read a registries.conf or a drop-in; raises ConfigError naming the file."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: {error}", hint="see man containers-registries.conf") from None
    if isinstance(table.get("registries"), dict):
        return _version_1(table["registries"])
    return RegistriesConf(
        search=_texts(table.get("unqualified-search-registries")),
        entries=tuple(_entries(table.get("registry"))),
        aliases=_text_map(table.get("aliases")),
        short_names=_text(table.get("short-name-mode")),
        helpers=_texts(table.get("credential-helpers")),
    )


def user_registries_conf(
    environment: Mapping[str, str], system: Path = Path("/etc")
) -> RegistriesConf:
    """Give what the user's configuration resolves to, in containers/image's order.

    `system` is where the machine's configuration is. Raises ConfigError for a broken file.
    """
    named = environment.get("CONTAINERS_REGISTRIES_CONF") or environment.get(
        "REGISTRIES_CONFIG_PATH"
    )
    home = environment.get("XDG_CONFIG_HOME") or (
        f"{environment['HOME']}/.config" if environment.get("HOME") else ""
    )
    machine, user = system / "containers", Path(home or "/nonexistent") / "containers"
    if named:
        files = [Path(named)]
    elif (user / "registries.conf").exists():
        files = [user / "registries.conf", *_drop_ins(user)]
    else:
        files = [machine / "registries.conf", *_drop_ins(machine), *_drop_ins(user)]
    found = RegistriesConf()
    for file in files:
        if file.is_file():
            found = _merged(found, read_registries_conf(read_setting(file), where=str(file)))
    return found


def _merged(first: RegistriesConf, second: RegistriesConf) -> RegistriesConf:
    """Let a drop-in win: it replaces entries with the same prefix, and lists that it gives."""
    entries = {entry.prefix: entry for entry in (*first.entries, *second.entries)}
    return RegistriesConf(
        search=second.search or first.search,
        entries=tuple(entries.values()),
        aliases={**first.aliases, **second.aliases},
        short_names=second.short_names or first.short_names,
        helpers=second.helpers or first.helpers,
    )


def _entries(value: object) -> Iterator[RegistryEntry]:
    for table in value if isinstance(value, list) else ():
        if not isinstance(table, dict):
            continue
        location = _text(table.get("location"))
        yield RegistryEntry(
            prefix=_text(table.get("prefix")) or location,
            location=location,
            insecure=table.get("insecure") is True,
            blocked=table.get("blocked") is True,
            digest_mirrors_only=table.get("mirror-by-digest-only") is True,
            mirrors=tuple(_mirrors(table.get("mirror"))),
        )


def _mirrors(value: object) -> Iterator[Mirror]:
    for table in value if isinstance(value, list) else ():
        if isinstance(table, dict):
            yield Mirror(
                location=_text(table.get("location")),
                insecure=table.get("insecure") is True,
                pull_from=_text(table.get("pull-from-mirror")),
            )


def _version_1(tables: Mapping[str, object]) -> RegistriesConf:
    def names(key: str) -> tuple[str, ...]:
        table = tables.get(key)
        return _texts(table.get("registries")) if isinstance(table, dict) else ()

    insecure, blocked = names("insecure"), names("block")
    return RegistriesConf(
        search=names("search"),
        entries=tuple(
            RegistryEntry(
                prefix=name, location=name, insecure=name in insecure, blocked=name in blocked
            )
            for name in dict.fromkeys((*insecure, *blocked))
        ),
    )


def _drop_ins(folder: Path) -> list[Path]:
    return sorted((folder / "registries.conf.d").glob("*.conf"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(filter(None, map(_text, value))) if isinstance(value, list) else ()


def _text_map(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        return {}
    return {name: text for name, text in value.items() if isinstance(text, str)}
