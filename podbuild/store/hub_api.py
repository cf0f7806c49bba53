"""Docker Hub's own API: login, tags, settings (docs.docker.com/reference/api/hub/latest).

Tag deletion is not in the published description; hub-tool and Docker's staff use the form here.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from podbuild.errors import CleanupError, CredentialError
from podbuild.model import JSONValue, Tag
from podbuild.store.problem import Response, read_problem
from podbuild.store.rest import RestClient, timestamp
from podbuild.store.secret import Credential

API = "https://hub.docker.com"
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
