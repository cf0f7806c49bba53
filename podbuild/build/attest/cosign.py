"""cosign, for the keys that only it knows and where sigstore-python is not installed.

It signs files and touches no registry (`attest-blob --statement`, from version 3 on). Passwords and
tokens reach it by the environment alone.
"""

from __future__ import annotations

import base64
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from podbuild.build.toolchain.model import read_record
from podbuild.errors import CredentialError, PublishError, ToolError, VerificationError
from podbuild.oci.keys import PublicKey, read_public_key
from podbuild.oci.signing import Accepted, envelope
from podbuild.oci.statements import Statement
from podbuild.system.folders import Folders
from podbuild.system.process import CommandError, CommandTimeoutError, Runner
from podbuild.system.records import document_of, json_of

_SECONDS = 120.0  # a key service or a log may be slow
# No log, no time stamps, nothing to fetch: a key alone signs.
_NO_SERVICES = (
    '{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json",'
    '"rekorTlogConfig":{},"tsaConfig":{}}'
)
_NO_ROOT = '{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'
_HINT = "install cosign 3 (or newer) on the PATH"


@dataclass(frozen=True, kw_only=True)
class Cosign:
    """The program, and its environment."""

    program: Path
    runner: Runner = field(repr=False)

    @classmethod
    def find(cls, runner: Runner, folders: Folders, why: str, password: str = "") -> Cosign:
        """Give cosign of the PATH or of the private toolchain; `why` says what needs it.

        Raises ToolError for none, and for one that can't sign statements as they are.
        """
        record = read_record(folders)
        private = record.folder / "bin" / "cosign" if record else None
        program = runner.which("cosign") or (private if private and private.is_file() else None)
        if program is None:
            raise ToolError(f"{why} needs cosign, and there is none", hint=_HINT)
        own = {"COSIGN_PASSWORD": password, "TUF_ROOT": str(folders.cache / "sigstore")}
        found = cls(program=program, runner=runner.extended(own))
        try:
            options = runner(str(program), "attest-blob", "--help", timeout=_SECONDS).out
        except CommandError:
            options = ""
        if "--statement" not in options:
            raise ToolError(f"{why} needs cosign 3, and {program} is older", hint=_HINT)
        return found

    def public(self, key: str) -> PublicKey:
        """Give a key's public part; raises CredentialError."""
        said = self._asked(("public-key", "--key", key), f"{key}: cosign can't use this key")
        return read_public_key(said.encode(), key)

    def attest(self, found: Statement, *options: str, files: Mapping[str, str]) -> bytes:
        """Give the bundle of a statement; `files` are options that name a file of this content.

        Raises PublishError.
        """
        with _folder() as folder:
            statement, bundle = folder / "statement", folder / "bundle"
            statement.write_bytes(found.data)
            argv = ("attest-blob", "--statement", str(statement), "--bundle", str(bundle), "--yes")
            given = _given(folder, files)
            self._signed((*argv, *options, *given))
            return _read(bundle)

    def sign(self, data: bytes, key: str) -> bytes:
        """Give the signature of bytes, in base64; raises PublishError."""
        with _folder() as folder:
            blob, bundle = folder / "blob", folder / "bundle"
            blob.write_bytes(data)
            argv = ("sign-blob", "--bundle", str(bundle), "--yes", "--key", key)
            self._signed((*argv, *_given(folder, KEY_ALONE), str(blob)))
            match document_of(_read(bundle)):
                case {"messageSignature": {"signature": str(signature)}}:
                    return signature.encode()
                case _:
                    raise PublishError("cosign gave no signature")

    def verified(self, bundle: bytes, identity: str, issuer: str, root: str) -> bytes:
        """Give the statement that an identity (a regular expression) has signed.

        `root` is the content of a trusted root; empty: the public one. Raises VerificationError.
        """
        payload, _ = envelope(bundle)
        digest, kind = _about(payload)
        with _folder() as folder:
            file = folder / "bundle"
            file.write_bytes(bundle)
            argv = (
                "verify-blob-attestation",
                f"--bundle={file}",
                f"--certificate-identity-regexp=^(?:{identity})$",
                f"--certificate-oidc-issuer={issuer}",
                f"--digest={digest}",
                "--digestAlg=sha256",
                f"--type={kind}",
                *_given(folder, {"--trusted-root": root} if root else {}),
            )
            try:
                self.runner(str(self.program), *argv, timeout=_SECONDS)
            except CommandError as error:
                raise VerificationError(_last(error)) from None
        return payload

    def _signed(self, argv: Iterable[str]) -> None:
        try:
            self.runner(str(self.program), *argv, timeout=_SECONDS)
        except CommandError as error:
            raise PublishError(
                f"cosign does not sign: {_last(error)}",
                hint="no tag has moved; run the same command again",
            ) from None

    def _asked(self, argv: Iterable[str], failing: str) -> str:
        try:
            return self.runner(str(self.program), *argv, timeout=_SECONDS).out
        except CommandError as error:
            raise CredentialError(
                f"{failing}: {_last(error)}",
                hint="its password stands in PODBUILD_SIGN_PASSWORD or COSIGN_PASSWORD; a key "
                "service needs its own login",
            ) from None


KEY_ALONE: Mapping[str, str] = {"--signing-config": _NO_SERVICES, "--trusted-root": _NO_ROOT}


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="podbuild-cosign-") as name:
        yield Path(name)


def _given(folder: Path, files: Mapping[str, str]) -> Iterator[str]:
    for option, content in files.items():
        path = folder / option.lstrip("-")
        path.write_text(content)
        yield f"{option}={path}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise PublishError("cosign ended well and wrote no bundle") from None


def _about(payload: bytes) -> tuple[str, str]:
    """Give whose digest a statement is about, in hex, and its kind; raises VerificationError."""
    match json_of(payload):
        case {"subject": [{"digest": {"sha256": str(digest)}}], "predicateType": str(kind)} if (
            re.fullmatch("[0-9a-f]{64}", digest) and kind.isprintable()
        ):
            return digest, kind
        case _:
            pass
    raise VerificationError("not a statement about one image")


def _last(error: CommandError) -> str:
    """Give what cosign says is wrong, which it says twice."""
    if isinstance(error, CommandTimeoutError):
        return f"no answer in {_SECONDS:.0f} s"
    lines = [line.strip() for line in error.finished.tail if line.strip()]
    said = next((line for line in reversed(lines) if "rror" in line), lines[-1] if lines else "")
    for prefix in ("error during command execution: ", "Error: "):
        said = said.removeprefix(prefix)
    return said or error.message


@dataclass(frozen=True, kw_only=True)
class CosignKeySigner:
    """A key that cosign alone can use. Its signatures differ each time."""

    cosign: Cosign
    key: str
    accepted: Accepted = field(repr=False)

    def bundle(self, found: Statement) -> bytes:
        """Give the bundle, once it has been read back."""
        bundle = self.cosign.attest(found, "--key", self.key, files=KEY_ALONE)
        return checked(bundle, found, self.accepted)

    def signature(self, data: bytes) -> bytes:
        """Give the signature of these bytes."""
        return base64.b64decode(self.cosign.sign(data, self.key))


def checked(bundle: bytes, found: Statement, accepted: Accepted) -> bytes:
    """Give a bundle that others have made, when it is what was asked for.

    Raises CredentialError where `verify` would refuse it, PublishError for another statement.
    """
    try:
        said = accepted.verified(bundle)
    except VerificationError as error:
        raise CredentialError(
            f"what was signed would not be accepted: {error.message}",
            hint="check public-key, or identity and issuer, in [attest] sign",
        ) from None
    if said != found.data:
        raise PublishError("another statement was signed than the one that was asked for")
    return bundle
