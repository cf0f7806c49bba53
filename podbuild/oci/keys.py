"""Keys that sign and verify: PKCS#8 PEM of the kinds that cosign 3 verifies in a bundle.

P-256, P-384 and RSA (PKCS#1 v1.5) with SHA-256, and Ed25519. Every signature is a function of key
and bytes (RFC 6979 for the curves), so that signing again gives the same bundle.
Only `cryptography` does cryptography here; it is imported when it is needed.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from podbuild.errors import CredentialError, ToolError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.x509 import Certificate

    Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
    Public = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

_CURVES = ("secp256r1", "secp384r1")
_ISSUERS = ("1.3.6.1.4.1.57264.1.8", "1.3.6.1.4.1.57264.1.1")  # sigstore's, newer form first
_UTF8_STRING = 0x0C
_RSA_LEAST = 2048  # bits
_KINDS = "podbuild signs with P-256, P-384, RSA of 2048 bits and more, or Ed25519"


def _need_cryptography() -> None:
    try:
        import cryptography  # noqa: F401, PLC0415  # an extra
    except ImportError:
        raise ToolError(
            "signatures need the Python package cryptography",
            hint="pip install 'podbuild[sign]'",
        ) from None


@dataclass(frozen=True)
class PublicKey:
    """A key that verifies; `hint` is how a bundle names it (base64 of the SHA-256 of its DER)."""

    der: bytes = field(repr=False)
    _key: Public = field(compare=False, repr=False)

    @property
    def hint(self) -> str:
        """Give the name of the key in bundles."""
        return base64.b64encode(hashlib.sha256(self.der).digest()).decode()

    def __str__(self) -> str:
        return f"SHA256:{hashlib.sha256(self.der).hexdigest()[:16]}"

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Tell whether a signature of these bytes is this key's."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  # an extra
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import (  # noqa: PLC0415
            ec,
            ed25519,
            padding,
        )

        key = self._key
        try:
            if isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
            elif isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, data)
            else:
                key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class PrivateKey:
    """A key that signs, deterministically."""

    public: PublicKey
    sign: Callable[[bytes], bytes] = field(repr=False, compare=False)


def read_private_key(data: bytes, password: str, where: str) -> PrivateKey:
    """Read PKCS#8 PEM; `where` names it for people.

    Raises CredentialError for what is no key, a kind that can't sign here, a missing or wrong
    password; ToolError where the extra is not installed.
    """
    _need_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  # an extra
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        load_pem_private_key,
    )

    if b"SIGSTORE PRIVATE KEY" in data or b"COSIGN PRIVATE KEY" in data:
        raise CredentialError(
            f"{where} is a key file of cosign's own form, which podbuild does not read",
            hint="sign with PKCS#8: openssl genpkey -algorithm EC -pkeyopt "
            "ec_paramgen_curve:P-256 -out release.pem",
        )
    try:
        key = load_pem_private_key(data.strip() + b"\n", password.encode() or None)
    except TypeError as error:
        encrypted = "not given" in str(error)
        raise CredentialError(
            f"{where} needs a password" if encrypted else f"{where} has no password",
            hint="set PODBUILD_SIGN_PASSWORD" if encrypted else "unset PODBUILD_SIGN_PASSWORD",
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise CredentialError(
            f"{where} is no private key that can be read"
            + (", or the password is wrong" if password else ""),
            hint="it must be PKCS#8 PEM: -----BEGIN PRIVATE KEY-----",
        ) from None
    return _signer(key, where)


def _signer(key: object, where: str) -> PrivateKey:
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415  # an extra
    from cryptography.hazmat.primitives.asymmetric import (  # noqa: PLC0415
        ec,
        ed25519,
        padding,
        rsa,
    )

    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        curve, algorithm = key, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        return PrivateKey(_public(key.public_key()), lambda data: curve.sign(data, algorithm))
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _RSA_LEAST:
        rsa_key = key
        return PrivateKey(
            _public(key.public_key()),
            lambda data: rsa_key.sign(data, padding.PKCS1v15(), hashes.SHA256()),
        )
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return PrivateKey(_public(key.public_key()), key.sign)
    raise CredentialError(f"{where} is a key of a kind that can't sign here", hint=_KINDS)


def _public(key: Public) -> PublicKey:
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415  # an extra
        Encoding,
        PublicFormat,
    )

    return PublicKey(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), key)


def read_public_key(data: bytes, where: str) -> PublicKey:
    """Read a PEM public key; raises CredentialError and ToolError as `read_private_key` does."""
    _need_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  # an extra
    from cryptography.hazmat.primitives.asymmetric import (  # noqa: PLC0415
        ec,
        ed25519,
        rsa,
    )
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        load_pem_public_key,
    )

    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise CredentialError(
            f"{where} is no public key that can be read",
            hint="it must be PEM: -----BEGIN PUBLIC KEY-----",
        ) from None
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return _public(key)
    if isinstance(key, (rsa.RSAPublicKey, ed25519.Ed25519PublicKey)):
        return _public(key)
    raise CredentialError(f"{where} is a key of a kind that is not verified here", hint=_KINDS)


def certified_names(certificate: Certificate) -> tuple[tuple[str, ...], str]:
    """Give whom a certificate of sigstore names, and who vouches for them.

    Source: sigstore/fulcio, docs/oid-info.md. The older form is bare text, the newer one a DER
    string.
    """
    from cryptography.x509 import (  # noqa: PLC0415  # an extra
        ObjectIdentifier,
        RFC822Name,
        SubjectAlternativeName,
        UniformResourceIdentifier,
    )

    extensions = {each.oid: each.value for each in certificate.extensions}
    names = extensions.get(SubjectAlternativeName.oid)
    if not isinstance(names, SubjectAlternativeName):
        return (), ""
    found = (
        *names.get_values_for_type(UniformResourceIdentifier),
        *names.get_values_for_type(RFC822Name),
    )
    issuers = (extensions.get(ObjectIdentifier(each)) for each in _ISSUERS)
    data = next((each.public_bytes() for each in issuers if each is not None), b"")
    is_string = data[:1] == bytes([_UTF8_STRING]) and len(data) == 2 + (data[1:2] or b"\0")[0]
    return found, data[2 if is_string else 0 :].decode(errors="replace")
