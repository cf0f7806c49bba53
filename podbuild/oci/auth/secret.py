"""A login as a value, and what it is asked for: challenges of WWW-Authenticate, scopes of tokens.

Its secret never shows in a repr, a log or a comparison's message.

Grammar: RFC 9110, 11.6.1. Values are quoted and hold commas and spaces
(`scope="repository:a/b:pull,push repository:c/d:pull"`), so nothing here splits on commas.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from enum import Enum

from podbuild.system.later import dataclass
from podbuild.system.records import claims_of

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
