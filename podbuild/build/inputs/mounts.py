"""The options of `RUN --mount`, as BuildKit reads them.

It follows frontend/dockerfile/instructions/commands_runmount.go: fields as in CSV, keys, types and
ways of sharing in any case, switches with or without a value. Engines know one spelling of each.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping

_SWITCHES = ("ro", "readonly", "rw", "readwrite", "required")
_SAME = {"src": "source", "dst": "target", "destination": "target", "readonly": "ro"}
_SAME |= {"readwrite": "rw"}
_IN_ANY_CASE = ("type", "sharing")
IN_MEMORY = "podbuild.secret."  # what names of contexts with a secret's file begin with
OF_ENGINES = ("z", "Z", "U")
_SAYS_NOTHING = {
    "bind": ("id", "env"),
    "cache": ("env",),
    "tmpfs": ("id", "env", "ro", "rw"),
    "secret": ("ro", "rw"),
    "ssh": ("from", "source", "env", "ro", "rw"),
}
_TRUE = ("1", "t", "true")
_FALSE = ("0", "f", "false")  # Go's strconv.ParseBool, and letters in any case


def mount_options(text: str) -> Mapping[str, str]:
    """Give what a mount says; a switch without a value says `true`.

    Names are those that every engine knows: `source`, `target`, `ro`, `rw`. What BuildKit takes
    for every type and heeds for some is left out for the others.

    >>> dict(mount_options("Type=cache,dst=/a,RO"))
    {'type': 'cache', 'target': '/a', 'ro': 'true'}
    """
    found = written_options(text)
    without = _SAYS_NOTHING.get(found.get("type", "bind"), ())
    return {key: value for key, value in found.items() if key not in without}


def shows_files(mount: Mapping[str, str]) -> bool:
    """Tell whether a mount shows files that may be others the next time.

    What a cache mount begins with counts; a secret's file, of whatever type, does not.
    """
    kind, origin = mount.get("type", "bind"), mount.get("from", "")
    return kind == "bind" or (kind == "cache" and bool(origin) and not origin.startswith(IN_MEMORY))


def written_options(text: str) -> dict[str, str]:
    """Give all that is written in a mount."""
    found = {}
    for field in _fields(text):
        key, mark, value = field.partition("=")
        key = key if key in OF_ENGINES else key.lower()
        key = _SAME.get(key, key)
        if key in _SWITCHES:
            value = _truth(value) if mark else "true"
        found[key] = value.lower() if key in _IN_ANY_CASE and "$" not in value else value
    return found


def written_mount(options: Mapping[str, str]) -> str:
    """Give options as engines read them; a switch stands alone, or is left out."""
    return ",".join(_written(options))


def is_for_engines(text: str) -> bool:
    """Tell whether engines read a mount as BuildKit does."""
    fields = text.split(",")
    if len(written_options(text)) != len(mount_options(text)):
        return False
    return '"' not in text and all(map(_is_for_engines, fields))


def _is_for_engines(field: str) -> bool:
    key, mark, value = field.partition("=")
    if key in OF_ENGINES:
        return True
    if mark and _SAME.get(key, key) in _SWITCHES:
        return False
    return key == key.lower() and (key not in _IN_ANY_CASE or value == value.lower())


def is_known_switch(name: str, value: str) -> bool:
    """Tell whether an option is no switch, or says yes or no."""
    return name not in _SWITCHES or value in ("true", "false")


def _written(options: Mapping[str, str]) -> Iterator[str]:
    for key, value in options.items():
        if key in ("ro", "rw"):
            yield key if value == "true" else {"ro": "rw", "rw": "ro"}[key]
        elif key in OF_ENGINES and not value:
            yield key
        elif key != "required" or value == "true":
            yield f"{key}={value}"


def _fields(text: str) -> list[str]:
    try:
        return next(csv.reader([text], strict=True), [])
    except csv.Error:
        return text.split(",")


def _truth(value: str) -> str:
    if value.lower() in _TRUE:
        return "true"
    return "false" if value.lower() in _FALSE else value
