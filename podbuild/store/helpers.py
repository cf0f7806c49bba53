"""Credential helper programs: `docker-credential-NAME get`, the host on stdin, JSON on stdout.

Protocol: docker/docker-credential-helpers, README.
"""

from __future__ import annotations

import json
import re

from podbuild.errors import CredentialError, ToolError
from podbuild.model import DOCKER_HUB, JSONValue
from podbuild.run import CommandTimeoutError, Runner
from podbuild.store.secret import Credential, CredentialKind

_TIMEOUT = 60.0  # seconds; helpers may ask a cloud's API
_NOT_FOUND = ("credentials not found", "no credentials")
_TOKEN_USER = "<token>"  # noqa: S105  # marks an identity token
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def ask_helper(runner: Runner, name: str, host: str) -> Credential | None:
    """Give the login that a helper keeps for a host; None when it has none.

    Raises CredentialError when the helper is missing, fails or answers nonsense.
    """
    if not _NAME.fullmatch(name):
        raise CredentialError(f"bad credential helper name {name!r}")
    servers = ("https://index.docker.io/v1/", host) if host == DOCKER_HUB else (host,)
    for server in servers:
        if found := _ask(runner, f"docker-credential-{name}", server):
            return found
    return None


def _ask(runner: Runner, program: str, server: str) -> Credential | None:
    try:
        finished = runner(
            program, "get", stdin=f"{server}\n".encode(), timeout=_TIMEOUT, ok=range(256)
        )
    except ToolError:
        raise CredentialError(
            f"the login for {server} is kept by {program}, which is not on PATH",
            hint=f"install {program}, or log in again without a helper",
        ) from None
    except CommandTimeoutError:
        raise CredentialError(f"{program}: no answer for {server} within {_TIMEOUT:g} s") from None
    if finished.code != 0:
        said = " ".join((finished.out, *finished.tail)).strip()
        if any(text in said.lower() for text in _NOT_FOUND):
            return None
        raise CredentialError(
            f"{program}: no login for {server}: {said[:200] or 'no reason given'}"
        )
    return _read(program, server, finished.out)


def _read(program: str, server: str, out: str) -> Credential | None:
    try:
        answer: JSONValue = json.loads(out)
    except ValueError:
        answer = None
    match answer:
        case {"Username": str(user), "Secret": str(secret)}:
            if not secret:
                return None
            kind = CredentialKind.PASSWORD
            if user == _TOKEN_USER:
                kind = CredentialKind.IDENTITY_TOKEN
            return Credential(username=user, secret=secret, source=program, kind=kind)
        case _:
            raise CredentialError(f"{program}: the answer for {server} can't be read")
