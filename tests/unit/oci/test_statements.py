"""Statements, their signatures and the manifests that carry them."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from podbuild.errors import CredentialError, PublishError, VerificationError
from podbuild.oci.attach import Attachments, fallback_tag
from podbuild.oci.keys import PrivateKey, read_private_key, read_public_key
from podbuild.oci.manifest import Manifest, MediaType
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest
from podbuild.oci.signing import AnyAccepted, KeyAccepted, KeySigner, preauthenticated, read_bundle
from podbuild.oci.statements import (
    SIGNATURE,
    SPDX,
    signed_referrer,
    statement,
    unsigned_referrer,
)
from tests.signing import new_key, private_pem, public_pem

SUBJECT = Manifest(MediaType.OCI_INDEX, b'{"schemaVersion":2,"manifests":[]}')
SAID = statement("web", SUBJECT.digest, SIGNATURE, {})


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa", "ed25519"])
@pytest.mark.parametrize("password", ["", "a password"])
def test_every_kind_of_key_signs_alike_each_time(kind: str, password: str) -> None:
    made = new_key(kind)
    key = read_private_key(private_pem(made, password).encode(), password, "it")
    bundle = signer(key).bundle(SAID)
    again = read_private_key(private_pem(made).encode(), "", "it")
    assert signer(again).bundle(SAID) == bundle
    public = read_public_key(public_pem(made).encode(), "it")
    assert public == key.public
    assert read_bundle(bundle, KeyAccepted(public), SUBJECT.digest).data == SAID.data


@pytest.mark.parametrize(
    ("data", "password", "said"),
    [
        (b"", "", "no private key that can be read"),
        (b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n", "", "cosign's own form"),
        (private_pem(new_key(), "right").encode(), "wrong", "the password is wrong"),
        (private_pem(new_key(), "right").encode(), "", "needs a password"),
        (private_pem(new_key()).encode(), "needless", "has no password"),
        (public_pem(new_key()).encode(), "", "no private key that can be read"),
    ],
    ids=["empty", "cosign", "wrong password", "no password", "needless password", "public"],
)
def test_what_can_not_sign_is_refused(data: bytes, password: str, said: str) -> None:
    with pytest.raises(CredentialError, match=said) as caught:
        read_private_key(data, password, "$KEY")
    assert "$KEY" in caught.value.message
    assert "right" not in caught.value.message


def test_small_and_odd_keys_are_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    for key in (
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(public_exponent=65537, key_size=1024),  # noqa: S505
    ):
        with pytest.raises(CredentialError, match="can't sign here"):
            read_private_key(private_pem(key).encode(), "", "it")


def signer(key: PrivateKey) -> KeySigner:
    return KeySigner(key, KeyAccepted(key.public))


def altered(bundle: bytes, **changes: object) -> bytes:
    content = json.loads(bundle)
    content["dsseEnvelope"] |= changes
    return json.dumps(content).encode()


def test_a_bundle_counts_only_as_it_was_signed() -> None:
    made = new_key()
    key = read_private_key(private_pem(made).encode(), "", "it")
    bundle = signer(key).bundle(SAID)
    other = base64.b64encode(SAID.data.replace(b"web", b"bad")).decode()
    for wrong in (
        altered(bundle, payload=other),
        altered(bundle, payloadType="text/plain"),
        altered(bundle, signatures=[]),
        bundle[:-10],
        b"[]",
    ):
        with pytest.raises(VerificationError):
            read_bundle(wrong, KeyAccepted(key.public), SUBJECT.digest)
    with pytest.raises(VerificationError, match="another image"):
        read_bundle(bundle, KeyAccepted(key.public), Digest.of(b"other"))
    stranger = read_public_key(public_pem(new_key()).encode(), "it")
    with pytest.raises(VerificationError, match="not the configured key's"):
        read_bundle(bundle, KeyAccepted(stranger), SUBJECT.digest)


def test_what_is_signed_is_as_dsse_has_it() -> None:
    # secure-systems-lab/dsse, protocol.md
    assert preauthenticated("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_attaching_twice_is_attaching_once() -> None:
    store = MemoryStore()
    store.put_manifest(SUBJECT)
    key = read_private_key(private_pem(new_key()).encode(), "", "it")
    place = Attachments(store, lambda _seconds: None)
    signed = signed_referrer(SUBJECT, SAID, signer(key).bundle(SAID))
    sbom = statement("web", SUBJECT.digest, SPDX, {"packages": []})
    unsigned = unsigned_referrer(SUBJECT, [sbom, SAID])
    for _ in range(2):
        assert place.put(SUBJECT.digest, [signed, unsigned]) == ()
    assert set(place.of(SUBJECT.digest)) == {signed.manifest.digest, unsigned.manifest.digest}
    assert len(store.manifests) == 3


def test_the_tag_for_registries_without_the_api() -> None:
    assert str(fallback_tag(SUBJECT.digest)) == f"sha256-{SUBJECT.digest.hex}"


def test_an_entry_of_a_list_says_what_the_artifact_is() -> None:
    key = read_private_key(private_pem(new_key()).encode(), "", "it")
    signed = signed_referrer(SUBJECT, SAID, signer(key).bundle(SAID)).manifest
    listing = signed.listing
    assert listing.artifact_type == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert listing.annotations == signed.annotations
    assert type(listing).from_json(listing.to_json()) == listing
    assert replace(listing, artifact_type="").to_json().get("artifactType") is None


class Unreachable:
    """Who can't be asked here."""

    def verified(self, bundle: bytes) -> bytes:
        raise PublishError(f"{len(bundle)} bytes that nobody can check")

    def of(self, version: str) -> Unreachable:
        del version
        return self


def test_who_can_not_be_asked_hides_nobody_else() -> None:
    key = read_private_key(private_pem(new_key()).encode(), "", "it")
    both = AnyAccepted((Unreachable(), KeyAccepted(key.public)))
    bundle = signer(key).bundle(SAID)
    assert read_bundle(bundle, both.of("1.2.3"), SUBJECT.digest).data == SAID.data
    with pytest.raises(VerificationError, match="nobody can check"):
        read_bundle(altered(bundle, payload=""), both, SUBJECT.digest)
