"""What podbuild.toml says of pipelines: who builds which platform, and how the parts are joined."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from pathlib import Path

from podbuild.config.keys import COUNT, FLAG, TEXT, Invalid, ValueKind, choice, key, map_of, parsed
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
