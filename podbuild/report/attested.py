"""What is said of images and by whom, in a line; and the commands by which others verify it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator

from podbuild.config.attest import Attest, Placement, SbomFormat, SbomSource, Signing
from podbuild.config.model import Config
from podbuild.config.template import Placeholders
from podbuild.oci.names import RegistryKind
from podbuild.report.model import TargetReport

GITHUB_ISSUER = "https://token.actions.githubusercontent.com"
_GITHUB = re.compile(r"https://github\.com/([^/]+/[^/]+)/\.github/workflows/")
_FORMATS = {SbomFormat.SPDX: "SPDX", SbomFormat.CYCLONEDX: "CycloneDX"}


def attest_line(attest: Attest) -> str:
    """Say what is attached to images, where, and who signs it."""
    by = " by syft" if attest.sbom is SbomSource.SYFT else ""
    parts = [
        f"SBOM ({_FORMATS[attest.sbom_format]}{by})" if attest.sbom is not SbomSource.OFF else "",
        "provenance (SLSA v1)" if attest.provenance else "",
        f"VEX ({attest.vex})" if attest.vex else "",
        "the index's own attestations" if attest.placement is Placement.INDEX else "",
    ]
    said = ", ".join(filter(None, parts)) or "nothing else"
    return f"{said}; {_by(attest.sign)}"


def _by(sign: Signing | None) -> str:
    if sign is None:
        return "signed by nobody"
    if sign.keyless:
        who = ", or ".join(map(str, sign.identity))
        return f"signed without a key as {who} ({sign.issuer})"
    return f"signed by the key {sign.private}{', for podman too' if sign.podman else ''}"


def verify_commands(config: Config, version: str, targets: Iterable[TargetReport]) -> Iterator[str]:
    """Give the commands that verify what was released, for one name of each image."""
    attest = config.attest
    if attest is None:
        return
    if version:
        yield f"podbuild verify {version}"
    sign = attest.sign
    if sign is None:
        return
    who = shlex.join(_options(config, sign, version))
    owner = _GITHUB.match(sign.identity[0].text) if sign.keyless else None
    for reference in _references(targets):
        yield f"cosign verify {who} {reference}"
        if attest.provenance:
            yield f"cosign verify-attestation --type slsaprovenance1 {who} {reference}"
        if owner and attest.provenance and sign.issuer == GITHUB_ISSUER:
            yield (f"gh attestation verify oci://{reference} --repo {owner[1]} --bundle-from-oci")


def _options(config: Config, sign: Signing, version: str) -> Iterator[str]:
    if not sign.keyless:
        key = os.path.relpath(sign.public_key, config.root) if sign.public_key else "cosign.pub"
        yield from ("--key", key, "--insecure-ignore-tlog=true")
        return
    values = Placeholders(project=config.project.name, env=config.env)
    pinned = sign.pinned(version, values)
    if pinned:
        yield from ("--certificate-identity", pinned)
    else:
        yield from ("--certificate-identity-regexp", sign.pattern(version, values))
    yield from ("--certificate-oidc-issuer", sign.issuer)


def _references(targets: Iterable[TargetReport]) -> Iterator[str]:
    """Give the first tag of each image on a registry: cosign reads no folders."""
    seen: set[str] = set()
    for target in targets:
        if target.live and target.kind is not RegistryKind.LAYOUT and target.image not in seen:
            seen.add(target.image)
            yield target.live[0].reference
