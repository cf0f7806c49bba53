"""SSH agents and keys of RUN --mount=type=ssh: looked at before anything is built.

What engines make of an entry: buildah's pkg/sshagent, NewSource. Without a path it means the
agent of SSH_AUTH_SOCK, whatever its id.
"""

from __future__ import annotations

import base64
import binascii
import re
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from podbuild.errors import CredentialError, reason_of
from podbuild.plan.model import PlannedImage

_AGENT = "SSH_AUTH_SOCK"
_SECONDS = 5.0  # an agent answers at once
_LONGEST_KEY = 100 << 10  # bytes that engines read
_PEM = re.compile(
    rb"-----BEGIN (?P<kind>[A-Z ]*)PRIVATE KEY-----\s*(?P<body>.*?)-----END ", re.DOTALL
)
_MAGIC = b"openssh-key-v1\0"  # openssh, PROTOCOL.key; a length and the cipher's name follow
_NO_CIPHER = b"\0\0\0\x04none"


def check_agents(images: Iterable[PlannedImage], environment: Mapping[str, str]) -> None:
    """Raise CredentialError for the first agent or key that an image needs and that is not there.

    Engines say so too, in the middle of a release.
    """
    for image in images:
        for entry in image.image.ssh:
            what = f"ssh {entry.partition('=')[0]!r} of image {image.name!r}"
            _check(what, entry.partition("=")[2], environment)


def _check(what: str, named: str, environment: Mapping[str, str]) -> None:
    if not named:
        if not environment.get(_AGENT):
            raise CredentialError(
                f"{what}: there is no agent: {_AGENT} is not set",
                hint='eval "$(ssh-agent)" && ssh-add, or name a key: ssh = ["default=FILE"]',
            )
        _connect(f"{what}: {_AGENT}", Path(environment[_AGENT]))
        return
    places = [Path(place) for place in named.split(",")]
    sockets = [place for place in places if place.is_socket()]
    if sockets and len(places) > 1:
        raise CredentialError(
            f"{what}: {sockets[0]} is an agent's socket, which stands alone",
            hint="name one socket, or only keys",
        )
    for place in sockets:
        _connect(what, place)
    for place in places if not sockets else ():
        _check_key(what, place)


def _connect(what: str, path: Path) -> None:
    """Try an agent: a file that is no socket, or whose agent is gone, says so at once."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
        agent.settimeout(_SECONDS)
        try:
            agent.connect(str(path))
        except OSError as error:
            raise CredentialError(
                f"{what}: no agent answers at {path}: {reason_of(error)}",
                hint='eval "$(ssh-agent)" && ssh-add',
            ) from None


def _check_key(what: str, path: Path) -> None:
    try:
        with path.open("rb") as file:
            found = _PEM.search(file.read(_LONGEST_KEY))
    except OSError as error:
        raise CredentialError(
            f"{what}: can't read {path}: {error.strerror}",
            hint="it names a private key, or the socket of an agent",
        ) from None
    if found is None:
        raise CredentialError(
            f"{what}: {path} is no private key", hint="a key as ssh-keygen writes it"
        )
    if _is_encrypted(found["kind"], found["body"]):
        raise CredentialError(
            f"{what}: {path} has a passphrase, which nobody could type in a build",
            hint=f'ssh-add {path}, and ssh = ["default"]',
        )


def _is_encrypted(kind: bytes, body: bytes) -> bool:
    if kind.startswith(b"ENCRYPTED") or b"ENCRYPTED" in body.partition(b"\n\n")[0]:
        return True  # PKCS#8; RFC 1421's header of the old forms
    if not kind.startswith(b"OPENSSH"):
        return False
    try:
        data = base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error:
        return False
    return data.startswith(_MAGIC) and not data.startswith(_MAGIC + _NO_CIPHER)
