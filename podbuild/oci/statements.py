"""Statements about images, and the forms in which they are attached: pure bytes.

in-toto statement v1; DSSE (secure-systems-lab/dsse, protocol.md); sigstore bundle v0.3 (cosign
specs/BUNDLE_SPEC.md); the referrer that carries a bundle, and BuildKit's attestation manifest for
statements that nobody signs. Nothing of a registry, a clock or a random number is in any of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from podbuild.errors import VerificationError
from podbuild.oci.manifest import Descriptor, Manifest, MediaType
from podbuild.oci.names import Digest
from podbuild.oci.store import EMPTY
from podbuild.system.records import JSONValue, document_of

STATEMENT = "https://in-toto.io/Statement/v1"
SIGNATURE = "https://sigstore.dev/cosign/sign/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
SPDX = "https://spdx.dev/Document"
CYCLONEDX = "https://cyclonedx.org/bom"
VEX = "https://openvex.dev/ns"
SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json"  # no statement, but a signature too
SAYS = {
    SIGNATURE: "signature",
    SIMPLE: "signature for podman",
    PROVENANCE: "provenance",
    SPDX: "SBOM",
    CYCLONEDX: "SBOM",
    VEX: "VEX",
}

ORIGIN_BUILT = "built"  # of a child, in an index's provenance: it has one of its own

IN_TOTO = "application/vnd.in-toto+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
UNSIGNED = "application/vnd.docker.attestation.manifest.v1+json"
_MOST_PARTS = 4_000_000  # lists and objects of a statement: an SBOM may name every file
_PREDICATE_TYPE = "in-toto.io/predicate-type"
_CONTENT = "dev.sigstore.bundle.content"
_BUNDLED_TYPE = "dev.sigstore.bundle.predicateType"


@dataclass(frozen=True)
class Statement:
    """The exact bytes of one statement about one subject."""

    predicate_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Described:
    """A published manifest, and the statements that belong to it: each is made when asked for."""

    image: str
    name: str  # as statements name it
    manifest: Manifest
    statements: Mapping[str, Callable[[], Statement]] = field(repr=False)  # by predicate type


@dataclass(frozen=True)
class Referrer:
    """A manifest that refers to its subject, and the blob that it carries."""

    manifest: Manifest
    blobs: tuple[bytes, ...] = field(repr=False)
    predicate_types: tuple[str, ...]


def canonical(value: JSONValue) -> bytes:
    """Give JSON with sorted keys and no spaces: the same value is the same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def statement(name: str, subject: Digest, kind: str, predicate: JSONValue) -> Statement:
    """Give the statement of one predicate about one subject; `name` names no registry."""
    content: JSONValue = {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {subject.algorithm: subject.hex}}],
        "predicateType": kind,
        "predicate": predicate,
    }
    return Statement(kind, canonical(content))


def signed_referrer(subject: Manifest, found: Statement, bundle: bytes) -> Referrer:
    """Give the referrer that carries a bundle of a statement, as cosign 3 looks for it."""
    annotations: dict[str, JSONValue] = {
        _CONTENT: "dsse-envelope",
        _BUNDLED_TYPE: found.predicate_type,
    }
    layers: list[JSONValue] = [_layer(BUNDLE, bundle)]
    manifest = _artifact(BUNDLE, subject, layers, annotations)
    return Referrer(manifest, (bundle,), (found.predicate_type,))


def unsigned_referrer(subject: Manifest, statements: Iterable[Statement]) -> Referrer:
    """Give BuildKit's attestation manifest with statements that nobody signs."""
    every = sorted(statements, key=lambda each: each.predicate_type)
    layers: list[JSONValue] = [
        _layer(IN_TOTO, each.data) | {"annotations": {_PREDICATE_TYPE: each.predicate_type}}
        for each in every
    ]
    return Referrer(
        _artifact(UNSIGNED, subject, layers),
        tuple(each.data for each in every),
        tuple(each.predicate_type for each in every),
    )


def _layer(kind: str, data: bytes) -> dict[str, JSONValue]:
    return Descriptor(media_type=kind, digest=Digest.of(data), size=len(data)).to_json()


def _artifact(
    kind: str,
    subject: Manifest,
    layers: list[JSONValue],
    annotations: dict[str, JSONValue] | None = None,
) -> Manifest:
    content: dict[str, JSONValue] = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST,
        "artifactType": kind,
        "config": {**EMPTY.to_json(), "data": "e30="},
        "layers": layers,
        "subject": subject.descriptor.to_json(),
        **({"annotations": annotations} if annotations else {}),
    }
    return Manifest(MediaType.OCI_MANIFEST, canonical(content))


def read_statement(payload: bytes, subject: Digest) -> Statement:
    """Give a statement about a subject; raises VerificationError for anything else."""
    match document_of(payload, _MOST_PARTS):
        case {"_type": str(form), "subject": list(subjects), "predicateType": str(kind)} if (
            form == STATEMENT
        ):
            named = [each.get("digest") for each in subjects if isinstance(each, dict)]
            wanted = {subject.algorithm: subject.hex}
            if not any(isinstance(each, dict) and wanted.items() <= each.items() for each in named):
                raise VerificationError("it is about another image")
            return Statement(kind, payload)
        case _:
            raise VerificationError("not an in-toto statement v1")


def predicate_of(found: Statement) -> dict[str, JSONValue]:
    """Give a statement's predicate; empty where it is no object."""
    content = document_of(found.data, _MOST_PARTS)
    predicate = content.get("predicate") if isinstance(content, dict) else None
    return predicate if isinstance(predicate, dict) else {}
