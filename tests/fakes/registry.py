"""The registry half of the fakes: a real registry behind the rules of a particular one.

Blobs and manifests are the real server's; tags are held here, because Debian's can't delete one.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from http.client import HTTPConnection

from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest
from podbuild.system.records import JSONValue
from tests.fakes.wire import Reply, Request, Wire, json_reply, served

_MANIFEST = re.compile(r"/v2/(?P<name>.+)/manifests/(?P<target>[^/]+)")
_TAGS = re.compile(r"/v2/(?P<name>.+)/tags/list")
_REFERRERS = re.compile(r"/v2/(?P<name>.+)/referrers/(?P<digest>sha256:[0-9a-f]{64})")
_NAMED = re.compile(r"/v2/(?P<name>.+?)/(?:manifests|blobs|tags|referrers)/.*")
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "date"})
_ACTIONS = {"GET": ("pull",), "HEAD": ("pull",), "DELETE": ("delete",)}


class Profile(Enum):
    """Whose rules."""

    DISTRIBUTION3 = "distribution3"
    GHCR = "ghcr"
    HUB = "hub"
    GCR = "gcr"


@dataclass(frozen=True, kw_only=True)
class Account:
    """A login, and what its token may do at the registry (fewer rights than asked is no error)."""

    secret: str
    actions: frozenset[str] = frozenset({"pull", "push", "delete"})


@dataclass(kw_only=True)
class Stored:
    """A manifest as the registry half remembers it."""

    number: int
    created: datetime
    updated: datetime
    links: frozenset[Digest]
    subject: str = ""
    listing: JSONValue = None  # as a list of referrers has it


@dataclass(kw_only=True)
class State:
    """What is behind both halves of a fake."""

    upstream: str
    profile: Profile
    accounts: dict[str, Account] = field(default_factory=dict)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    tags: dict[str, dict[str, Digest]] = field(default_factory=dict)
    manifests: dict[str, dict[Digest, Stored]] = field(default_factory=dict)
    tagged: dict[tuple[str, str], datetime] = field(default_factory=dict)  # name, tag: when last
    tokens: dict[str, frozenset[str]] = field(default_factory=dict)
    referrers: bool = False  # offers the referrers API, as Docker Hub does since 2025
    background: bool = False  # hub: answer 500 to a deletion that is done nevertheless
    lock: threading.RLock = field(default_factory=threading.RLock)
    numbers: int = 1000

    def tags_on(self, name: str, digest: Digest) -> list[str]:
        """Give the tags of a manifest."""
        return sorted(tag for tag, named in self.tags.get(name, {}).items() if named == digest)

    def remember(self, name: str, manifest: Manifest, tag: str) -> None:
        """Take in a push; a tag leaves the version it was on."""
        now = self.clock()
        links = {child.digest for child in manifest.children}
        with self.lock:
            known = self.manifests.setdefault(name, {})
            if manifest.digest not in known:
                self.numbers += 1
                known[manifest.digest] = Stored(
                    number=self.numbers,
                    created=now,
                    updated=now,
                    links=frozenset(links),
                    subject=str(manifest.subject.digest) if manifest.subject else "",
                    listing=manifest.listing.to_json(),
                )
            if tag:
                tags = self.tags.setdefault(name, {})
                for moved in {tags.get(tag), manifest.digest} - {None}:
                    if moved in known:
                        known[moved].updated = now
                tags[tag] = manifest.digest
                self.tagged[name, tag] = now

    def forget(self, name: str, digest: Digest) -> int:
        """Delete a manifest with all its tags, here and at the real registry; give the status."""
        status = ask(self.upstream, "DELETE", f"/v2/{name}/manifests/{digest}").status
        with self.lock:
            if status == 202:
                self.manifests[name].pop(digest, None)
                for tag in self.tags_on(name, digest):
                    del self.tags[name][tag]
        return status

    def parents(self, name: str, digest: Digest) -> list[Digest]:
        """Give the indexes that list a manifest."""
        return [each for each, held in self.manifests[name].items() if digest in held.links]


@dataclass(frozen=True)
class RegistryHalf:
    """Answers for the registry; `wire` is filled in while it runs."""

    state: State

    def __call__(self, request: Request) -> Reply:
        if request.path == "/token":
            return self._token(request)
        refused = self._refusal(request)
        if refused:
            return refused
        if found := _TAGS.fullmatch(request.path):
            return self._list(request, found["name"])
        if found := _MANIFEST.fullmatch(request.path):
            return self._manifest(request, found["name"], found["target"])
        return self._other(request)

    def _other(self, request: Request) -> Reply:
        found = _REFERRERS.fullmatch(request.path)
        if found and self.state.referrers:
            return self._referrers(found["name"], found["digest"])
        if self.state.profile is Profile.GHCR and request.method == "DELETE":
            return error(405, "UNSUPPORTED", "The operation is unsupported.")
        return forward(self.state.upstream, request)

    def _referrers(self, name: str, digest: str) -> Reply:
        with self.state.lock:
            every = tuple(self.state.manifests.get(name, {}).values())
        listed: list[JSONValue] = [each.listing for each in every if each.subject == digest]
        index: JSONValue = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": listed,
        }
        kind = "application/vnd.oci.image.index.v1+json"
        return Reply(status=200, body=json.dumps(index).encode(), headers={"Content-Type": kind})

    def _manifest(self, request: Request, name: str, target: str) -> Reply:
        if request.method == "DELETE":
            return self._delete(name, target)
        if ":" in target:
            reply = forward(self.state.upstream, request)
            if request.method == "PUT" and reply.status == 201:
                self._remember(request, name, "")
            return reply
        if request.method == "PUT":
            digest = Digest.of(request.body)
            reply = forward(self.state.upstream, request, f"/v2/{name}/manifests/{digest}")
            if reply.status == 201:
                self._remember(request, name, target)
            return reply
        named = self.state.tags.get(name, {}).get(target)
        if named is None:
            return error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        return forward(self.state.upstream, request, f"/v2/{name}/manifests/{named}")

    def _remember(self, request: Request, name: str, tag: str) -> None:
        manifest = Manifest(request.headers.get("content-type", ""), request.body)
        self.state.remember(name, manifest, tag)

    def _delete(self, name: str, target: str) -> Reply:
        if self.state.profile is Profile.GHCR:
            return error(405, "UNSUPPORTED", "The operation is unsupported.")
        if ":" not in target:
            return self._delete_tag(name, target)
        with self.state.lock:
            return self._delete_digest(name, Digest(target))

    def _delete_digest(self, name: str, digest: Digest) -> Reply:
        if digest not in self.state.manifests.get(name, {}):
            return error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        parents = self.state.parents(name, digest)
        if self.state.profile is Profile.HUB and (parents or self.state.tags_on(name, digest)):
            return error(403, "DENIED", "manifest is still referenced by a tag or image")
        if self.state.profile is Profile.GCR and parents:
            code = "GOOGLE_MANIFEST_DANGLING_PARENT_IMAGE"
            return error(400, code, "Manifest is still referenced by a parent image.")
        status = self.state.forget(name, digest)
        if self.state.background and status == 202:
            return error(500, "UNKNOWN", "unknown error")
        return Reply(status=status)

    def _delete_tag(self, name: str, tag: str) -> Reply:
        if self.state.profile is Profile.HUB:
            return error(405, "UNSUPPORTED", "Only digest-based deletion is allowed")
        with self.state.lock:
            if self.state.tags.get(name, {}).pop(tag, None) is None:
                return error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        return Reply(status=202)

    def _list(self, request: Request, name: str) -> Reply:
        """Page as Distribution 3.1.1 does: a full last page links to an empty one, tags null."""
        if name not in self.state.tags:
            return error(404, "NAME_UNKNOWN", "repository name not known to registry")
        size, last = int(request.value("n", "1000")), request.value("last")
        rest = [tag for tag in sorted(self.state.tags[name]) if tag > last]
        page: JSONValue = list(rest[:size]) or None
        headers = {}
        if len(rest) >= size:
            following = f"/v2/{name}/tags/list?last={rest[size - 1]}&n={size}"
            headers = {"Link": f'<{following}>; rel="next"'}
        return json_reply(200, {"name": name, "tags": page}, **headers)

    def _refusal(self, request: Request) -> Reply | None:
        """Ask for a Bearer token with the right for this request."""
        if not self.state.accounts:
            return None
        needed = _ACTIONS.get(request.method, ("pull", "push"))
        found = _NAMED.fullmatch(request.path)
        name = found["name"] if found else "user/image"
        scope = f"repository:{name}:{','.join(needed)}"
        challenge = f'Bearer realm="{request.origin}/token",service="fake",scope="{scope}"'
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        granted = self.state.tokens.get(token)
        if granted is None:
            return self._unauthorized(challenge)
        wanted = {f"{name}:{action}" for action in needed}
        unable = request.method == "DELETE" and self.state.profile is Profile.GHCR  # a 405 follows
        if found and not unable and not wanted <= granted:
            return self._unauthorized(f'{challenge},error="insufficient_scope"')
        return None

    def _unauthorized(self, challenge: str) -> Reply:
        body: JSONValue = {"errors": [{"code": "UNAUTHORIZED", "message": "access denied"}]}
        return json_reply(401, body, WWW_Authenticate=challenge)

    def _token(self, request: Request) -> Reply:
        """Grant what the account may do of what is asked; less is no error."""
        login = request.headers.get("authorization", "").removeprefix("Basic ")
        user, _, secret = base64.b64decode(login).decode().partition(":")
        account = self.state.accounts.get(user)
        if account is None or account.secret != secret:
            return json_reply(401, {"details": "incorrect username or password"})
        granted = set()
        for scope in request.query.get("scope", ()):
            kind, name, actions = scope.split(":")
            assert kind == "repository"
            granted |= {f"{name}:{each}" for each in actions.split(",") if each in account.actions}
        token = secrets.token_hex(16)
        self.state.tokens[token] = frozenset(granted)
        return json_reply(200, {"token": token, "expires_in": 300})


def error(status: int, code: str, message: str) -> Reply:
    """Give an error in the spec's form."""
    return json_reply(status, {"errors": [{"code": code, "message": message}]})


def forward(upstream: str, request: Request, path: str = "") -> Reply:
    """Let the real registry answer."""
    kept = {
        name: value
        for name, value in request.headers.items()
        if name not in _HOP and name != "authorization"
    }
    return ask(upstream, request.method, path or request.target, kept, request.body)


def ask(
    upstream: str,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
) -> Reply:
    """Send one request to the real registry."""
    connection = HTTPConnection(upstream, timeout=60)
    try:
        sent = {**(headers or {}), "Content-Length": str(len(body))}
        connection.request(method, path, body=body, headers=sent)
        answer = connection.getresponse()
        found = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP}
        data = answer.read()
        if method == "HEAD" and (length := answer.getheader("Content-Length")):
            found["Content-Length"] = length
        return Reply(status=answer.status, body=data, headers=found)
    finally:
        connection.close()


@contextmanager
def registry_half(state: State) -> Iterator[Wire]:
    """Serve the registry half while the block runs."""
    with served(RegistryHalf(state)) as wire:
        yield wire
