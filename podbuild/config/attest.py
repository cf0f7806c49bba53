"""What podbuild.toml says of statements: SBOM, provenance, and who signs them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import field
from enum import StrEnum
from pathlib import Path

from podbuild.config.keys import (
    FLAG,
    PATH,
    TEXT,
    Invalid,
    ValueKind,
    choice,
    declared,
    key,
    read_table,
    table_schema,
)
from podbuild.config.template import Placeholders, Template
from podbuild.system.later import dataclass

_SCHEMES = frozenset({"env", "file"})  # of keys that podbuild reads itself
_IN_IDENTITY = frozenset({"project", "version"})
_IN_VEX = frozenset({"project", "image"})
_VERSION = r"[0-9][0-9A-Za-z.+-]*"


def _key(value: object, base: Path) -> str:
    if isinstance(value, str) and "PRIVATE KEY" in value:
        raise Invalid(
            "a private key itself stands here, where everybody reads it",
            hint='name where it is, "env:NAME" or "file:PATH", and replace the key',
        )
    text = TEXT.parse(value, base)
    scheme, colon, place = text.partition(":")
    if scheme in _SCHEMES and not (colon and place):
        raise Invalid(f"{text!r} names no key", hint='"env:NAME" or "file:PATH"')
    if scheme == "env" and not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", place):
        raise Invalid(f"{place!r} is no variable's name", hint='"env:COSIGN_PRIVATE_KEY"')
    return text


def _identity(value: object, base: Path) -> Template:
    found = Template(TEXT.parse(value, base))
    if odd := sorted(
        name for name in found.names if name not in _IN_IDENTITY and not name.startswith("env.")
    ):
        raise Invalid(
            f"{{{odd[0]}}} can't stand in an identity",
            hint="known are {version}, {project} and {env.NAME}",
        )
    return found


def _vex(value: object, base: Path) -> Template:
    found = Template(TEXT.parse(value, base))
    if odd := sorted(
        name for name in found.names if name not in _IN_VEX and not name.startswith("env.")
    ):
        raise Invalid(
            f"{{{odd[0]}}} can't stand in the path of a VEX file",
            hint="known are {image}, {project} and {env.NAME}",
        )
    return found


VEX: ValueKind[Template] = ValueKind(
    _vex, "path with placeholders", {"type": "string", "minLength": 1}
)


def _identities(value: object, base: Path) -> tuple[Template, ...]:
    if not isinstance(value, list):
        return (_identity(value, base),)
    if not value:
        raise Invalid("must not be empty")
    return tuple(
        ValueKind(_identity, "", {}).read(item, base, place) for place, item in enumerate(value)
    )


IDENTITIES: ValueKind[tuple[Template, ...]] = ValueKind(
    _identities,
    "string, or array of strings",
    {"anyOf": [TEXT.schema, {"type": "array", "items": TEXT.schema, "minItems": 1}]},
)
KEY: ValueKind[str] = ValueKind(_key, "where a key is", {"type": "string", "minLength": 1})


class SbomSource(StrEnum):
    """What looks for packages in images."""

    AUTO = "auto"
    SYFT = "syft"
    OFF = "off"


class SbomFormat(StrEnum):
    """As what an SBOM is written."""

    SPDX = "spdx"
    CYCLONEDX = "cyclonedx"


class Placement(StrEnum):
    """Where statements go."""

    REFERRERS = "referrers"
    INDEX = "index"


@dataclass(frozen=True, kw_only=True)
class Signing:
    """Who signs, and whose signatures `verify` accepts."""

    private: str = field(
        default="",
        metadata=key(
            KEY,
            "the key that signs: PKCS#8 PEM (P-256, P-384, RSA, Ed25519) from the environment or a "
            "file, or any key that cosign knows; its password stands in PODBUILD_SIGN_PASSWORD "
            "or COSIGN_PASSWORD",
            name="key",
            example='"env:COSIGN_PRIVATE_KEY"',
        ),
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
        default=False,
        metadata=key(
            FLAG,
            "sign by the CI system's token (sigstore): repository, workflow and digests then stand "
            "in a public log for ever",
        ),
    )
    identity: tuple[Template, ...] = field(
        default=(),
        metadata=key(
            IDENTITIES,
            "who signs without a key, as the certificate says: a workflow's full path; several "
            "where releases and snapshots differ",
            example='"https://github.com/acme/shop/.github/workflows/release.yml'
            '@refs/tags/v{version}"',
        ),
    )
    issuer: str = field(
        default="",
        metadata=key(
            TEXT,
            "who vouches for the identity",
            example='"https://token.actions.githubusercontent.com"',
        ),
    )
    trust: Path | None = field(
        default=None,
        metadata=key(
            PATH,
            "of a private sigstore: where its services are and what it trusts "
            "(ClientTrustConfig, JSON); the public one unless written",
        ),
    )

    podman: bool = field(
        default=False,
        metadata=key(
            FLAG,
            "the classic signature too (`.sig`), the only one that policies of podman, skopeo and "
            "CRI-O read; by a key alone",
        ),
    )

    def file(self, root: Path) -> Path | None:
        """Give the private key's file, from the folder of podbuild.toml; None for another place."""
        scheme, _, place = self.private.partition(":")
        if scheme == "file":
            return root / Path(place).expanduser()
        if not self.private or scheme == "env" or "://" in self.private:
            return None
        return root / Path(self.private).expanduser()

    def accepts(self, identity: str, version: str, values: Placeholders) -> bool:
        """Tell whether a certificate's name is one of the accepted; without a version, of any."""
        return any(
            re.fullmatch(identity_pattern(each, version, values), identity)
            for each in self.identity
        )

    def pinned(self, version: str, values: Placeholders) -> str:
        """Give the one identity that may sign this version; empty where there are several."""
        known = dict.fromkeys(
            each.text.replace("{version}", version)
            for each in self.identity
            if version or "version" not in each.names
        )
        texts = {Template(text).expand(values) for text in known}
        return texts.pop() if len(texts) == len(self.identity) == 1 else ""

    def pattern(self, version: str, values: Placeholders) -> str:
        """Give a regular expression of all identities that may sign this version."""
        every = (identity_pattern(each, version, values) for each in self.identity)
        return f"^(?:{'|'.join(every)})$"


def identity_pattern(template: Template, version: str, values: Placeholders) -> str:
    """Give a regular expression of an identity; without a version, of all versions.

    Raises ConfigError for a variable that is not set.
    """
    return "".join(
        (re.escape(version) if version else _VERSION)
        if part.is_placeholder and part.text == "version"
        else re.escape(Template(f"{{{part.text}}}").expand(values))
        if part.is_placeholder
        else re.escape(part.text)
        for part in template.parts
    )


def _signing(value: object, base: Path) -> Signing:
    found = read_table(Signing, declared(Signing), value, base)
    if found.keyless and found.private:
        raise Invalid(
            "a key, or keyless: it can't be both",
            hint="leave out key, or keyless = true",
            path=("keyless",),
        )
    if not found.keyless and not found.private:
        raise Invalid(
            "key is missing: nobody would sign",
            hint='key = "env:COSIGN_PRIVATE_KEY", or keyless = true with identity and issuer',
        )
    if found.keyless and not found.identity:
        raise Invalid(
            "who signs is not pinned: identity is missing",
            hint="the workflow's full path, such as identity = \"https://github.com/acme/shop/"
            '.github/workflows/release.yml@refs/tags/v{version}"',
        )
    if bool(found.identity) != bool(found.issuer):
        raise Invalid("identity and issuer belong together", hint="write both, or none")
    if found.podman and not found.private:
        raise Invalid(
            "podman's policies take a workflow's certificate not at all: it needs a key",
            hint="sign with a key, or leave out podman",
            path=("podman",),
        )
    if found.trust and not found.identity:
        raise Invalid("is about keyless signing alone", hint="leave it out", path=("trust",))
    return found


def _table(parse: Callable[[object, Path], Signing]) -> ValueKind[Signing]:
    return ValueKind(parse, "{ key, public-key, ... }", table_schema(declared(Signing)))


@dataclass(frozen=True, kw_only=True)
class Attest:
    """Which statements every published image gets."""

    sbom: SbomSource = field(
        default=SbomSource.AUTO,
        metadata=key(
            choice(SbomSource),
            "which packages each image holds, found by podbuild itself, or by syft on the PATH",
            example='"auto"',
        ),
    )
    sbom_format: SbomFormat = field(
        default=SbomFormat.SPDX,
        metadata=key(choice(SbomFormat), "how that is written: SPDX 2.3 or CycloneDX 1.6"),
    )
    provenance: bool = field(
        default=True, metadata=key(FLAG, "how each image was made (SLSA provenance v1)")
    )
    placement: Placement = field(
        default=Placement.REFERRERS,
        metadata=key(
            choice(Placement),
            'where statements go: beside images, as OCI referrers; with "index" SBOM and '
            "provenance also as children of the index, as BuildKit has them",
        ),
    )
    vex: Template | None = field(
        default=None,
        metadata=key(
            VEX,
            "a file for each image that has one: what you say of vulnerabilities (OpenVEX)",
            example='"vex/{image}.json"',
        ),
    )
    sign: Signing | None = field(
        default=None,
        metadata=key(
            _table(_signing),
            "who signs; without it statements are there, and prove nothing",
            example='{ key = "env:COSIGN_PRIVATE_KEY" }',
        ),
    )

    @property
    def templates(self) -> tuple[Template, ...]:
        """Give the texts in it that may name variables of the environment."""
        return (*([self.vex] if self.vex else ()), *(self.sign.identity if self.sign else ()))
