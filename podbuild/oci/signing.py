"""Who signs statements, and whose signatures count.

A signer makes sigstore bundles of statements; what it makes is accepted only by what reads it
back. Keys sign here; certificates and keys of other programs come from who uses this room.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from podbuild.errors import PodbuildError, VerificationError
from podbuild.oci.keys import PrivateKey, PublicKey
from podbuild.oci.names import Digest
from podbuild.oci.statements import (
    BUNDLE,
    IN_TOTO,
    Statement,
    canonical,
    read_statement,
)
from podbuild.system.records import document_of


class Accepted(Protocol):
    """Whose signatures count."""

    def verified(self, bundle: bytes) -> bytes:
        """Give the statement that a bundle signs; raises VerificationError for anything else."""

    def of(self, version: str) -> Accepted:
        """Give who may sign this version; nothing stands for all versions."""


class Signer(Protocol):
    """Who signs statements."""

    @property
    def accepted(self) -> Accepted:
        """Give whose signatures count."""

    def bundle(self, found: Statement) -> bytes:
        """Sign a statement; raises CredentialError, PublishError and ToolError."""

    def signature(self, data: bytes) -> bytes | None:
        """Sign bytes as they are; None for who can sign statements alone."""


def preauthenticated(kind: str, payload: bytes) -> bytes:
    """Give the bytes that DSSE signs (PAE)."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


@dataclass(frozen=True)
class KeyAccepted:
    """Signatures of one key."""

    key: PublicKey

    def verified(self, bundle: bytes) -> bytes:
        """Give the statement that this key has signed; raises VerificationError."""
        payload, signature = envelope(bundle)
        if not self.key.verifies(signature, preauthenticated(IN_TOTO, payload)):
            raise VerificationError("its signature is not the configured key's")
        return payload

    def of(self, version: str) -> KeyAccepted:  # noqa: ARG002
        """Give the same: a key signs every version."""
        return self


@dataclass(frozen=True)
class AnyAccepted:
    """Signatures of any of these."""

    every: tuple[Accepted, ...]

    def verified(self, bundle: bytes) -> bytes:
        """Give the statement that one of them has signed; raises VerificationError."""
        refused: list[str] = []
        for each in self.every:
            try:
                return each.verified(bundle)
            except PodbuildError as error:  # also one that can't be checked here: another may do
                if error.is_stop:
                    raise
                refused.append(error.message)
        raise VerificationError("; ".join(refused))

    def of(self, version: str) -> AnyAccepted:
        """Give those that may sign this version."""
        return AnyAccepted(tuple(each.of(version) for each in self.every))


@dataclass(frozen=True)
class KeySigner:
    """A key that podbuild has read signs: the same statement is the same bundle, always."""

    key: PrivateKey
    accepted: Accepted = field(repr=False)

    def bundle(self, found: Statement) -> bytes:
        """Give the bundle."""
        signature = self.key.sign(preauthenticated(IN_TOTO, found.data))
        return canonical(
            {
                "mediaType": BUNDLE,
                "verificationMaterial": {"publicKey": {"hint": self.key.public.hint}},
                "dsseEnvelope": {
                    "payload": base64.b64encode(found.data).decode(),
                    "payloadType": IN_TOTO,
                    "signatures": [{"sig": base64.b64encode(signature).decode()}],
                },
            }
        )

    def signature(self, data: bytes) -> bytes:
        """Give the signature of these bytes."""
        return self.key.sign(data)


def envelope(bundle: bytes) -> tuple[bytes, bytes]:
    """Give statement and signature of a bundle, unverified; raises VerificationError."""
    try:
        match document_of(bundle):
            case {
                "dsseEnvelope": {
                    "payload": str(payload),
                    "payloadType": "application/vnd.in-toto+json",
                    "signatures": [{"sig": str(signature)}],
                }
            }:
                return (
                    base64.b64decode(payload, validate=True),
                    base64.b64decode(signature, validate=True),
                )
            case _:
                pass
    except ValueError:
        pass
    raise VerificationError("not a bundle with a signed statement")


def read_bundle(data: bytes, accepted: Accepted, subject: Digest) -> Statement:
    """Give the statement that a bundle signs.

    Raises VerificationError for what is no bundle, another one's, altered, or about another
    subject.
    """
    return read_statement(accepted.verified(data), subject)


def accepted_of(every: Iterable[Accepted]) -> Accepted:
    """Give what accepts any of these."""
    found = tuple(every)
    return found[0] if len(found) == 1 else AnyAccepted(found)
