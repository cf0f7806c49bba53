"""GitHub Packages, the REST API behind ghcr.io (docs.github.com/rest/packages/packages).

A version is one digest with all its tags: there is no call that frees one tag. The call that
deletes a whole package is not in this client.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from podbuild.errors import CleanupError, CredentialError
from podbuild.model import Digest, JSONValue, Tag
from podbuild.store.links import next_page
from podbuild.store.problem import Response, read_problem
from podbuild.store.rest import RestClient, timestamp
from podbuild.store.secret import Credential

API = "https://api.github.com"
HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
_PAGE = 100
_RESERVE = 20  # calls of the hourly limit that are left to others who use the same token
RIGHTS = (
    "a classic token needs delete:packages and read:packages (fine-grained ones can't); "
    "for GITHUB_TOKEN set `permissions: packages: write` and give this repository the Admin role "
    "under the package's Manage Actions access"
)


@dataclass(frozen=True, kw_only=True)
class PackageVersion:
    """A package version: one manifest with all its tags.

    `created` is when its digest was pushed; `updated` moves whenever a tag comes or leaves.
    """

    id: int
    digest: Digest
    tags: frozenset[Tag]
    created: datetime | None
    updated: datetime | None


class GitHubApi:
    """The versions of one container package. `owner/name` is the path at the registry."""

    def __init__(self, rest: RestClient, credential: Credential, path: str) -> None:
        self._rest = rest
        self._credential = credential
        self._owner, _, self._package = path.partition("/")
        self._lock = threading.Lock()
        self._known_base = ""

    def exists(self) -> bool:
        """Tell whether the package can be seen; raises CredentialError for a token too small."""
        answer = self._call("GET", self._base(), ok=(200, 404))
        scopes = answer.header("x-oauth-scopes")
        if scopes and "delete:packages" not in {scope.strip() for scope in scopes.split(",")}:
            raise CredentialError(
                f"{self._rest.host}: the token from {self._credential.source} lacks "
                f"delete:packages (it has {scopes})",
                hint=RIGHTS,
            )
        return answer.status == 200

    def versions(self, on_page: Callable[[int], None]) -> Iterator[PackageVersion]:
        """List all versions that are not deleted, each once."""
        first = f"{self._base()}/versions?per_page={_PAGE}&page=1&state=active"
        seen: set[int] = set()
        for page in self._rest.pages(first, next_page, lambda path: self._call("GET", path)):
            match page.json():
                case list(found):
                    versions = [_version(each) for each in found]
                case _:
                    raise CleanupError(f"{self._rest.host}: the list of versions can't be read")
            on_page(len(versions))
            yield from (each for each in versions if each.id not in seen)
            seen.update(each.id for each in versions)

    def version(self, number: int) -> PackageVersion | None:
        """Give one version as it is now; None when it is gone."""
        answer = self._call("GET", f"{self._base()}/versions/{number}", ok=(200, 404))
        return None if answer.status == 404 else _version(answer.json())

    def delete(self, number: int) -> Response:
        """Delete one version with all its tags: 204 done, 400 kept, 404 gone or not allowed."""
        if self._rest.remaining is not None and self._rest.remaining < _RESERVE:
            raise CleanupError(
                f"{self._rest.host}: the token's hourly limit is nearly used up "
                f"({self._rest.remaining} calls left)",
                hint="run the same command again in an hour; it goes on where it stopped",
            )
        return self._call("DELETE", f"{self._base()}/versions/{number}", ok=(204, 400, 404))

    def refused(self, answer: Response) -> CredentialError:
        """Give the error for a token that may read but not delete."""
        return CredentialError(
            f"{self._rest.host}: the token from {self._credential.source} may not delete "
            f"versions of {self._owner}/{self._package}: {read_problem(answer)}",
            hint=RIGHTS,
        )

    def _base(self) -> str:
        with self._lock:
            if not self._known_base:
                name = quote(self._package, safe="")
                self._known_base = f"{self._namespace()}/packages/container/{name}"
            return self._known_base

    def _namespace(self) -> str:
        """Choose between organisation, another user, and the user whose token this is."""
        owner = quote(self._owner, safe="")
        answer = self._call("GET", f"/users/{owner}", ok=(200, 404))
        match answer.json():
            case {"type": "Organization"} if answer.status == 200:
                return f"/orgs/{owner}"
            case {"type": str()} if answer.status == 200:
                return "/user" if self._is_own() else f"/users/{owner}"
            case _:
                raise CleanupError(
                    f"{self._rest.host} knows no user or organisation {self._owner}",
                    hint="check `repository` and `api`",
                )

    def _is_own(self) -> bool:
        """Ask who we are; an app's token (GITHUB_TOKEN) is nobody and gets 403."""
        header = self._authorization
        answer = self._rest.request("GET", "/user", authorization=header, ok=(200, 403))
        match answer.json():
            case {"login": str(login)} if answer.status == 200:
                return login.lower() == self._owner.lower()
            case _:
                return False

    @property
    def _authorization(self) -> str:
        return f"Bearer {self._credential.secret}"

    def _call(self, method: str, path: str, *, ok: tuple[int, ...] = (200,)) -> Response:
        accepted = (*ok, 401, 403)
        answer = self._rest.request(method, path, authorization=self._authorization, ok=accepted)
        if answer.status == 401:
            raise CredentialError(
                f"{self._rest.host}: the token from {self._credential.source} is refused: "
                f"{read_problem(answer)}",
                hint="it is wrong or has expired",
            )
        if answer.status == 403:
            raise self.refused(answer)
        return answer


def _version(value: JSONValue) -> PackageVersion:
    match value:
        case {
            "id": int(number),
            "name": str(name),
            "metadata": {"container": {"tags": list(tags)}},
            **rest,
        } if name.startswith("sha256:"):
            return PackageVersion(
                id=number,
                digest=Digest(name),
                tags=frozenset(Tag(tag) for tag in tags if isinstance(tag, str)),
                created=timestamp(rest.get("created_at")),
                updated=timestamp(rest.get("updated_at")),
            )
        case _:
            raise CleanupError(f"a package version can't be read: {str(value)[:200]}")
