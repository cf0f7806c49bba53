"""From what a user asks for to a decided plan: git's facts, the registries' answers, the guards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field

from podbuild.errors import ConfigError, PodbuildError
from podbuild.oci.names import Digest, Tag
from podbuild.plan.destination import Destination
from podbuild.plan.guards import Ancestry
from podbuild.plan.journal import Binding, TagKey
from podbuild.plan.model import Plan
from podbuild.system.later import dataclass


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A plan and the facts it rests on; `destinations` are the targets that answered.

    So did those `beside`, which are not asked for: what they hold is adopted and copied.
    """

    plan: Plan
    tag: str = ""  # the git tag
    previous_tag: str = ""
    git: str = ""  # HEAD and the tags on it, an input of images whose context has .git
    destinations: tuple[Destination, ...] = ()
    beside: tuple[Destination, ...] = ()
    silent: Mapping[Destination, PodbuildError] = field(default_factory=dict)
    replaced: Mapping[TagKey, Digest] = field(default_factory=dict)
    earlier: Mapping[str, tuple[Tag, ...]] = field(default_factory=dict)  # by Target.key
    before: Mapping[str, Tag] = field(default_factory=dict)  # what sizes are compared with, by key
    ancestry: Callable[[str], Ancestry] = lambda _revision: Ancestry.UNKNOWN
    warnings: tuple[str, ...] = ()
    refusal: ConfigError | None = None  # what a release ends with before it begins


def binding_of(plan: Plan, toolchain: str = "") -> Binding:
    """Give what this plan's journal is bound to."""
    return Binding(
        release=plan.name,
        commit=plan.source.commit,
        configuration=plan.fingerprint,
        toolchain=toolchain,
    )
