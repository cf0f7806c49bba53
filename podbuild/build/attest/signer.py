"""Who signs and whose signatures count, by the configuration; tried before anything is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from podbuild.build.attest.cosign import Cosign, CosignKeySigner
from podbuild.build.attest.keyless import IdentityAccepted, KeylessSigner, Trust, has_sigstore
from podbuild.config.attest import Signing
from podbuild.config.template import Placeholders
from podbuild.config.toml import shown
from podbuild.errors import CredentialError, PodbuildError, VerificationError, reason_of
from podbuild.oci.keys import PrivateKey, PublicKey, read_private_key, read_public_key
from podbuild.oci.names import Digest
from podbuild.oci.signing import Accepted, KeyAccepted, KeySigner, Signer, accepted_of
from podbuild.oci.statements import SIGNATURE, statement
from podbuild.system.files import read_plain
from podbuild.system.folders import Folders
from podbuild.system.process import Runner

PASSWORDS = ("PODBUILD_SIGN_PASSWORD", "COSIGN_PASSWORD")
_CAP = 64 * 1024  # bytes of a key's file
_COSIGN_FORMS = (b"SIGSTORE PRIVATE KEY", b"COSIGN PRIVATE KEY")
_PROBE = statement("podbuild", Digest.of(b"podbuild"), SIGNATURE, {})


@dataclass(frozen=True, kw_only=True)
class SigningSetup:
    """What the configuration says of signing, on this machine.

    `values` fill identities; `version` is what is released, where that is known.
    """

    signing: Signing
    root: Path  # the folder of podbuild.toml, from which paths start
    environment: Mapping[str, str] = field(repr=False)
    runner: Runner = field(repr=False)
    folders: Folders = field(repr=False)
    values: Placeholders
    version: str = ""
    on_secret: Callable[[str], None] = field(default=lambda _text: None, repr=False)

    def signer(self) -> Signer:
        """Give who signs; raises CredentialError, ToolError, ConfigError."""
        if self.signing.keyless:
            assert self._identity is not None  # noqa: S101  # the configuration asks for it
            return KeylessSigner(
                accepted=self._identity,
                version=self.version,
                environment=self.environment,
                on_secret=self.on_secret,
            )
        key = self._private
        if key is None:
            return CosignKeySigner(
                cosign=self._cosign, key=self._cosign_name, accepted=self.accepted()
            )
        return KeySigner(key, self.accepted())

    def check(self) -> None:
        """Try who signs, before anything is built.

        Raises CredentialError for a key or token that is missing, unusable, or not what is
        accepted; ToolError where what signs is not installed.
        """
        signer = self.signer()
        if isinstance(signer, KeylessSigner):
            signer.check()
            return
        try:
            bundle = signer.bundle(_PROBE)
        except CredentialError:
            raise
        except PodbuildError as error:  # nothing is published yet
            hint = "check [attest] sign.key, and its password in PODBUILD_SIGN_PASSWORD"
            raise CredentialError(error.message, hint=hint) from error
        key = self._own_public
        try:
            KeyAccepted(key).verified(bundle)
        except VerificationError:
            raise CredentialError("the key that signs does not verify what it signs") from None
        if self.signing.public_key and self._public().der != key.der:
            raise CredentialError(
                f"{self.signing.private} is not the private key of "
                f"{shown(self.signing.public_key)}",
                hint="`podbuild verify` would refuse what it signs: name the pair of keys",
            )

    def public_key(self) -> PublicKey | None:
        """Give the key whose signatures count; None where only identities do.

        Raises as `accepted` does.
        """
        if self.signing.public_key:
            return self._public()
        return self._shown_public() if self.signing.private else None

    def accepted(self) -> Accepted:
        """Give whose signatures count: the public key or that of the private one; identities.

        Raises CredentialError where a key can't be read, ToolError where nothing can verify.
        """
        found: list[Accepted] = []
        if key := self.public_key():
            found.append(KeyAccepted(key))
        if identity := self._identity:
            if not found and not has_sigstore():
                _ = self._cosign
            found.append(identity)
        return accepted_of(found)

    @cached_property
    def _identity(self) -> IdentityAccepted | None:
        if not self.signing.identity:
            return None
        return IdentityAccepted(
            signing=self.signing,
            values=self.values,
            trust=Trust(signing=self.signing),
            cosign=lambda: self._cosign,
        )

    def _shown_public(self) -> PublicKey:
        try:
            return self._own_public
        except CredentialError as error:
            raise CredentialError(
                f"signatures can't be checked: {error.message}",
                hint="name the key that is accepted: [attest] sign.public-key",
            ) from error

    @cached_property
    def _own_public(self) -> PublicKey:
        key = self._private
        return key.public if key else self._cosign.public(self._cosign_name)

    def _public(self) -> PublicKey:
        path = self.signing.public_key
        assert path is not None  # noqa: S101  # asked only where it is configured
        return read_public_key(_read(path), shown(path))

    @cached_property
    def _private(self) -> PrivateKey | None:
        """Give the key that is read here; None for one that cosign alone can use."""
        scheme, _, place = self.signing.private.partition(":")
        if scheme == "env":
            data, where = self._variable(place), f"${place}"
        elif path := self.signing.file(self.root):
            data, where = _read(path), shown(path)
        else:
            return None
        if any(form in data for form in _COSIGN_FORMS):
            return None
        return read_private_key(data, self._password, where)

    @property
    def _password(self) -> str:
        return next((self.environment[n] for n in PASSWORDS if self.environment.get(n)), "")

    @property
    def _cosign_name(self) -> str:
        """Give the key as cosign names it."""
        scheme, _, place = self.signing.private.partition(":")
        if scheme == "env":
            return f"env://{place}"
        path = self.signing.file(self.root)
        return str(path) if path else self.signing.private

    @cached_property
    def _cosign(self) -> Cosign:
        why = f"the key {self.signing.private}" if self.signing.private else "signing without a key"
        return Cosign.find(self.runner, self.folders, why, self._password)

    def _variable(self, name: str) -> bytes:
        text = self.environment.get(name, "")
        if not text.strip():
            raise CredentialError(
                f"the key that signs is missing: ${name} is not set",
                hint="set it to a PKCS#8 PEM key, or name another in [attest] sign.key",
            )
        return text.replace("\\n", "\n").encode()


def _read(path: Path) -> bytes:
    try:
        return read_plain(path, _CAP)
    except OSError as error:
        raise CredentialError(
            f"{shown(path)}: the key can't be read: {reason_of(error).lower()}",
            hint="check the path in [attest] sign",
        ) from error
