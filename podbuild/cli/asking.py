"""From what is typed to a request, and other words that a command reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from podbuild.build import parcel
from podbuild.config import image
from podbuild.errors import ConfigError
from podbuild.oci import names
from podbuild.plan import model

if TYPE_CHECKING:
    from podbuild.oci.names import Reference

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def make_request(
    *,
    images: Iterable[str] = (),
    registries: Iterable[str] = (),
    platforms: Iterable[str] = (),
    target: str | None = None,
    build_args: Iterable[str] = (),
    secrets: Iterable[str] = (),
    overwrite: bool = False,
    backwards: bool = False,
    growth: bool = False,
    dirty: bool = False,
    directory: Path = Path(),
    jobs: int | None = None,
    cache: bool = True,
    reuse: bool = True,
    fail_fast: bool = False,
    handed_over: Iterable[str] = (),
    builders: Iterable[str] = (),
    remote: bool = True,
) -> model.Request:
    """Give the request that options make; raises ConfigError for what can't be read."""
    places = tuple(handed_over)
    return model.Request(
        images=tuple(images),
        registries=tuple(registries),
        platforms=tuple(
            dict.fromkeys(
                names.Platform.parse(each) for given in platforms for each in given.split(",")
            )
        ),
        target=target,
        build_args=read_build_args(build_args),
        secrets=tuple(read_secret(each, directory) for each in secrets),
        overwrite=overwrite,
        backwards=backwards,
        growth=growth,
        jobs=jobs,
        cache=cache,
        reuse=reuse,
        fail_fast=fail_fast,
        handed_over=_read_places(places, directory) if places else (),
        builders=tuple(builders),
        remote=remote,
        dirty=dirty,
    )


def _read_places(texts: tuple[str, ...], directory: Path) -> tuple[Path | Reference, ...]:
    return tuple(parcel.read_place(each) or directory / each for each in texts)


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
