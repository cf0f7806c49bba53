"""Read the user's registries.conf and its drop-ins, versions 1 and 2, in the engines' order."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from podbuild.engine.registries import Entry, Mirror, RegistriesConf
from podbuild.engine.settings import read_setting
from podbuild.errors import ConfigError


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


def _entries(value: object) -> Iterator[Entry]:
    for table in value if isinstance(value, list) else ():
        if not isinstance(table, dict):
            continue
        location = _text(table.get("location"))
        yield Entry(
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
            Entry(prefix=name, location=name, insecure=name in insecure, blocked=name in blocked)
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
