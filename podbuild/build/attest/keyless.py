"""Signing without a key: a CI system's token gets a short-lived certificate, and a log entry.

sigstore-python does it (extra `keyless`), else cosign. A certificate names a workflow; which ones
are accepted is pinned in the configuration.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from typing import Any

from podbuild.build.attest.cosign import Cosign, checked
from podbuild.config.attest import Signing, identity_pattern
from podbuild.config.template import Placeholders
from podbuild.config.toml import shown
from podbuild.errors import (
    ConfigError,
    CredentialError,
    PodbuildError,
    PublishError,
    VerificationError,
    reason_of,
)
from podbuild.oci.keys import certified_names
from podbuild.oci.signing import envelope
from podbuild.oci.statements import IN_TOTO, Statement
from podbuild.system.files import read_plain
from podbuild.system.records import claims_of, document_of, object_of

TOKEN = "SIGSTORE_ID_TOKEN"  # noqa: S105  # of the variable
_GITHUB = ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
_CAP = 4 * 1024 * 1024  # bytes of a trust configuration


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Which sigstore: the public one, or what a file names; read once."""

    signing: Signing
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @cached_property
    def text(self) -> str:
        """Give the trust configuration of a private sigstore; empty for the public one.

        Raises ConfigError.
        """
        path = self.signing.trust
        if path is None:
            return ""
        try:
            text = read_plain(path, _CAP).decode()
            if {"trustedRoot", "signingConfig"} <= (object_of(text) or {}).keys():
                return text
        except OSError as error:
            problem = f"{shown(path)}: can't be read: {reason_of(error).lower()}"
            raise ConfigError(problem) from error
        except ValueError:
            pass
        raise ConfigError(
            f"{shown(path)}: not the trust configuration of a sigstore",
            hint="JSON with trustedRoot and signingConfig (ClientTrustConfig)",
        )

    def files(self) -> Mapping[str, str]:
        """Give what cosign takes of it, by option."""
        if not self.text:
            return {}
        found = object_of(self.text) or {}
        return {
            "--trusted-root": json.dumps(found["trustedRoot"]),
            "--signing-config": json.dumps(found["signingConfig"]),
        }

    def config(self) -> Any:
        """Give it as sigstore-python has it; raises ConfigError, PublishError for the public one.

        That one is fetched, and kept in the folder where sigstore-python keeps it.
        """
        with self._lock:
            return self._config

    @cached_property
    def _config(self) -> Any:
        from sigstore.models import ClientTrustConfig  # noqa: PLC0415  # an extra, and slow

        if self.text:
            try:
                return ClientTrustConfig.from_json(self.text)
            except Exception as error:
                raise ConfigError(
                    f"[attest] sign.trust is not a trust configuration: {_one_line(error)}"
                ) from error
        try:
            return ClientTrustConfig.production()
        except Exception as error:
            raise PublishError(
                f"what the public sigstore trusts can't be fetched: {_one_line(error)}",
                hint="it needs tuf-repo-cdn.sigstore.dev; run the same command again",
            ) from error


@dataclass(frozen=True, kw_only=True)
class IdentityAccepted:
    """Signatures of the pinned identities. `cosign` verifies where sigstore-python is missing."""

    signing: Signing
    values: Placeholders
    trust: Trust
    cosign: Callable[[], Cosign] = field(repr=False)
    version: str = ""

    def of(self, version: str) -> IdentityAccepted:
        """Give the identities that may sign this version."""
        return replace(self, version=version)

    def verified(self, bundle: bytes) -> bytes:
        """Give the statement that a pinned identity has signed; raises VerificationError.

        Raises what `Trust` raises too, and ToolError where nothing here can verify.
        """
        payload, _ = envelope(bundle)
        if not _has_certificate(bundle):
            raise VerificationError("signed by a key, and no identity is in it")
        if not has_sigstore():
            return self._by_cosign(bundle)
        from sigstore.models import Bundle  # noqa: PLC0415  # an extra, and slow
        from sigstore.verify import Verifier  # noqa: PLC0415

        config = self.trust.config()
        try:
            verifier = Verifier(trusted_root=config.trusted_root)
            kind, said = verifier.verify_dsse(Bundle.from_json(bundle), self)
        except PodbuildError:
            raise
        except Exception as error:  # whatever a foreign bundle leads to
            raise VerificationError(_one_line(error)) from error
        if kind != IN_TOTO or said != payload:
            raise VerificationError("not a statement")
        return payload

    def verify(self, certificate: Any) -> None:
        """Check the names in a certificate, as sigstore-python's policies do.

        Raises VerificationError.
        """
        found, issuer = certified_names(certificate)
        if issuer != self.signing.issuer:
            raise VerificationError(f"{issuer or 'nobody'} vouches for it, not the issuer")
        if not any(self.signing.accepts(each, self.version, self.values) for each in found):
            raise VerificationError(f"{', '.join(found) or 'nobody'} has signed it")

    def _by_cosign(self, bundle: bytes) -> bytes:
        pattern = "|".join(
            identity_pattern(each, self.version, self.values) for each in self.signing.identity
        )
        root = self.trust.files().get("--trusted-root", "")
        return self.cosign().verified(bundle, pattern, self.signing.issuer, root)


def _has_certificate(bundle: bytes) -> bool:
    match document_of(bundle):
        case {"verificationMaterial": {"certificate": dict()}}:
            return True
        case _:
            return False


def has_sigstore() -> bool:
    """Tell whether the extra is installed."""
    return find_spec("sigstore") is not None


def ambient_token(environment: Mapping[str, str]) -> str:
    """Give the CI system's token for sigstore; empty where only cosign can ask for it.

    Raises CredentialError where there is none, or who gives it refuses.
    """
    if token := environment.get(TOKEN, "").strip():
        return token
    if not all(environment.get(name) for name in _GITHUB):
        raise CredentialError(
            "signing without a key needs the CI system's token, and there is none",
            hint=_how(environment),
        )
    if not has_sigstore():
        return ""
    from sigstore.oidc import detect_credential  # noqa: PLC0415  # an extra, and slow

    try:
        found = detect_credential()
    except Exception as error:
        raise CredentialError(
            f"GitHub gives no token: {_one_line(error)}", hint=_how(environment)
        ) from error
    if not found:
        raise CredentialError("GitHub gives no token", hint="GITHUB_ACTIONS must be set")
    return str(found)


def _how(environment: Mapping[str, str]) -> str:
    github = "permissions: { id-token: write }"
    gitlab = "id_tokens: { SIGSTORE_ID_TOKEN: { aud: sigstore } }"
    if environment.get("GITHUB_ACTIONS"):
        return f"the job needs {github}; a pull request from a fork gets none"
    if environment.get("GITLAB_CI"):
        return f"the job needs {gitlab}"
    return f"in the job: on GitHub {github}, on GitLab {gitlab}; elsewhere sign with a key"


def identity_of(token: str) -> tuple[str, str]:
    """Give the identity and the issuer that a token's certificate will name, as Fulcio maps them.

    Raises CredentialError for what is no token.
    """
    claims = claims_of(token)
    if "iss" not in claims:
        raise CredentialError(
            "the CI system's token is none (JWT)", hint=f"check {TOKEN}, if it is set by hand"
        )
    issuer = str(claims["iss"])
    workflow, config = claims.get("job_workflow_ref"), claims.get("ci_config_ref_uri")
    if workflow:
        return f"https://github.com/{workflow}", issuer
    if config:
        return f"https://{config}", issuer
    return str(claims.get("email") or claims.get("sub") or ""), issuer


@dataclass(frozen=True, kw_only=True)
class KeylessSigner:
    """Signs as who the token names: one certificate for all statements."""

    accepted: IdentityAccepted
    version: str  # what is released
    environment: Mapping[str, str] = field(repr=False)
    on_secret: Callable[[str], None] = field(repr=False)
    _held: list[Any] = field(default_factory=list, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def check(self) -> None:
        """Ask for a token, before anything is built, and whether `verify` will accept its name.

        Raises CredentialError, ToolError, ConfigError.
        """
        if not has_sigstore():
            self.accepted.cosign()
        _ = self.accepted.trust.text
        token = self._token()
        if not token:
            return
        identity, issuer = identity_of(token)
        signing = self.accepted.signing
        if issuer != signing.issuer:
            raise CredentialError(
                f"the token is from {issuer}, and the accepted issuer is {signing.issuer}",
                hint="check issuer in [attest] sign",
            )
        if not signing.accepts(identity, self.version, self.accepted.values):
            raise CredentialError(
                f"this run would sign as {identity}, and `podbuild verify` would refuse that",
                hint="check identity in [attest] sign",
            )

    def bundle(self, found: Statement) -> bytes:
        """Give the bundle, once it has been read back."""
        with self._lock:
            made = self._by_sigstore(found) if has_sigstore() else self._by_cosign(found)
        return checked(made, found, self.accepted.of(self.version))

    def signature(self, data: bytes) -> None:
        """Nothing: only statements are signed without a key."""

    def _token(self) -> str:
        token = ambient_token(self.environment)
        if token:
            self.on_secret(token)
        return token

    def _by_cosign(self, found: Statement) -> bytes:
        self._token()
        return self.accepted.cosign().attest(found, files=self.accepted.trust.files())

    def _by_sigstore(self, found: Statement) -> bytes:
        from sigstore import dsse  # noqa: PLC0415  # an extra, and slow

        for renewing in (False, True):
            try:
                if renewing or not self._held:
                    self._held[:] = [self._certified()]
                bundle: str = self._held[0].sign_dsse(dsse.Statement(found.data)).to_json()
            except PodbuildError:
                raise
            except Exception as error:
                if type(error).__name__ == "ExpiredCertificate" and not renewing:
                    continue
                raise _unsigned(error) from error
            else:
                return bundle.encode()
        raise AssertionError

    def _certified(self) -> Any:
        from sigstore.oidc import IdentityToken  # noqa: PLC0415  # an extra, and slow
        from sigstore.sign import Signer, SigningContext  # noqa: PLC0415

        config = self.accepted.trust.config()
        token = IdentityToken(self._token())
        return Signer(token, SigningContext.from_trust_config(config), cache=True)


def _unsigned(error: Exception) -> PublishError:
    return PublishError(
        f"sigstore does not sign: {_one_line(error)}",
        hint="no tag has moved; run the same command again",
    )


def _one_line(error: Exception) -> str:
    """Give an exception's text, or that of its cause, in one line."""
    cause = error.__cause__ or error.__context__
    text = str(error) or (str(cause) if cause else "") or type(error).__name__
    return " ".join(text.split())[:300]
