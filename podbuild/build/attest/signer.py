"""The key that the configuration names, read before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from podbuild.config.attest import Signing
from podbuild.config.toml import shown
from podbuild.errors import CredentialError
from podbuild.oci.keys import (
    PrivateKey,
    PublicKey,
    read_private_key,
    read_public_key,
)
from podbuild.oci.statements import SIGNATURE, preauthenticated

PASSWORDS = ("PODBUILD_SIGN_PASSWORD", "COSIGN_PASSWORD")
_CAP = 64 * 1024  # bytes of a key's file


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Where the configuration says that keys are."""

    signing: Signing
    root: Path  # the folder of podbuild.toml, from which paths start
    environment: Mapping[str, str]

    def private(self) -> PrivateKey:
        """Give the key that signs, tried once.

        Raises CredentialError for one that is missing, unusable, or not the pair of `public-key`;
        ToolError where the extra is not installed.
        """
        scheme, _, place = self.signing.private.partition(":")
        data, where = self._environment(place) if scheme == "env" else self._file(place)
        password = next((self.environment[n] for n in PASSWORDS if self.environment.get(n)), "")
        key = read_private_key(data, password, where)
        probe = preauthenticated(SIGNATURE, b"podbuild")
        if not key.public.verifies(key.sign(probe), probe):
            raise CredentialError(f"{where} signs, and its own public key does not verify it")
        if self.signing.public_key and self._public().der != key.public.der:
            raise CredentialError(
                f"{where} is not the private key of {shown(self.signing.public_key)}",
                hint="`podbuild verify` would refuse what it signs: name the pair of keys",
            )
        return key

    def public(self) -> PublicKey:
        """Give the key that is accepted: the one configured, else that of the private key.

        Raises CredentialError where neither can be read.
        """
        if self.signing.public_key:
            return self._public()
        try:
            return self.private().public
        except CredentialError as error:
            raise CredentialError(
                f"signatures can't be checked: {error.message}",
                hint="name the key that is accepted: [attest] sign.public-key",
            ) from error

    def _public(self) -> PublicKey:
        path = self.signing.public_key
        assert path is not None  # noqa: S101  # asked only where it is configured
        return read_public_key(_read(path), shown(path))

    def _environment(self, name: str) -> tuple[bytes, str]:
        text = self.environment.get(name, "")
        if not text.strip():
            raise CredentialError(
                f"the key that signs is missing: ${name} is not set",
                hint="set it to a PKCS#8 PEM key, or name another in [attest] sign.key",
            )
        return text.replace("\\n", "\n").encode(), f"${name}"

    def _file(self, place: str) -> tuple[bytes, str]:
        path = self.signing.file(self.root) or self.root / place
        return _read(path), shown(path)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_CAP)
    except OSError as error:
        raise CredentialError(
            f"{shown(path)}: the key can't be read: {(error.strerror or str(error)).lower()}",
            hint="check the path in [attest] sign",
        ) from error
