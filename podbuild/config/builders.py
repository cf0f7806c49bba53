"""Machines that builds may run on: [builders] and [builders.NAME]."""

from __future__ import annotations

from dataclasses import field

from podbuild.config.budget import SIZE
from podbuild.config.keys import COUNT, FLAG, key, list_of, matching, parsed
from podbuild.oci.names import Platform
from podbuild.system.later import dataclass

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
