"""Beyond one machine: [builders], [builders.NAME], and [ci], how pipelines fan out and join."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from pathlib import Path

from podbuild.config.keys import (
    COUNT,
    FLAG,
    TEXT,
    Invalid,
    ValueKind,
    choice,
    key,
    list_of,
    map_of,
    matching,
    parsed,
)
from podbuild.config.trials import SIZE
from podbuild.oci.names import Platform
from podbuild.system.later import dataclass

_PLATFORM = parsed(lambda text: str(Platform.parse(text)), "platform")


def _several(value: object, base: Path) -> int:
    count = COUNT.parse(value, base)
    if not count:
        raise Invalid("must be at least 1")
    return count


_SLICES: ValueKind[int] = ValueKind(_several, "integer", {"type": "integer", "minimum": 1})


class Carrier(StrEnum):
    """How a leg hands over what it has built."""

    REGISTRY = "registry"
    ARTIFACT = "artifact"
    WHOLE = "whole"


@dataclass(frozen=True, kw_only=True)
class CiSettings:
    """What `podbuild ci` makes pipelines of."""

    runners: Mapping[str, str] = field(
        default_factory=dict,
        hash=False,
        metadata=key(
            map_of(TEXT, names=_PLATFORM),
            "who builds each platform: a runner's label (GitHub) or tag (GitLab); default: the "
            "hosted ones",
            example='{ "linux/arm64" = "ubuntu-24.04-arm" }',
        ),
    )
    hand_over: Carrier = field(
        default=Carrier.REGISTRY,
        metadata=key(
            choice(Carrier),
            "how legs hand over: a few KB beside the layer cache, the same as an artifact, or an "
            "artifact with all layers, so that only the join needs logins",
        ),
    )
    slices: int = field(
        default=1, metadata=key(_SLICES, "legs for each platform, which share its images")
    )
    environment: str = field(
        default="release",
        metadata=key(TEXT, "the environment of the join, where approval can be asked for"),
    )
    tag_children: bool = field(
        default=False,
        metadata=key(
            FLAG, "true: legs name what they push (--tag-children), for Quay, Harbor and gitlab.com"
        ),
    )
    image: str = field(
        default="",
        metadata=key(
            TEXT,
            "an image with podbuild and its toolchain, for GitLab, Kubernetes and Tekton; default: "
            "Python's, in which both are installed",
            example='"registry.example.com/podbuild"',
        ),
    )


KEPT = 20_000_000_000  # bytes
HERE = "local"  # this machine, where builders are named

# A ProxyCommand of ~/.ssh/config may hand it to a shell, and a program take it for an option.
_HOST = matching(
    r"(?!-|.*(?:@|//)-)[^\s'\"\\`$;&|<>(){}*?!#]+",
    "what ssh takes",
    'such as "build@arm1.example.com", or an alias of ssh',
)


@dataclass(frozen=True, kw_only=True)
class BuilderHost:
    """One other machine, reached by the system's ssh."""

    name: str
    host: str = field(
        metadata=key(
            _HOST,
            "where it is, as ssh takes it: user@host, an alias of ~/.ssh/config, ssh://host:port",
            example='"build@arm1.example.com"',
        )
    )
    platforms: tuple[Platform, ...] = field(
        default=(),
        metadata=key(
            list_of(parsed(Platform.parse, "platform"), least=1),
            "what it builds; without it, what it is native for",
            example='["linux/arm64"]',
        ),
    )
    jobs: int = field(
        default=0,
        metadata=key(COUNT, "builds at a time there; 0 is half its CPUs", example="4"),
    )
    keep: int = field(
        default=KEPT,
        metadata=key(
            SIZE,
            'how much may last there: layers and cache mounts, what was used last ("20GB")',
            example='"50GB"',
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Builders:
    """All of them, and whether this machine builds too."""

    local: bool = field(
        default=True, metadata=key(FLAG, "false: this machine builds nothing, builders do")
    )
    each: tuple[BuilderHost, ...] = ()

    def named(self, names: tuple[str, ...]) -> tuple[BuilderHost, ...]:
        """Give those with these names, or all where none is given."""
        return tuple(each for each in self.each if not names or each.name in names)
