"""A strict fake of Docker Hub: its own API, and a registry half that shares its tags."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from podbuild.system.records import JSONValue
from tests.fakes.registry import Account, Profile, State, registry_half
from tests.fakes.wire import Reply, Request, Wire, json_reply, served

_LIFE = timedelta(minutes=10)
_LIST = re.compile(r"/v2/namespaces/([^/]+)/repositories/([^/]+)/tags")
_ONE = re.compile(r"/v2/namespaces/([^/]+)/repositories/([^/]+)/tags/([^/]+)")
_REPOSITORY = re.compile(r"/v2/namespaces/([^/]+)/repositories/([^/]+)")
_DELETE = re.compile(r"/v2/repositories/([^/]+)/([^/]+)/tags/([^/]+)/")


class Level(Enum):
    """What a personal access token may do."""

    PUBLIC_READ = "repo:public_read"
    READ = "repo:read"
    WRITE = "repo:write"
    ADMIN = "repo:admin"

    @property
    def actions(self) -> frozenset[str]:
        """Give what the registry grants for it."""
        more = {Level.WRITE: {"push"}, Level.ADMIN: {"push", "delete"}}
        return frozenset({"pull"} | more.get(self, set()))


@dataclass(frozen=True)
class _Session:
    level: Level
    until: datetime


@dataclass
class Hub:
    """The fake's knobs and state. A password with `two_factors` is not enough to log in."""

    state: State
    level: Level = Level.ADMIN
    new_login: bool = True
    two_factors: bool = False
    immutable: tuple[str, ...] | None = None
    known_times: bool = True
    sessions: dict[str, _Session] = field(default_factory=dict)
    api: Wire = field(default_factory=lambda: Wire(""))
    registry: Wire = field(default_factory=lambda: Wire(""))

    def answer(self, request: Request) -> Reply:
        """Answer for hub.docker.com."""
        if request.path == "/v2/auth/token" and self.new_login:
            return self._login(request, "identifier", "secret", "access_token")
        if request.path == "/v2/users/login":
            return self._login(request, "username", "password", "token")
        if request.method == "POST":
            return json_reply(404, {"message": "no such route"})
        header = request.headers.get("authorization", "")
        session = self.sessions.get(header.removeprefix("Bearer "))
        if session is None or session.until <= self.state.clock():
            return json_reply(401, {"message": "unauthorized", "errinfo": {}})
        for pattern, method, act in (
            (_LIST, "GET", self._list),
            (_ONE, "GET", self._one),
            (_REPOSITORY, "GET", self._settings),
            (_DELETE, "DELETE", self._delete),
        ):
            found = pattern.fullmatch(request.path)
            if found and request.method == method:
                return act(request, session, *found.groups())
        return json_reply(405 if request.method == "DELETE" else 404, {"message": "no such route"})

    def _login(self, request: Request, user: str, secret: str, answer: str) -> Reply:
        account = self.state.accounts.get(str(request.json.get(user)))
        if account is None or account.secret != request.json.get(secret):
            return json_reply(401, {"detail": "Incorrect authentication credentials"})
        if self.two_factors:
            detail = "Require secondary authentication on MFA enabled account"
            return json_reply(401, {"detail": detail, "login_2fa_token": "x"})
        token = secrets.token_hex(8)
        self.sessions[token] = _Session(self.level, self.state.clock() + _LIFE)
        return json_reply(200, {answer: token})

    def _list(self, request: Request, _session: _Session, space: str, name: str) -> Reply:
        path = f"{space}/{name}"
        if path not in self.state.tags:
            return json_reply(404, {"message": "object not found", "errinfo": {}})
        size = min(100, int(request.value("page_size", "10")))
        page = int(request.value("page", "1"))
        tags = sorted(self.state.tags[path])
        part = tags[(page - 1) * size : page * size]
        if not part and page > 1:
            return json_reply(404, {"message": "page not found"})
        more = page * size < len(tags)
        link = f"{request.origin}{request.path}?page={page + 1}&page_size={size}"
        return json_reply(
            200,
            {
                "count": len(tags),
                "next": link if more else None,
                "previous": None,
                "results": [self._shown(path, tag) for tag in part],
            },
            X_RateLimit_Limit="180",
            X_RateLimit_Remaining="179",
        )

    def _shown(self, path: str, tag: str) -> JSONValue:
        time = self.state.tagged[path, tag].isoformat().replace("+00:00", "Z")
        known = time if self.known_times else None
        return {
            "id": 1,
            "name": tag,
            "tag_status": "active",
            "tag_last_pushed": known,
            "last_updated": known,
            "images": [{"architecture": "amd64", "os": "linux", "digest": None, "size": 1}],
        }

    def _one(self, _request: Request, _session: _Session, space: str, name: str, tag: str) -> Reply:
        path = f"{space}/{name}"
        if tag not in self.state.tags.get(path, {}):
            return json_reply(404, {"message": "tag not found"})
        return json_reply(200, self._shown(path, tag))

    def _settings(self, _request: Request, _session: _Session, space: str, name: str) -> Reply:
        if f"{space}/{name}" not in self.state.tags:
            return json_reply(404, {"message": "object not found"})
        rules: JSONValue = list(self.immutable or ())
        settings: JSONValue = {"enabled": self.immutable is not None, "rules": rules}
        return json_reply(200, {"name": name, "immutable_tags_settings": settings})

    def _delete(
        self, _request: Request, session: _Session, space: str, name: str, tag: str
    ) -> Reply:
        if session.level is not Level.ADMIN:
            return json_reply(403, {"message": "access denied: insufficient scope"})
        if self.immutable is not None and any(re.search(rule, tag) for rule in self.immutable):
            return json_reply(403, {"message": "tag is immutable"})
        with self.state.lock:
            if self.state.tags.get(f"{space}/{name}", {}).pop(tag, None) is None:
                return json_reply(404, {"message": "tag not found"})
        return Reply(status=204)


@contextmanager
def fake_hub(
    upstream: str,
    clock: Callable[[], datetime],
    *,
    user: str = "acme",
    secret: str = "dckr_pat_x",  # noqa: S107  # nobody's
    level: Level = Level.ADMIN,
) -> Iterator[Hub]:
    """Run both halves before a real registry (host:port) while the block runs."""
    accounts = {user: Account(secret=secret, actions=level.actions)}
    state = State(upstream=upstream, profile=Profile.HUB, accounts=accounts, clock=clock)
    hub = Hub(state, level=level)
    with served(hub.answer) as api, registry_half(state) as registry:
        hub.api, hub.registry = api, registry
        yield hub
