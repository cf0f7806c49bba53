"""From what is typed to a request, and other words that a command reads."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podbuild.build import parcel
from podbuild.config import image
from podbuild.errors import ConfigError
from podbuild.oci import names
from podbuild.plan import model

if TYPE_CHECKING:
    from podbuild.oci.names import Platform, Reference

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def read_request(typed: Mapping[str, Any], directory: Path, **told: bool) -> model.Request:
    """Give the request that options make: each has the name of its field.

    What the command itself is `told` goes with them. Raises ConfigError for what can't be read.
    """
    given = {"images": (), **typed, **told, "command": shlex.join(["podbuild", *sys.argv[1:]])}
    given["images"] = (*given["images"], *given.pop("more", ()))  # [IMAGE]... and --image
    readers: Mapping[str, Callable[[Any], object]] = {
        "platforms": read_platforms,
        "build_args": read_build_args,
        "secrets": lambda texts: tuple(read_secret(each, directory) for each in texts),
        "handed_over": lambda texts: _read_places(texts, directory) if texts else (),
        "skip": read_parts,
        "branch": lambda text: text or "",
        "pr": lambda number: str(number or ""),
    }
    read = {name: readers[name](value) for name, value in given.items() if name in readers}
    return model.Request(**{**given, **read})


def read_platforms(given: Iterable[str]) -> tuple[Platform, ...]:
    """Read platforms, each option one or several with commas; each once."""
    texts = (each for text in given for each in text.split(","))
    return tuple(dict.fromkeys(map(names.Platform.parse, texts)))


def read_parts(text: str | None) -> frozenset[model.Skip]:
    """Read the comma list of --skip.

    >>> sorted(read_parts("verify,cleanup"))
    [<Skip.CLEANUP: 'cleanup'>, <Skip.VERIFY: 'verify'>]
    """
    parts = [name.strip() for name in (text or "").split(",") if name.strip()]
    for name in parts:
        if name not in set(model.Skip):
            known = ", ".join(model.Skip)
            raise ConfigError(f"--skip {name}: no such step", hint=f"known: {known}")
    return frozenset(map(model.Skip, parts))


def _read_places(texts: tuple[str, ...], directory: Path) -> tuple[Path | Reference, ...]:
    return tuple(parcel.read_place(each) or directory / each for each in texts)


def read_hand_over(text: str | None) -> Reference | None:
    """Read where a leg leaves what its join needs; None for nowhere. Raises ConfigError."""
    place = parcel.read_place(text) if text else None
    if text and place is None:
        raise ConfigError(
            f"--hand-over {text}: no registry's reference",
            hint="write it as oci:REPO:TAG; in dist/ it is handed over anyway, see --thin",
        )
    return place


def read_build_args(given: Iterable[str]) -> Mapping[str, str]:
    """Read NAME=VALUE options.

    >>> read_build_args(["A=1", "B=x=y"])
    {'A': '1', 'B': 'x=y'}
    """
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            lacks = "value" if name else "name"
            raise ConfigError(f"--build-arg {text!r} has no {lacks}", hint="write it as NAME=VALUE")
        found[name] = value
    return found


def read_secret(text: str, directory: Path) -> image.Secret:
    """Read id=ID,env=NAME or id=ID,src=FILE, as buildah and docker take it.

    >>> read_secret("id=npm,env=NPM_TOKEN", Path())
    Secret(id='npm', env='NPM_TOKEN', file=None)
    """
    parts = dict(part.partition("=")[::2] for part in text.split(","))
    parts.pop("type", None)
    file = parts.pop("src", "") or parts.pop("source", "")
    identity, env = parts.pop("id", ""), parts.pop("env", "")
    if parts or not identity or bool(env) == bool(file):
        raise ConfigError(
            f"--secret {text!r} can't be read", hint="write id=ID,env=NAME or id=ID,src=FILE"
        )
    return image.Secret(id=identity, env=env or None, file=directory / file if file else None)


def read_image(text: str) -> tuple[str, str]:
    """Read IMAGE or IMAGE:TAG; without a colon the tag is empty.

    Raises VersionError for no valid tag: an empty one is `web:$TAG` of a variable that is not set.

    >>> read_image("web"), read_image("web:1.2.3")
    (('web', ''), ('web', '1.2.3'))
    """
    name, colon, tag = text.partition(":")
    return name, names.Tag(tag).text if colon else ""


def read_duration(text: str | None) -> float | None:
    """Read a duration such as 45m, in seconds; None for none.

    >>> read_duration("1.5h")
    5400.0
    """
    if text is None:
        return None
    number, unit = text[:-1], text[-1:]
    if unit.isdigit():
        number, unit = text, "s"
    try:
        seconds = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"{text!r} is no duration", hint="such as 90s, 45m or 2h")
    return seconds
