"""The user's own word about vulnerabilities (OpenVEX), which goes beside the image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from podbuild.config.model import Config
from podbuild.config.template import Placeholders
from podbuild.config.toml import shown
from podbuild.errors import ConfigError, reason_of
from podbuild.system.files import read_plain
from podbuild.system.records import JSONValue, object_of

_CONTEXT = "https://openvex.dev/ns"
_CAP = 16 * 1024 * 1024  # bytes; GitHub's store of attestations takes no more


def vex_documents(config: Config, images: Iterable[str]) -> Mapping[str, dict[str, JSONValue]]:
    """Give the documents of images, by name; an image without a file has nothing to say.

    Raises ConfigError for a file that is no OpenVEX, and where no image has one.
    """
    attest = config.attest
    if attest is None or attest.vex is None:
        return {}
    found: dict[str, dict[str, JSONValue]] = {}
    paths = {name: vex_path(config, name) for name in images}
    for name, path in paths.items():
        if path is not None and path.exists():
            found[name] = _read(path)
    if paths and not found:
        first = next(filter(None, paths.values()))
        raise ConfigError(
            f"[attest] vex: there is no {shown(first)}"
            + (", nor one of another image" if len(paths) > 1 else ""),
            hint="write it (OpenVEX, JSON), or take vex out",
        )
    return found


def vex_path(config: Config, image: str) -> Path | None:
    """Give where an image's document is; None where none is configured."""
    template = config.attest.vex if config.attest else None
    if template is None:
        return None
    values = Placeholders(project=config.project.name, image=image, env=config.env)
    return config.root / template.expand(values)


def _read(path: Path) -> dict[str, JSONValue]:
    try:
        data = read_plain(path, _CAP)
    except OSError as error:
        raise ConfigError(f"{shown(path)}: can't be read: {reason_of(error).lower()}") from error
    found = object_of(data) or {}
    match found:
        case {"@context": str(context), "statements": list()} if (
            context.partition("/ns")[0] + "/ns" == _CONTEXT
        ):
            return found
        case _:
            pass
    raise ConfigError(
        f"{shown(path)}: not an OpenVEX document",
        hint='JSON with "@context": "https://openvex.dev/ns/v0.2.0" and "statements"',
    )
