"""cosign's classic signatures, the only ones that podman, skopeo and CRI-O read.

A tag `sha256-<hex>.sig` names a manifest with a layer for each repository name, so that the same
bytes hold on every registry. Source: cosign specs/SIGNATURE_SPEC.md; containers/image
docs/containers-policy.json.5.md (`sigstoreSigned`).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from podbuild.errors import VerificationError
from podbuild.oci.keys import PublicKey
from podbuild.oci.manifest import Descriptor, Manifest, MediaType
from podbuild.oci.names import Digest, Tag
from podbuild.oci.statements import SIMPLE, canonical
from podbuild.oci.store import Store, put_bytes
from podbuild.system.records import JSONValue, document_of

_SIGNATURE = "dev.cosignproject.cosign/signature"
_TYPE = "cosign container image signature"
_CAP = 64 * 1024  # bytes of a payload


@dataclass(frozen=True)
class ClassicLayer:
    """One signature: what it signs, and the layer's descriptor, which carries it."""

    payload: bytes = field(repr=False)
    descriptor: Descriptor


def classic_tag(subject: Digest) -> Tag:
    """Give the tag of a manifest's signatures.

    >>> str(classic_tag(Digest("sha256:" + "0" * 64)))[-6:]
    '00.sig'
    """
    return Tag(f"{subject.algorithm}-{subject.hex}.sig")


def classic_payload(repository: str, subject: Digest) -> bytes:
    """Give the bytes that are signed for a repository's name."""
    return canonical(
        {
            "critical": {
                "identity": {"docker-reference": repository},
                "image": {"docker-manifest-digest": str(subject)},
                "type": _TYPE,
            },
            "optional": None,
        }
    )


def classic_layer(payload: bytes, signature: bytes) -> ClassicLayer:
    """Give the layer that carries a signature."""
    return ClassicLayer(
        payload,
        Descriptor(
            media_type=SIMPLE,
            digest=Digest.of(payload),
            size=len(payload),
            annotations={_SIGNATURE: base64.b64encode(signature).decode()},
        ),
    )


@dataclass(frozen=True)
class Classic:
    """The signatures under one tag: those of the key by repository name, and all others."""

    valid: Mapping[str, ClassicLayer]
    others: tuple[ClassicLayer, ...] = ()


def read_classic(store: Store, subject: Digest, key: PublicKey) -> Classic:
    """Give the signatures of a manifest; raises as the store does.

    What can't be read is left out: anybody who may push can put it there.
    """
    try:
        manifest = store.manifest(classic_tag(subject))
    except VerificationError:
        return Classic({})
    valid: dict[str, ClassicLayer] = {}
    others: list[ClassicLayer] = []
    for descriptor in manifest.layers if manifest else ():
        if descriptor.media_type != SIMPLE or descriptor.size > _CAP:
            continue
        try:
            with store.blob(descriptor) as source:
                layer = ClassicLayer(b"".join(source.chunks()), descriptor)
        except VerificationError:  # damaged where it lies
            continue
        name = _signed_name(layer, subject, key)
        if name is not None:
            valid.setdefault(name, layer)
        else:
            others.append(layer)
    return Classic(valid, tuple(others))


def _signed_name(layer: ClassicLayer, subject: Digest, key: PublicKey) -> str | None:
    """Give the repository that a signature of this key is for; None for anything else."""
    try:
        text = layer.descriptor.annotations.get(_SIGNATURE, "")
        if not key.verifies(base64.b64decode(text, validate=True), layer.payload):
            return None
        match document_of(layer.payload):
            case {
                "critical": {
                    "identity": {"docker-reference": str(name)},
                    "image": {"docker-manifest-digest": digest},
                    "type": kind,
                }
            } if (digest, kind) == (str(subject), _TYPE):
                return name
            case _:
                return None
    except ValueError:
        return None


def classic_manifest(layers: Iterable[ClassicLayer]) -> tuple[Manifest, Mapping[Descriptor, bytes]]:
    """Give the manifest of signatures, sorted, and its blobs."""
    every = sorted(layers, key=lambda each: (each.payload, str(each.descriptor.to_json())))
    digests: list[JSONValue] = [str(each.descriptor.digest) for each in every]
    config = canonical(
        {
            "architecture": "",
            "os": "",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": digests},
        }
    )
    described = Descriptor(
        media_type=MediaType.OCI_CONFIG, digest=Digest.of(config), size=len(config)
    )
    content: JSONValue = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST,
        "config": described.to_json(),
        "layers": [each.descriptor.to_json() for each in every],
    }
    blobs = {each.descriptor: each.payload for each in every}
    return Manifest(MediaType.OCI_MANIFEST, canonical(content)), {described: config, **blobs}


def put_classic(store: Store, subject: Digest, layers: Iterable[ClassicLayer]) -> Digest:
    """Put signatures under their tag; raises as the store does."""
    manifest, blobs = classic_manifest(layers)
    for blob, data in blobs.items():
        put_bytes(store, blob.media_type, data)
    store.put_manifest(manifest, classic_tag(subject))
    return manifest.digest
