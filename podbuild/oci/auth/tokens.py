"""Answering a registry's challenge: Basic, Bearer tokens, or nobody at all.

A login goes to the registry's own host, or to the token server that the registry named over
TLS. Over plain HTTP (configured as insecure) only the registry itself and loopback get it.
Source: distribution, docs/content/spec/auth.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from podbuild.errors import CredentialError, PublishError
from podbuild.oci.auth.files import (
    AccessScope,
    Challenge,
    Credential,
    CredentialKind,
    claimed,
    covers,
    joined,
    parse_challenges,
)
from podbuild.oci.transport.endpoint import is_loopback
from podbuild.oci.transport.http import Call, Http
from podbuild.oci.transport.problem import Recovery, RegistryError, Response, read_problem
from podbuild.system.retry import Transient

_DEFAULT_LIFE = 60.0  # seconds (token spec)
_LONGEST_LIFE = 3600.0  # seconds; a longer one is asked for again, which costs nothing
_TOKEN_CAP = 256 * 1024  # bytes
_CLIENT = "podbuild"
_PUSHING = frozenset({"push", "delete"})


# What a request needs. Deletions learn apart: what they are refused for says nothing of pushes.
_Need = tuple[str, tuple[AccessScope, ...]]


@dataclass(frozen=True, kw_only=True)
class _Token:
    text: str = field(repr=False)
    scopes: tuple[AccessScope, ...]
    until: float  # by the authorizer's clock


class Authorizer:
    """Gives the Authorization header for one registry and one login. Safe between threads."""

    def __init__(
        self,
        http: Http,
        origin: str,
        credential: Credential | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_secret: Callable[[str], None] = lambda _secret: None,
    ) -> None:
        self._on_secret = on_secret
        self._http = http
        self._origin = origin  # https://ghcr.io
        self._credential = credential
        self._clock = clock
        self._lock = threading.RLock()
        self._challenge: Challenge | None = None
        self._tokens: list[_Token] = []
        self._widened: dict[_Need, tuple[AccessScope, ...]] = {}
        self._read_only: dict[_Need, PublishError | CredentialError] = {}  # why no token to push

    @property
    def credential(self) -> Credential | None:
        """Give the login that is used; None for nobody."""
        return self._credential

    def header(self, scopes: tuple[AccessScope, ...], method: str = "GET") -> str:
        """Give the header for these rights; empty while the registry has not asked for one.

        Raises CredentialError (refused), PublishError or Transient (token server).
        """
        with self._lock:
            if self._challenge is None:
                return ""
            if self._challenge.scheme == "basic":
                return f"Basic {self._need_password().basic}"
            return f"Bearer {self._token(self._challenge, _need(method, scopes))}"

    def grants(self, scope: AccessScope) -> bool:
        """Tell whether a token that is at hand says itself that it holds these rights.

        Tokens that can be read are JSON Web Tokens (distribution spec, "Token Claims").
        """
        with self._lock:
            now = self._clock()
            texts = [token.text for token in self._tokens if token.until > now]
        return any(covers(claimed(text), (scope,)) for text in texts)

    def learn(self, refused: Response, scopes: tuple[AccessScope, ...], used: str) -> None:
        """Take in a 401 so that the next `header` may do better; `used` is the refused header.

        Raises CredentialError when there is nothing left to try.
        """
        challenge = _choose(parse_challenges(refused.header("www-authenticate")))
        if challenge is None:
            raise self.refused(refused)
        with self._lock:
            self._challenge = challenge
            if challenge.scheme == "basic":
                self._need_password()
                if used.startswith("Basic "):
                    raise self.refused(refused)
                return
            need = _need(refused.method, scopes)
            asked = joined(AccessScope.parse_all(challenge.parameters.get("scope", "")))
            self._drop(used, asked if refused.method == "DELETE" else ())
            if refused.method == "DELETE" and asked and self._widened.get(need) != asked:
                self._widened[need] = asked  # some registries know other words for it
                self._read_only.pop(need, None)
                return
            if used and need in self._read_only and refused.method not in ("GET", "HEAD"):
                raise self._read_only[need]
            if challenge.parameters.get("error") == "insufficient_scope" or not scopes:
                self._widened[need] = joined((*scopes, *asked))

    def refused(self, response: Response) -> CredentialError:
        """Give the error for a final 401 or 403."""
        host = _host(self._origin)
        if self._credential is None and response.status == 401:
            return self._nobody()
        who = f"the login from {self._credential.source}" if self._credential else "anonymous use"
        return CredentialError(
            f"{host}: {who} is refused for {response.method} {urlsplit(response.url).path}: "
            f"{read_problem(response)}",
            hint="check user, token and its rights on this repository",
        )

    def _drop(self, used: str, asked: tuple[AccessScope, ...]) -> None:
        """Forget a token that was refused, unless it only lacks the rights that are asked for."""
        self._tokens = [
            token
            for token in self._tokens
            if f"Bearer {token.text}" != used or not covers(token.scopes, asked)
        ]

    def _token(self, challenge: Challenge, need: _Need) -> str:
        wanted = joined(self._widened.get(need, need[1]))
        if need in self._read_only:
            wanted = _reading(wanted)
        now = self._clock()
        self._tokens = [token for token in self._tokens if token.until > now]
        for token in self._tokens:
            if covers(token.scopes, wanted):
                return token.text
        fresh = self._granted(challenge, need, wanted)
        self._tokens.append(fresh)
        return fresh.text

    def _granted(
        self, challenge: Challenge, need: _Need, wanted: tuple[AccessScope, ...]
    ) -> _Token:
        """Ask for a token; some servers give none at all to who may read but not push.

        Others (quay) know no right to delete: the registry then names the one that it wants.
        """
        try:
            return self._exchange(challenge, wanted)
        except (CredentialError, RegistryError) as error:
            less = _reading(wanted)
            if not less or less == wanted:
                raise
            try:
                token = self._exchange(challenge, less)
            except (CredentialError, RegistryError):
                raise error from None
            self._read_only[need] = error
            return token

    def _exchange(self, challenge: Challenge, scopes: tuple[AccessScope, ...]) -> _Token:
        began = self._clock()
        realm = self._realm(challenge)
        service = challenge.parameters.get("service", "")
        response = self._http.send(_token_call(realm, service, scopes, self._credential))
        if response.status in (401, 403):
            raise self.refused(response)
        if response.status != 200:
            raise _failed(response)
        match response.json():
            case {"token": str(text), **rest} if text:
                given = rest.get("expires_in")
            case {"access_token": str(text), **rest} if text:
                given = rest.get("expires_in")
            case _:
                raise PublishError(
                    f"{_host(realm)}: the token server's answer holds no token",
                    hint="check that the registry's name is right",
                )
        self._on_secret(text)
        life = _life(given)
        # A little early, so that a request that is under way does not see its token end.
        return _Token(text=text, scopes=scopes, until=began + life - min(10.0, life / 5))

    def _realm(self, challenge: Challenge) -> str:
        realm = challenge.parameters.get("realm", "")
        here = urlsplit(self._origin)
        try:
            there = urlsplit(realm)
        except ValueError:
            there = urlsplit("")
        if there.scheme not in ("http", "https") or not there.hostname:
            raise PublishError(f"{here.netloc}: names no token server (realm {realm[:100]!r})")
        near = there.hostname == here.hostname or is_loopback(there.hostname)
        by_tls = here.scheme == there.scheme == "https"
        if self._credential and not by_tls and not (here.scheme == "http" and near):
            raise CredentialError(
                f"{here.netloc} sends logins to {there.scheme}://{there.netloc}, "
                "which it may not do without TLS; nothing was sent",
                hint="use the registry over https",
            )
        return realm

    def _need_password(self) -> Credential:
        if self._credential is None:
            raise self._nobody()
        if self._credential.kind is not CredentialKind.PASSWORD:
            host = _host(self._origin)
            raise CredentialError(
                f"{host} wants a password, and the login from {self._credential.source} holds "
                "an identity token, which is for token servers alone",
                hint=f"log in with a password or access token: podman login {host}",
            )
        return self._credential

    def _nobody(self) -> CredentialError:
        host = _host(self._origin)
        return CredentialError(
            f"{host} wants a login, and there is none for it",
            hint=f"podman login {host}, or set PODBUILD_NAME_USERNAME and PODBUILD_NAME_TOKEN "
            "for [registries.NAME]",
        )


def _life(given: object) -> float:
    """Give how long a token may be used (seconds), whatever a server says of it."""
    if (
        not isinstance(given, int | float) or isinstance(given, bool) or not given > 0
    ):  # NaN is not either
        return _DEFAULT_LIFE
    return float(min(given, _LONGEST_LIFE))


def _choose(challenges: tuple[Challenge, ...]) -> Challenge | None:
    """Prefer tokens: a password then travels once, to the token server."""
    for scheme in ("bearer", "basic"):
        for challenge in challenges:
            if challenge.scheme == scheme:
                return challenge
    return None


def _need(method: str, scopes: tuple[AccessScope, ...]) -> _Need:
    return ("DELETE" if method == "DELETE" else "", scopes)


def _reading(scopes: tuple[AccessScope, ...]) -> tuple[AccessScope, ...]:
    """Give the scopes without the rights to push and to delete; none where nothing is left."""
    rest = (
        AccessScope(scope.resource, tuple(each for each in scope.actions if each not in _PUSHING))
        for scope in scopes
    )
    return tuple(scope for scope in rest if scope.actions)


def _token_call(
    realm: str, service: str, scopes: tuple[AccessScope, ...], credential: Credential | None
) -> Call:
    if credential and credential.kind is CredentialKind.IDENTITY_TOKEN:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": credential.secret,
            "service": service,
            "client_id": _CLIENT,
            "scope": " ".join(map(str, scopes)),
        }
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode(form).encode()
        return Call(method="POST", url=realm, headers=kind, body=body, cap=_TOKEN_CAP)
    parts = urlsplit(realm)
    query = parse_qsl(parts.query) + ([("service", service)] if service else [])
    query += [("scope", str(scope)) for scope in scopes]
    headers = {"Authorization": f"Basic {credential.basic}"} if credential else {}
    url = urlunsplit(parts._replace(query=urlencode(query), fragment=""))
    return Call(method="GET", url=url, headers=headers, cap=_TOKEN_CAP)


def _failed(response: Response) -> Exception:
    problem = read_problem(response)
    error = RegistryError(f"{_host(response.url)}: the token server answers {problem}", problem)
    if problem.recovery is Recovery.REQUEST:
        return Transient(error, wait=problem.wait)
    return error


def _host(url: str) -> str:
    return urlsplit(url).netloc
