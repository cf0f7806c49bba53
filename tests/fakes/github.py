"""A strict fake of GitHub Packages: the REST API, and a registry half that deletes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import unquote

from podbuild.oci.names import Digest
from podbuild.system.records import JSONValue
from tests.fakes.registry import Account, Profile, State, registry_half
from tests.fakes.wire import Reply, Request, Wire, json_reply, served

_PACKAGE = re.compile(
    r"(?P<space>/user|/users/[^/]+|/orgs/[^/]+)/packages/container/(?P<name>[^/]+)(?P<rest>/.*)?"
)
_VERSION = re.compile(r"/versions/(\d+)")
_RESTORE = re.compile(r"/versions/(\d+)/restore")
LAST = (
    "You cannot delete the last tagged version of a package. You must delete the package instead."
)
POPULAR = (
    "Publicly visible package versions with more than 5000 downloads cannot be deleted. "
    "Contact GitHub support for further assistance."
)


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token: whose it is ("" for an app's, such as GITHUB_TOKEN), and its classic scopes."""

    login: str = "octocat"
    scopes: tuple[str, ...] | None = ("delete:packages", "read:packages", "write:packages")
    may_delete: bool = True
    sees: bool = True


@dataclass
class GitHub:
    """The fake's knobs and state."""

    state: State
    owner: str
    organisation: bool = True
    tokens: dict[str, Token] = field(default_factory=dict)
    popular: set[Digest] = field(default_factory=set)
    remaining: int = 5000
    deleted: dict[int, Digest] = field(default_factory=dict)
    api: Wire = field(default_factory=lambda: Wire(""))
    registry: Wire = field(default_factory=lambda: Wire(""))

    def answer(self, request: Request) -> Reply:
        """Answer for api.github.com."""
        token = self.tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if "user-agent" not in request.headers:
            return message(403, "Request forbidden by administrative rules.")
        if token is None:
            return message(401, "Bad credentials")
        limits = {"X-RateLimit-Remaining": str(self.remaining)}
        if token.scopes is not None:
            limits["X-OAuth-Scopes"] = ", ".join(token.scopes)
        reply = self._route(request, token)
        return Reply(status=reply.status, body=reply.body, headers={**limits, **reply.headers})

    def _route(self, request: Request, token: Token) -> Reply:
        if request.path == "/user":
            if not token.login:
                return message(403, "Resource not accessible by integration")
            return json_reply(200, {"login": token.login, "type": "User"})
        if request.path == f"/users/{self.owner}":
            kind = "Organization" if self.organisation else "User"
            return json_reply(200, {"login": self.owner, "type": kind})
        found = _PACKAGE.fullmatch(request.path)
        if not found or not token.sees or not self._is_ours(found["space"], token):
            return message(404, "Package not found.")
        name = f"{self.owner}/{unquote(found['name'])}".lower()
        if name not in self.state.manifests:
            return message(404, "Package not found.")
        return self._package(request, token, name, found["rest"] or "")

    def _is_ours(self, space: str, token: Token) -> bool:
        if self.organisation:
            return space == f"/orgs/{self.owner}"
        return space == f"/users/{self.owner}" or (space == "/user" and token.login == self.owner)

    def _package(self, request: Request, token: Token, name: str, rest: str) -> Reply:
        if rest == "" and request.method == "GET":
            count = len(self.state.manifests[name])
            return json_reply(200, {"id": 1, "name": name, "version_count": count})
        if rest == "/versions" and request.method == "GET":
            return self._list(request, name)
        if found := _RESTORE.fullmatch(rest):
            known = int(found[1]) in self.deleted and request.method == "POST"
            return Reply(status=204) if known else message(404, "Not Found")
        if found := _VERSION.fullmatch(rest):
            return self._version(request, token, name, int(found[1]))
        assert not (rest == "" and request.method == "DELETE"), "a whole package may never go"
        return message(404, "Not Found")

    def _list(self, request: Request, name: str) -> Reply:
        size = min(100, int(request.value("per_page", "30")))
        page = int(request.value("page", "1"))
        every = sorted(self.state.manifests[name].items(), key=lambda item: -item[1].number)
        part = every[(page - 1) * size : page * size]
        headers = {}
        if page * size < len(every):
            url = f"{request.origin}{request.path}?per_page={size}&state=active&page="
            last = -(-len(every) // size)
            headers["Link"] = f'<{url}{page + 1}>; rel="next", <{url}{last}>; rel="last"'
        return json_reply(200, [self._shown(name, digest) for digest, _ in part], **headers)

    def _shown(self, name: str, digest: Digest) -> JSONValue:
        held = self.state.manifests[name][digest]
        tags: JSONValue = list(self.state.tags_on(name, digest))
        return {
            "id": held.number,
            "name": str(digest),
            "url": "",
            "created_at": held.created.isoformat().replace("+00:00", "Z"),
            "updated_at": held.updated.isoformat().replace("+00:00", "Z"),
            "metadata": {"package_type": "container", "container": {"tags": tags}},
        }

    def _version(self, request: Request, token: Token, name: str, number: int) -> Reply:
        by_number = {held.number: each for each, held in self.state.manifests[name].items()}
        digest = by_number.get(number)
        if digest is None:
            return message(404, "Not Found")
        if request.method == "GET":
            return json_reply(200, self._shown(name, digest))
        if request.method != "DELETE":
            return message(404, "Not Found")
        if not token.may_delete or "delete:packages" not in (token.scopes or ("delete:packages",)):
            return message(404, "Not Found")
        return self._delete(name, digest, number)

    def _delete(self, name: str, digest: Digest, number: int) -> Reply:
        with self.state.lock:
            tagged = set(self.state.tags[name].values()) if name in self.state.tags else set()
            if tagged == {digest}:
                return message(400, LAST)
            if digest in self.popular:
                return message(400, POPULAR)
            assert self.state.forget(name, digest) == 202
            self.deleted[number] = digest
        return Reply(status=204)


def message(status: int, text: str) -> Reply:
    """Give an error as GitHub writes it."""
    return json_reply(
        status, {"message": text, "documentation_url": "https://docs.github.com/rest"}
    )


@contextmanager
def fake_github(
    upstream: str,
    clock: Callable[[], datetime],
    *,
    owner: str = "acme",
    user: str = "octocat",
    secret: str = "ghp_x",  # noqa: S107  # nobody's
    token: Token | None = None,
) -> Iterator[GitHub]:
    """Run both halves before a real registry (host:port) while the block runs."""
    accounts = {user: Account(secret=secret)}
    state = State(upstream=upstream, profile=Profile.GHCR, accounts=accounts, clock=clock)
    github = GitHub(state, owner, tokens={secret: token or Token(login=user)})
    with served(github.answer) as api, registry_half(state) as registry:
        github.api, github.registry = api, registry
        yield github
