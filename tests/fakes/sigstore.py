"""A private sigstore on loopback: a CA with its log of certificates, and a transparency log.

Strict where clients are: certificates carry a signed time stamp, entries a proof, a checkpoint and
a promise. A token is taken as it is, unless it is expired.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from podbuild.system.records import JSONValue
from tests.fakes.wire import Reply, Request, Wire, json_reply, served

ISSUER = "https://token.actions.githubusercontent.com"
_SHA256 = ec.ECDSA(hashes.SHA256())
_FULCIO = "1.3.6.1.4.1.57264.1"
_SCT_LIST = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_BEGAN = datetime(2020, 1, 1, tzinfo=UTC)


def identity_token(identity: str, issuer: str = ISSUER, lives: int = 600, **claims: str) -> str:
    """Give a token as CI systems give it; nobody here checks who signed it."""
    now = int(time.time())
    body: dict[str, JSONValue] = {
        "iss": issuer,
        "aud": "sigstore",
        "sub": "repo:acme/shop:ref:refs/tags/v1.2.3",
        "iat": now - 5 if lives > 0 else now - 7200,
        "exp": now + lives,
        "job_workflow_ref": identity.removeprefix("https://github.com/"),
        **claims,
    }
    parts = ({"alg": "none", "typ": "JWT"}, body)
    return ".".join(_url64(json.dumps(each).encode()) for each in parts) + "." + _url64(b"signed")


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _new() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class Sigstore:
    """The two services, and what tells clients to trust them."""

    authority: ec.EllipticCurvePrivateKey = field(default_factory=_new)
    certificates: ec.EllipticCurvePrivateKey = field(default_factory=_new)
    log: ec.EllipticCurvePrivateKey = field(default_factory=_new)
    leaves: list[bytes] = field(default_factory=lambda: [b"the log's first entry"])
    issued: int = 0
    token: str = ""  # what a job on GitHub gets when it asks
    lock: threading.Lock = field(default_factory=threading.Lock)
    wire: Wire = field(init=False)

    def __post_init__(self) -> None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "private sigstore")])
        self._name = name
        self._root = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.authority.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_BEGAN)
            .not_valid_after(_BEGAN + timedelta(days=36500))
            .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self.authority.public_key()),
                critical=False,
            )
            .sign(self.authority, hashes.SHA256())
        )

    @property
    def trusted_root(self) -> dict[str, JSONValue]:
        """Give the trusted root, as TUF would."""
        valid: JSONValue = {"start": "2020-01-01T00:00:00Z"}
        return {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [_log(f"http://{self.wire.host}", self.log)],
            "certificateAuthorities": [
                {
                    "subject": {"organization": "test", "commonName": "private sigstore"},
                    "uri": f"http://{self.wire.host}",
                    "certChain": {
                        "certificates": [{"rawBytes": _b64(self._root.public_bytes(Encoding.DER))}]
                    },
                    "validFor": valid,
                }
            ],
            "ctlogs": [_log(f"http://{self.wire.host}/ct", self.certificates)],
        }

    @property
    def trust(self) -> str:
        """Give what a client needs to sign and to verify (ClientTrustConfig)."""
        here: dict[str, JSONValue] = {
            "url": f"http://{self.wire.host}",
            "majorApiVersion": 1,
            "validFor": {"start": "2020-01-01T00:00:00Z"},
            "operator": "test",
        }
        return json.dumps(
            {
                "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
                "trustedRoot": self.trusted_root,
                "signingConfig": {
                    "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                    "caUrls": [here],
                    "oidcUrls": [],
                    "rekorTlogUrls": [here],
                    "tsaUrls": [],
                    "rekorTlogConfig": {"selector": "ANY"},
                    "tsaConfig": {"selector": "ANY"},
                },
            }
        )

    def answer(self, request: Request) -> Reply:
        """Answer a request."""
        if request.method == "POST" and request.path == "/api/v2/signingCert":
            return self._certificate(request)
        if request.method == "POST" and request.path == "/api/v1/log/entries":
            return self._entry(request)
        if request.path == "/github" and self.token:
            assert request.value("audience") == "sigstore"
            assert request.headers["authorization"] == "bearer of the job"
            return json_reply(200, {"value": self.token})
        return Reply(status=404, body=b"{}")

    def _certificate(self, request: Request) -> Reply:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        body = request.json
        credentials = body.get("credentials")
        if not token and isinstance(credentials, dict):  # cosign's way
            token = str(credentials.get("oidcIdentityToken"))
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        if claims["exp"] < time.time() or claims["aud"] != "sigstore":
            return json_reply(401, {"code": 16, "message": "the token is expired or for others"})
        key = _requested_key(body)
        leaf = self._leaf(key, claims)
        self.issued += 1
        chain: list[JSONValue] = [
            each.public_bytes(Encoding.PEM).decode() for each in (leaf, self._root)
        ]
        return json_reply(200, {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}})

    def _leaf(self, key: ec.EllipticCurvePublicKey, claims: Mapping[str, str]) -> x509.Certificate:
        now = datetime.now(UTC).replace(microsecond=0)
        identity = f"https://github.com/{claims['job_workflow_ref']}"
        issuer = claims["iss"].encode()
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)])
        v2 = bytes([0x0C, len(issuer)]) + issuer
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(seconds=30))
            .not_valid_after(now + timedelta(minutes=10))
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.public_key()),
                critical=False,
            )
            .add_extension(names, critical=True)
            .add_extension(
                x509.UnrecognizedExtension(ObjectIdentifier(f"{_FULCIO}.1"), issuer),
                critical=False,
            )
            .add_extension(
                x509.UnrecognizedExtension(ObjectIdentifier(f"{_FULCIO}.8"), v2), critical=False
            )
        )
        bare = builder.sign(self.authority, hashes.SHA256()).tbs_certificate_bytes
        stamps = x509.UnrecognizedExtension(_SCT_LIST, self._time_stamps(bare))
        return builder.add_extension(stamps, critical=False).sign(self.authority, hashes.SHA256())

    def _time_stamps(self, certificate: bytes) -> bytes:
        """Give the list of one SCT (RFC 6962, 3.2 and 3.3) about a certificate without it."""
        now = int(time.time() * 1000)
        issuer = hashlib.sha256(_der(self.authority)).digest()
        size = struct.pack(">I", len(certificate))[1:]
        signed = struct.pack(">BBQH", 0, 0, now, 1) + issuer + size + certificate + b"\0\0"
        signature = self.certificates.sign(signed, _SHA256)
        log = hashlib.sha256(_der(self.certificates)).digest()
        head = b"\0" + log + struct.pack(">QH", now, 0) + b"\x04\x03"
        stamp = head + struct.pack(">H", len(signature)) + signature
        listed = struct.pack(">H", len(stamp)) + stamp
        whole = struct.pack(">H", len(listed)) + listed
        return bytes([0x04, 0x81, len(whole)] if len(whole) > 127 else [0x04, len(whole)]) + whole

    def _entry(self, request: Request) -> Reply:
        match request.json:
            case {"kind": "dsse", "spec": {"proposedContent": {
                "envelope": str(envelope), "verifiers": [str(verifier)]}}}:  # fmt: skip
                pass
            case _:
                return json_reply(400, {"code": 400, "message": "no envelope"})
        found = json.loads(envelope)
        payload = base64.b64decode(found["payload"])
        body = _canonical(
            {
                "apiVersion": "0.0.1",
                "kind": "dsse",
                "spec": {
                    "envelopeHash": _hash(envelope.encode()),
                    "payloadHash": _hash(payload),
                    "signatures": [
                        {"signature": found["signatures"][0]["sig"], "verifier": verifier}
                    ],
                },
            }
        )
        with self.lock:
            self.leaves.append(body)
            leaves = tuple(self.leaves)
        index = len(leaves) - 1
        log = hashlib.sha256(_der(self.log)).digest()
        entry: dict[str, JSONValue] = {
            "body": _b64(body),
            "integratedTime": int(time.time()),
            "logID": log.hex(),
            "logIndex": index,
        }
        root = _root(leaves)
        name = self.wire.host.partition(":")[0]  # as cosign looks for it
        note = f"{name} - 1\n{len(leaves)}\n{_b64(root)}\n"
        signature = _b64(log[:4] + self.log.sign(note.encode(), _SHA256))
        promise = self.log.sign(_canonical(entry), _SHA256)
        entry["verification"] = {
            "inclusionProof": {
                "checkpoint": f"{note}\n\u2014 {name} {signature}\n",
                "hashes": [each.hex() for each in _proof(index, leaves)],
                "logIndex": index,
                "rootHash": root.hex(),
                "treeSize": len(leaves),
            },
            "signedEntryTimestamp": _b64(promise),
        }
        number = uuid.uuid4().hex + uuid.uuid4().hex
        where = f"/api/v1/log/entries/{number}"
        return json_reply(201, {number: entry}, ETag=number, Location=where)


def _root(leaves: tuple[bytes, ...]) -> bytes:
    """Give the hash of a Merkle tree (RFC 6962, 2.1)."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    half = _half(len(leaves))
    return hashlib.sha256(b"\1" + _root(leaves[:half]) + _root(leaves[half:])).digest()


def _proof(index: int, leaves: tuple[bytes, ...]) -> list[bytes]:
    """Give the audit path of a leaf (RFC 6962, 2.1.1)."""
    if len(leaves) == 1:
        return []
    half = _half(len(leaves))
    if index < half:
        return [*_proof(index, leaves[:half]), _root(leaves[half:])]
    return [*_proof(index - half, leaves[half:]), _root(leaves[:half])]


def _half(size: int) -> int:
    return 1 << ((size - 1).bit_length() - 1)


def _hash(data: bytes) -> JSONValue:
    return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}


def _canonical(value: JSONValue) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _log(url: str, key: ec.EllipticCurvePrivateKey) -> JSONValue:
    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": _b64(_der(key)),
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": {"start": "2020-01-01T00:00:00Z"},
        },
        "logId": {"keyId": _b64(hashlib.sha256(_der(key)).digest())},
    }


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _requested_key(body: Mapping[str, JSONValue]) -> ec.EllipticCurvePublicKey:
    request = body.get("certificateSigningRequest")
    asked = body.get("publicKeyRequest")
    if isinstance(request, str):
        key = x509.load_pem_x509_csr(base64.b64decode(request)).public_key()
    else:
        assert isinstance(asked, dict)
        assert isinstance(asked["publicKey"], dict)
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        found = load_pem_public_key(str(asked["publicKey"]["content"]).encode())
        assert isinstance(found, ec.EllipticCurvePublicKey)
        return found
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


@contextmanager
def private_sigstore() -> Iterator[Sigstore]:
    """Serve a private sigstore while the block runs."""
    found = Sigstore()
    with served(found.answer) as wire:
        found.wire = wire
        yield found
