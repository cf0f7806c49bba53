"""Deleting from Docker Hub: tags through its own API, then untagged digests at the registry.

Docker Hub's own API: login, tags, settings (docs.docker.com/reference/api/hub/latest).

Tag deletion is not in the published description; hub-tool and Docker's staff use the form here.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from podbuild.errors import CleanupError, CredentialError
from podbuild.oci.auth.files import Credential
from podbuild.oci.delete import Abilities, Inventory, ListedManifest, Removal, RemovalKind
from podbuild.oci.delete.registry import (
    DONE,
    delete,
    grouped,
    moved_tag,
    named_digests,
    proved_gone,
    unable,
)
from podbuild.oci.delete.rest import RestClient, timestamp
from podbuild.oci.names import Digest, Tag
from podbuild.oci.referrers import Referrers
from podbuild.oci.registry import RegistryStore
from podbuild.oci.transport.problem import Response, read_problem
from podbuild.system.records import JSONValue
from podbuild.system.retry import Retry, Transient

_FRESH = 8 * 60.0  # seconds; a token lives for ten minutes
_PAGE = 100  # the most that the API gives
_NO_SUCH_LOGIN = (404, 405, 410)
_TOKENS = "https://app.docker.com/settings/personal-access-tokens"
_TOO_SMALL = ("insufficient scope", "jwt issued from a personal access token")
NEEDED = f"create a personal access token with Read, Write & Delete at {_TOKENS}"


@dataclass(frozen=True, kw_only=True)
class HubTag:
    """A tag as Docker Hub lists it; the digest is asked from the registry."""

    tag: Tag
    pushed: datetime | None
    updated: datetime | None


class HubApi:
    """One account's view of one repository on Docker Hub."""

    def __init__(
        self,
        rest: RestClient,
        credential: Credential,
        path: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rest = rest
        self._credential = credential
        self._namespace, _, self._repository = path.partition("/")
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
        self._until = 0.0

    @property
    def now(self) -> datetime | None:
        """Give the time by the API's own clock, as it last told."""
        return self._rest.now

    def login(self) -> None:
        """Log in where that has not happened yet; raises CredentialError for a wrong secret."""
        self._authorization()

    def tags(self, on_page: Callable[[int], None]) -> Iterator[HubTag] | None:
        """List all tags; None when there is no such repository."""
        path = f"{self._base}/tags?page=1&page_size={_PAGE}"
        first = self._call("GET", path, ok=(200, 404))
        return None if first.status == 404 else self._listing(path, first, on_page)

    def immutable(self) -> Callable[[Tag], bool]:
        """Read the repository's setting and give whether a tag may never be deleted."""
        match self._call("GET", self._base, ok=(200,)).json():
            case {"immutable_tags_settings": {"enabled": True, **rest}}:
                rules = rest.get("rules")
                found = [_rule(rule) for rule in rules] if isinstance(rules, list) else []
                return lambda tag: not found or any(rule.search(tag.text) for rule in found)
            case _:
                return lambda _tag: False

    def delete(self, tag: Tag) -> Response:
        """Delete one tag: 2xx done, 404 unknown; raises as the API refuses."""
        path = f"/v2/repositories/{self._namespace}/{self._repository}/tags/{tag}/"
        answer = self._call("DELETE", path, ok=(200, 202, 204, 404, 400, 405))
        if answer.status in (400, 405):
            raise CleanupError(
                f"{self._rest.host}: tag {tag} can't be deleted: {read_problem(answer)}",
                hint="nothing more is deleted in this repository",
            )
        return answer

    def has(self, tag: Tag) -> bool:
        """Tell whether Docker Hub knows the tag."""
        return self._call("GET", f"{self._base}/tags/{tag}", ok=(200, 404)).status == 200

    @property
    def _base(self) -> str:
        return f"/v2/namespaces/{self._namespace}/repositories/{self._repository}"

    def _listing(
        self, path: str, first: Response, on_page: Callable[[int], None]
    ) -> Iterator[HubTag]:
        def ask(url: str) -> Response:
            return first if url == path else self._call("GET", url, ok=(200,))

        for page in self._rest.pages(path, _next, ask):
            match page.json():
                case {"results": list(results)}:
                    found = [_tag(result) for result in results]
                case _:
                    raise CleanupError(f"{self._rest.host}: the list of tags can't be read")
            on_page(len(found))
            yield from found

    def _call(self, method: str, path: str, *, ok: tuple[int, ...]) -> Response:
        """Send a request; a token that is refused is renewed once."""
        accepted = (*ok, 401, 403)
        used = self._authorization()
        answer = self._rest.request(method, path, authorization=used, ok=accepted)
        if answer.status == 401:
            with self._lock:
                self._until = 0.0
            again = self._authorization()
            answer = self._rest.request(method, path, authorization=again, ok=accepted)
        if answer.status in (401, 403):
            raise self._refused(method, path, answer)
        return answer

    def _authorization(self) -> str:
        with self._lock:
            if self._clock() >= self._until:
                began = self._clock()
                self._token = self._log_in()
                self._until = began + _FRESH
            return f"Bearer {self._token}"

    def _log_in(self) -> str:
        user, secret = self._credential.username, self._credential.secret
        new: JSONValue = {"identifier": user, "secret": secret}
        ok = (200, 400, 401, 403, *_NO_SUCH_LOGIN)
        answer = self._rest.request("POST", "/v2/auth/token", body=new, ok=ok)
        if answer.status in _NO_SUCH_LOGIN:
            old: JSONValue = {"username": user, "password": secret}
            answer = self._rest.request("POST", "/v2/users/login", body=old, ok=ok)
        match answer.json():
            case {"access_token": str(token)} | {"token": str(token)} if answer.status == 200:
                return token
            case _:
                raise self._wrong(answer)

    def _wrong(self, answer: Response) -> CredentialError:
        said = str(read_problem(answer))
        who = f"{self._rest.host}: the login from {self._credential.source} is refused: {said}"
        if "secondary authentication" in said.lower() or b"login_2fa_token" in answer.body:
            return CredentialError(who, hint=f"with two factors a password is not enough: {NEEDED}")
        return CredentialError(who, hint=f"the user or the secret is wrong; {NEEDED}")

    def _refused(self, method: str, path: str, answer: Response) -> CredentialError:
        problem = read_problem(answer)
        where = f"{self._rest.host}: {method} {path.partition('?')[0]}: {problem}"
        if any(sign in problem.message.lower() for sign in _TOO_SMALL):
            return CredentialError(
                f"{where}: the token from {self._credential.source} may not do this", hint=NEEDED
            )
        return CredentialError(
            where,
            hint=f"{self._credential.username} must be an admin of "
            f"{self._namespace}/{self._repository}; for the token: {NEEDED}",
        )


def _next(page: Response) -> str:
    match page.json():
        case {"next": str(url)} if url:
            return url
        case _:
            return ""


def _tag(value: JSONValue) -> HubTag:
    match value:
        case {"name": str(name), **rest}:
            pushed = timestamp(rest.get("tag_last_pushed"))
            updated = timestamp(rest.get("last_updated"))
            times = tuple(filter(None, (pushed, updated)))
            return HubTag(tag=Tag(name), pushed=pushed or updated, updated=max(times, default=None))
        case _:
            raise CleanupError("hub.docker.com: a tag without a name in the list")


def _rule(value: JSONValue) -> re.Pattern[str]:
    """Read a rule; one that can't be read holds for every tag."""
    try:
        return re.compile(value if isinstance(value, str) else "")
    except re.error:
        return re.compile("")


_NOT_ALLOWED = ("insufficient scope", "access denied", "access to the resource is denied")


@dataclass(frozen=True)
class DockerHubRemover:
    """Deletes from one repository on Docker Hub; `retry` waits for deletions in the background."""

    store: RegistryStore
    api: HubApi
    retry: Retry

    @cached_property
    def referrers(self) -> Referrers:
        """Give the registry's referrers API."""
        return Referrers(self.store)

    def abilities(self) -> Abilities:
        """Log in. Whether the token may delete can't be asked without deleting."""
        self.api.login()
        return Abilities(tags=True, manifests=True)

    def inventory(self, on_page: Callable[[int], None] = lambda _count: None) -> Inventory:
        """Give every tag with its digest from the registry and its times from the API."""
        tags = self._tags(on_page)
        if not tags:
            return Inventory()
        is_immutable = self.api.immutable()
        named = named_digests(self.store, tags, on_page)
        entries = (_dated(entry, [tags[tag] for tag in entry.tags]) for entry in grouped(named))
        immutable = frozenset(filter(is_immutable, tags))
        return Inventory(entries=tuple(entries), immutable=immutable, now=self.api.now)

    def listed(self) -> frozenset[Tag | Digest]:
        """List the tags again."""
        return frozenset(self._tags(lambda _count: None))

    def remove_tag(self, tag: Tag, expected: Digest) -> Removal:
        """Remove one tag; its manifest stays until it is deleted by digest."""
        moved = moved_tag(self.store, tag, expected)
        if moved:
            return moved
        if self.api.delete(tag).status != 404:
            return Removal(RemovalKind.REMOVED)
        if self.api.has(tag):
            raise CleanupError(f"{self.store.reference(tag)}: unknown when deleted, but still here")
        return Removal(RemovalKind.GONE)

    def remove_manifest(self, digest: Digest, tags: frozenset[Tag] = frozenset()) -> Removal:
        """Remove an untagged manifest; what is still referenced Docker Hub keeps."""
        for tag in sorted(tags):
            if moved_tag(self.store, tag, digest) is None:
                return Removal(RemovalKind.KEPT, f"{tag} still names it")
        answer = delete(self.store, digest, also=(403, 500))
        if answer.status in DONE:
            return Removal(RemovalKind.REMOVED)
        if answer.status == 404:
            return proved_gone(self.store, digest)
        if answer.status == 403:
            return self._referenced(answer)
        if answer.status == 500:
            return self._maybe_done(digest, answer)
        raise unable(self.store, digest, answer)

    def sweep(self) -> None:
        """Leave the blobs to Docker Hub."""

    def _tags(self, on_page: Callable[[int], None]) -> dict[Tag, HubTag]:
        found = self.api.tags(on_page)
        if found is None and self.store.tags():
            raise CredentialError(
                f"{self.store.name} has tags, but Docker Hub's API does not show the repository",
                hint=f"log in as an admin of the repository; {NEEDED}",
            )
        return {each.tag: each for each in found or ()}

    def _referenced(self, answer: Response) -> Removal:
        problem = read_problem(answer)
        if any(sign in problem.message.lower() for sign in _NOT_ALLOWED):
            raise CredentialError(f"{self.store.name}: {problem}", hint=NEEDED)
        return Removal(RemovalKind.KEPT, str(problem))

    def _maybe_done(self, digest: Digest, answer: Response) -> Removal:
        """Wait a little after a 500: Docker Hub may go on in the background."""

        def gone() -> Removal:
            if self.store.head(digest) is not None:
                raise Transient(CleanupError("still there"))
            return Removal(RemovalKind.REMOVED)

        try:
            return self.retry(gone)
        except CleanupError:
            said = f"{read_problem(answer)}; Docker Hub may still delete it in the background"
            return Removal(RemovalKind.KEPT, said)


def _dated(entry: ListedManifest, tags: Collection[HubTag]) -> ListedManifest:
    """Take the earliest push of its tags for the digest's own: a tag may have come later."""
    pushed = (tag.pushed for tag in tags)
    updated = (tag.updated for tag in tags)
    return replace(
        entry,
        pushed=min(filter(None, pushed), default=None),
        touched=max(filter(None, updated), default=None),
    )
