"""Read the user's registries.conf and its drop-ins, versions 1 and 2, in the engines' order."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from podbuild.build.engine.registries_conf import (
    ALL,
    DIGEST_ONLY,
    TAG_ONLY,
    Mirror,
    RegistriesConf,
    RegistryEntry,
)
from podbuild.errors import ConfigError, reason_of


def read_setting(file: Path) -> str:
    """Give a file's text; raises ConfigError naming one that can't be read."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        reason = "not UTF-8"
    except OSError as error:
        reason = reason_of(error)
    raise ConfigError(f"{file}: can't be read: {reason}", hint="correct the file, or move it away")


def read_registries_conf(text: str, *, where: str) -> RegistriesConf:
    """Read a registries.conf or a drop-in.

    Raises ConfigError naming the file, for what engines would refuse too.
    """
    try:
        table = tomllib.loads(text)
        if isinstance(table.get("registries"), dict):
            return _version_1(table["registries"])
        return RegistriesConf(
            search=_listed(table, "unqualified-search-registries"),
            entries=tuple(_entries(table.get("registry"))),
            aliases=_text_map(table.get("aliases")),
            short_names=_text(table.get("short-name-mode")),
            helpers=_listed(table, "credential-helpers"),
        )
    except ValueError as error:  # also tomllib's
        raise ConfigError(f"{where}: {error}", hint="see man containers-registries.conf") from None


def user_registries_conf(
    environment: Mapping[str, str], system: Path = Path("/etc")
) -> RegistriesConf:
    """Give what the user's configuration resolves to, in containers/image's order.

    `system` is where the machine's configuration is. Raises ConfigError for a broken file.
    """
    named = environment.get("CONTAINERS_REGISTRIES_CONF") or environment.get(
        "REGISTRIES_CONFIG_PATH"
    )
    machine, user = system / "containers", _user_folder(environment)
    main, folders = machine / "registries.conf", [machine, user]
    if named:  # drop-ins count beside it
        main = Path(named)
        if not main.exists():
            raise ConfigError(
                f"{named}: no such file", hint="correct CONTAINERS_REGISTRIES_CONF, or unset it"
            )
    elif (user / "registries.conf").exists():
        main, folders = user / "registries.conf", [user]
    found = RegistriesConf()
    for file in (main, *(file for folder in folders for file in _drop_ins(folder))):
        if file.exists() and not file.is_dir():
            found = _merged(found, read_registries_conf(read_setting(file), where=str(file)))
    return replace(found, aliases={**found.aliases, **_recorded_aliases(environment)})


def _user_folder(environment: Mapping[str, str]) -> Path:
    """Give the user's folder: engines look in HOME alone, newer ones in XDG_CONFIG_HOME first."""
    homes = [environment.get("XDG_CONFIG_HOME") or ""]
    if environment.get("HOME"):
        homes.append(f"{environment['HOME']}/.config")
    folders = [Path(home, "containers") for home in homes if home]
    for folder in folders:
        if any((folder / name).exists() for name in ("registries.conf", "registries.conf.d")):
            return folder
    return folders[0] if folders else Path("/nonexistent")


def _recorded_aliases(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Give what this user answered when an engine asked which registry is meant (podman pull)."""
    cache = environment.get("XDG_CACHE_HOME") or (
        f"{environment['HOME']}/.cache" if environment.get("HOME") else "/nonexistent"
    )
    file = Path(cache, "containers", "short-name-aliases.conf")
    if not file.is_file():
        return {}
    return read_registries_conf(read_setting(file), where=str(file)).aliases


def _merged(first: RegistriesConf, second: RegistriesConf) -> RegistriesConf:
    """Let a drop-in win: it replaces entries with the same prefix, and lists that it gives."""
    entries = {entry.prefix: entry for entry in (*first.entries, *second.entries)}
    return RegistriesConf(
        search=first.search if second.search is None else second.search,
        entries=tuple(entries[prefix] for prefix in sorted(entries)),
        aliases={**first.aliases, **second.aliases},
        short_names=second.short_names or first.short_names,
        helpers=first.helpers if second.helpers is None else second.helpers,
    )


def _entries(value: object) -> Iterator[RegistryEntry]:
    """Give the entries of a file, the first of each prefix; raises ValueError."""
    seen: set[str] = set()
    for table in value if isinstance(value, list) else ():
        entry = _entry(table) if isinstance(table, dict) else None
        if entry and entry.prefix not in seen:
            seen.add(entry.prefix)
            yield entry


def _entry(table: Mapping[str, object]) -> RegistryEntry:
    location = _place(table.get("location"))
    prefix = _place(table.get("prefix")) or location
    if not prefix or not (location or prefix.startswith("*.")):
        raise ValueError("a [[registry]] has no location")
    if prefix.startswith("*.") and {*"/@:"} & {*prefix}:
        raise ValueError(f"a prefix with * is a domain alone, such as *.example.com: {prefix}")
    entry = RegistryEntry(
        prefix=prefix,
        location=location,
        insecure=table.get("insecure") is True,
        blocked=table.get("blocked") is True,
        digest_mirrors_only=table.get("mirror-by-digest-only") is True,
        mirrors=tuple(_mirrors(table.get("mirror"))),
    )
    if entry.digest_mirrors_only and any(mirror.pull_from for mirror in entry.mirrors):
        raise ValueError(f"{prefix}: mirror-by-digest-only and pull-from-mirror exclude each other")
    return entry


def _mirrors(value: object) -> Iterator[Mirror]:
    for table in value if isinstance(value, list) else ():
        if not isinstance(table, dict):
            continue
        mirror = Mirror(
            location=_place(table.get("location")),
            insecure=table.get("insecure") is True,
            pull_from=_text(table.get("pull-from-mirror")),
        )
        if not mirror.location:
            raise ValueError("a [[registry.mirror]] has no location")
        if mirror.pull_from not in ("", ALL, DIGEST_ONLY, TAG_ONLY):
            raise ValueError(f"{mirror.location}: pull-from-mirror {mirror.pull_from!r}: unknown")
        yield mirror


def _place(value: object) -> str:
    place = _text(value).rstrip("/")
    if place.startswith(("http://", "https://")):
        raise ValueError(f"{place}: a location is written without {place.partition('//')[0]}//")
    return place


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


def _listed(table: Mapping[str, object], key: str) -> tuple[str, ...] | None:
    return _texts(table[key]) if key in table else None


def _text_map(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        return {}
    return {name: text for name, text in value.items() if isinstance(text, str)}
