"""Logins as values, and the files in which podman, buildah and docker keep them.

A secret never shows in a repr, a log or a comparison's message. Files are read as
containers/image does.
Source: containers/image pkg/docker/config/config.go; containers-auth.json(5). Helper programs:
`docker-credential-NAME get`, the host on stdin, JSON on stdout (docker-credential-helpers, README).

What logins are asked for: challenges of WWW-Authenticate, and scopes of tokens.
Grammar: RFC 9110, 11.6.1. Values are quoted and hold commas and spaces
(`scope="repository:a/b:pull,push repository:c/d:pull"`), so nothing here splits on commas.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import field
from enum import Enum
from pathlib import Path

from podbuild.errors import CredentialError, ToolError
from podbuild.oci.names import DOCKER_HUB, DOCKER_HUB_ALIASES, Repository
from podbuild.system.later import dataclass
from podbuild.system.process import CommandTimeoutError, Runner
from podbuild.system.records import JSONValue, claims_of, json_of, parse_json, string_map

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SEPARATORS = re.compile(r"[\s,]*")
_PARAMETER = re.compile(rf'({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_WORD})(?=\s*(?:,|$)))')
_SCHEME = re.compile(rf"({_WORD})(?=\s|,|$)")
_TOKEN68 = re.compile(r"\s+[A-Za-z0-9._~+/-]+=*\s*(?=,|$)")


@dataclass(frozen=True)
class Challenge:
    """One way in that a server offers. Scheme and parameter names are lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict, hash=False)


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Give the challenges of a WWW-Authenticate header, in its order.

    What can't be read ends the list; several headers may be joined with commas.

    >>> parse_challenges('Basic realm="x, y", BEARER realm="https://a/t",scope="r:a:pull,push"')
    (Challenge(scheme='basic', parameters={'realm': 'x, y'}), \
Challenge(scheme='bearer', parameters={'realm': 'https://a/t', 'scope': 'r:a:pull,push'}))
    """
    found: list[tuple[str, dict[str, str]]] = []
    position = _skip(header, 0)
    while position < len(header):
        parameter = _PARAMETER.match(header, position)
        scheme = _SCHEME.match(header, position)
        if parameter and found:
            name, quoted, plain = parameter.groups()
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            found[-1][1].setdefault(name.lower(), value)
            position = parameter.end()
        elif scheme:
            found.append((scheme[1].lower(), {}))
            opaque = _TOKEN68.match(header, scheme.end())
            position = opaque.end() if opaque else scheme.end()
        else:
            break
        position = _skip(header, position)
    return tuple(Challenge(name, parameters) for name, parameters in found)


def _skip(header: str, position: int) -> int:
    match = _SEPARATORS.match(header, position)
    return match.end() if match else position


@dataclass(frozen=True, order=True)
class AccessScope:
    """A resource and what may be done with it, `repository:acme/web:pull,push`."""

    resource: str
    actions: tuple[str, ...]

    @classmethod
    def parse_all(cls, text: str) -> tuple[AccessScope, ...]:
        """Read the `scope` of a challenge: entries separated by spaces.

        A resource name may hold one colon (a host with port): actions are after the last one.
        """
        parts = (entry.rpartition(":") for entry in text.split())
        return tuple(
            cls(resource, tuple(sorted(set(actions.split(",")))))
            for resource, _colon, actions in parts
            if resource and actions
        )

    @classmethod
    def repository(cls, path: str, *actions: str) -> AccessScope:
        """Give the scope of some actions (pull, push, delete) on a repository."""
        return cls(f"repository:{path}", tuple(sorted(set(actions))))

    def __str__(self) -> str:
        return f"{self.resource}:{','.join(self.actions)}"


def joined(scopes: Iterable[AccessScope]) -> tuple[AccessScope, ...]:
    """Give one scope per resource with all its actions, sorted."""
    actions: dict[str, set[str]] = {}
    for scope in scopes:
        actions.setdefault(scope.resource, set()).update(scope.actions)
    return tuple(
        AccessScope(resource, tuple(sorted(found))) for resource, found in sorted(actions.items())
    )


def covers(granted: Iterable[AccessScope], wanted: Iterable[AccessScope]) -> bool:
    """Tell whether rights asked for earlier hold all that is wanted now."""
    held = {scope.resource: set(scope.actions) for scope in granted}
    return all(set(scope.actions) <= held.get(scope.resource, set()) for scope in wanted)


_JWT_DOTS = 2


def claimed(token: str) -> Iterator[AccessScope]:
    """Give the rights that a token claims to hold; none of one that can't be read.

    Source: distribution, docs/content/spec/auth/jwt.md, "access".
    """
    listed = claims_of(token).get("access")
    for entry in listed if isinstance(listed, list) else ():
        match entry:
            case {"type": "repository", "name": str(name), "actions": list(actions)}:
                yield AccessScope.repository(name, *map(str, actions))
            case _:
                continue


class CredentialKind(Enum):
    """How a secret is used."""

    PASSWORD = "password"  # noqa: S105  # also an access token: anything that Basic carries
    IDENTITY_TOKEN = "identity token"  # noqa: S105  # OAuth2: only ever sent to the token server


@dataclass(frozen=True, kw_only=True)
class Credential:
    """A login. `source` says where it is from, for messages."""

    username: str
    secret: str = field(repr=False)
    source: str
    kind: CredentialKind = CredentialKind.PASSWORD

    @property
    def basic(self) -> str:
        """Give the base64 text of `user:secret` (RFC 7617)."""
        return base64.b64encode(f"{self.username}:{self.secret}".encode()).decode()


@dataclass(frozen=True, kw_only=True)
class AuthFile:
    """One file: logins by key, the helper programs by host, and the helper for all others."""

    path: Path
    logins: Mapping[str, JSONValue] = field(default_factory=dict, repr=False)
    helpers: Mapping[str, str] = field(default_factory=dict)
    default_helper: str = ""

    def find(self, repository: Repository) -> Credential | None:
        """Give the login with the most specific key for a repository; raises CredentialError."""
        for key in repository_keys(repository):
            if key in self.logins and (found := self._decode(key)):
                return found
        host = _plain_host(repository.host)
        for key in self.logins:
            if _plain_host(key) == host and _is_host_key(key) and (found := self._decode(key)):
                return found
        return None

    def secrets(self) -> Iterator[str]:
        """Give every secret in it, and the user names' pairs as they stand; broken ones not."""
        for key, value in self.logins.items():
            yield from (text for name, text in string_map(value).items() if name != "email")
            with suppress(CredentialError):
                if found := self._decode(key):
                    yield found.secret

    def helper_for(self, host: str) -> str:
        """Give the name of the program that keeps a host's login; empty where there is none."""
        for key, name in self.helpers.items():
            if _plain_host(key) == _plain_host(host):
                return name
        return ""

    def _decode(self, key: str) -> Credential | None:
        """Give None for an entry without a secret: the mark of a login that a helper keeps."""
        entry = string_map(self.logins[key])
        text = entry.get("auth", "")
        try:
            user, colon, secret = base64.b64decode(text, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user, colon, secret = "", "", ""
        if text and not colon:
            raise CredentialError(
                f"{self.path}: the login for {key} can't be read",
                hint=f"log in again: podman login {key}",
            )
        source = f"{self.path} ({key})"
        if token := entry.get("identitytoken"):
            return Credential(
                username=user, secret=token, source=source, kind=CredentialKind.IDENTITY_TOKEN
            )
        secret = secret.rstrip("\0")
        return Credential(username=user, secret=secret, source=source) if secret else None


def repository_keys(repository: Repository) -> Iterator[str]:
    """Give the keys under which a repository's login may stand, most specific first.

    >>> list(repository_keys(Repository("ghcr.io", "acme/web")))
    ['ghcr.io/acme/web', 'ghcr.io/acme', 'ghcr.io']
    """
    key = str(repository)
    while key:
        yield key
        key = key.rpartition("/")[0]


def find_auth_files(environment: Mapping[str, str]) -> tuple[AuthFile, ...]:
    """Read the files that count here, in their order; raises CredentialError for a broken one."""
    if named := environment.get("REGISTRY_AUTH_FILE"):
        found = read_auth_file(Path(named))
        if found is None:
            raise CredentialError(
                f"REGISTRY_AUTH_FILE names {named}, which does not exist",
                hint="correct the variable, or log in with podman login",
            )
        return (found,)
    files = (read_auth_file(path) for path in _paths(environment))
    return tuple(file for file in files if file is not None)


def _paths(environment: Mapping[str, str]) -> Iterator[Path]:
    if folder := environment.get("DOCKER_CONFIG"):
        yield Path(folder) / "config.json"
        return
    runtime = environment.get("XDG_RUNTIME_DIR")
    yield Path(runtime or f"/run/containers/{os.getuid()}") / (
        "containers/auth.json" if runtime else "auth.json"
    )
    home = environment.get("HOME")
    settings = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    if settings:
        yield Path(settings) / "containers/auth.json"
    if home:
        yield Path(home) / ".docker/config.json"
        yield Path(home) / ".dockercfg"


def read_auth_file(path: Path) -> AuthFile | None:
    """Read one file; None when it does not exist. Raises CredentialError for a broken one."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        if not os.access(path.parent, os.X_OK):  # a folder of somebody else's: no login of ours
            return None
        raise CredentialError(f"{path}: can't be read: {error}") from None
    if not text.strip():
        return AuthFile(path=path)
    try:
        content = parse_json(text)
    except ValueError as error:
        raise CredentialError(
            f"{path}: not valid JSON: {error}", hint="log in again, or remove the file"
        ) from None
    if not isinstance(content, dict):
        raise CredentialError(f"{path}: not a JSON object")
    if path.name == ".dockercfg":
        return AuthFile(path=path, logins=content)
    logins = content.get("auths")
    default = content.get("credsStore")
    return AuthFile(
        path=path,
        logins=logins if isinstance(logins, dict) else {},
        helpers=string_map(content.get("credHelpers")),
        default_helper=default if isinstance(default, str) else "",
    )


def _plain_host(key: str) -> str:
    """Give the host of a key that may be a URL; Docker Hub's names are one."""
    host = key.removeprefix("https://").removeprefix("http://").partition("/")[0].lower()
    return DOCKER_HUB if host in DOCKER_HUB_ALIASES else host


def _is_host_key(key: str) -> bool:
    """Tell URLs as `docker login` wrote them, and plain hosts, from keys with a namespace."""
    return key.startswith(("http://", "https://")) or "/" not in key.removesuffix("/v1/").rstrip(
        "/"
    )


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
    match json_of(out):
        case {"Username": str(user), "Secret": str(secret)}:
            if not secret:
                return None
            kind = CredentialKind.PASSWORD
            if user == _TOKEN_USER:
                kind = CredentialKind.IDENTITY_TOKEN
            return Credential(username=user, secret=secret, source=program, kind=kind)
        case _:
            raise CredentialError(f"{program}: the answer for {server} can't be read")
