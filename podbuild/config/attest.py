"""What podbuild.toml says of statements: SBOM, provenance, and the key that signs them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from podbuild.config.keys import (
    FLAG,
    PATH,
    Invalid,
    ValueKind,
    choice,
    declared,
    key,
    matching,
    table_of,
)

_KEY = matching(
    r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+",
    "where a key is",
    'a PKCS#8 PEM key: "env:NAME" or "file:PATH"',
)


def _keyless(value: object, base: Path) -> bool:
    """Refuse what this version can't do: a release that looks signed and is not is the worst."""
    if FLAG.parse(value, base):
        raise Invalid(
            "signing without a key is not there yet",
            hint='sign with a key: key = "env:COSIGN_PRIVATE_KEY", or file:PATH',
        )
    return False


KEYLESS: ValueKind[bool] = ValueKind(_keyless, "false", {"const": False})


class SbomSource(StrEnum):
    """What looks for packages in images."""

    AUTO = "auto"
    OFF = "off"


class Placement(StrEnum):
    """Where statements go."""

    REFERRERS = "referrers"


@dataclass(frozen=True, kw_only=True)
class Signing:
    """The key that signs, and the one that `verify` accepts."""

    private: str = field(
        metadata=key(
            _KEY,
            "the key that signs, PKCS#8 PEM (P-256, P-384, RSA, Ed25519), from the environment or "
            "a file; its password stands in PODBUILD_SIGN_PASSWORD",
            name="key",
            example='"env:COSIGN_PRIVATE_KEY"',
        )
    )
    public_key: Path | None = field(
        default=None,
        metadata=key(
            PATH,
            "the key that `podbuild verify` accepts, where the private one is not at hand",
            example='"cosign.pub"',
        ),
    )
    keyless: bool = field(
        default=False, metadata=key(KEYLESS, "signing by a CI system's token is not there yet")
    )

    def file(self, root: Path) -> Path | None:
        """Give the private key's file, from the folder of podbuild.toml; None for a variable."""
        scheme, _, place = self.private.partition(":")
        return root / Path(place).expanduser() if scheme == "file" else None


@dataclass(frozen=True, kw_only=True)
class Attest:
    """Which statements every published image gets."""

    sbom: SbomSource = field(
        default=SbomSource.AUTO,
        metadata=key(
            choice(SbomSource),
            "which packages each image holds (SPDX 2.3), found by podbuild itself",
            example='"auto"',
        ),
    )
    provenance: bool = field(
        default=True, metadata=key(FLAG, "how each image was made (SLSA provenance v1)")
    )
    placement: Placement = field(
        default=Placement.REFERRERS,
        metadata=key(choice(Placement), "where statements go: beside images, as OCI referrers"),
    )
    sign: Signing | None = field(
        default=None,
        metadata=key(
            table_of(Signing, declared(Signing), "{ key, public-key }"),
            "the key that signs; without it statements are there, and prove nothing",
            example='{ key = "env:COSIGN_PRIVATE_KEY" }',
        ),
    )
