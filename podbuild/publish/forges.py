"""Release pages of forges: GitHub's, GitLab's, and Gitea's (which Forgejo's are like).

https://docs.github.com/rest/releases/releases, https://docs.gitlab.com/api/releases/,
https://docs.gitea.com/api. Only the text of a page is ever written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote, urlsplit

from podbuild.config.following import ForgeKind, NotesSettings
from podbuild.errors import ConfigError, CredentialError, PublishError
from podbuild.oci.delete.rest import RestClient
from podbuild.oci.transport.problem import Response, next_page
from podbuild.plan.git.history import CiFacts
from podbuild.system.records import JSONValue

GITHUB_LIMIT = 125_000  # characters of a text; 422 above
GITLAB_LIMIT = 1_000_000
_PAGE = 100
_ABSENT = 404
_GITEA_PAGE = 50  # what its API gives at most, unless configured
_RIGHTS = {
    ForgeKind.GITHUB: "give the job `permissions: contents: write`, or a fine-grained token the "
    "right to write contents",
    ForgeKind.GITLAB: "a token with the scope api and the role Developer may write releases",
    ForgeKind.GITEA: "a token needs write:repository",
}
NO_TOKEN = {
    ForgeKind.GITHUB: "set GITHUB_TOKEN (for github.com) or PODBUILD_NOTES_TOKEN",
    ForgeKind.GITLAB: "set PODBUILD_NOTES_TOKEN, or run in a job of GitLab CI",
    ForgeKind.GITEA: "set PODBUILD_NOTES_TOKEN",
}
_KNOWN_HOSTS = {
    "github.com": ForgeKind.GITHUB,
    "gitlab.com": ForgeKind.GITLAB,
    "gitea.com": ForgeKind.GITEA,
    "codeberg.org": ForgeKind.GITEA,
}


@dataclass(frozen=True, kw_only=True)
class ForgeProject:
    """A repository on a forge: what kind of forge, its API, and the repository's path."""

    kind: ForgeKind
    api: str
    path: str


@dataclass(frozen=True, kw_only=True)
class ReleasePage:
    """A release as the forge has it now. `key` is how its API names it."""

    key: str
    tag: str
    body: str = field(repr=False)
    draft: bool = False


class Forge(Protocol):
    """The release pages of one repository.

    All methods raise CredentialError (no right), PublishError (unreachable, or an odd answer).
    """

    @property
    def limit(self) -> int | None:
        """Give how many characters a text may have; None: no limit is known."""

    def find(self, tag: str) -> ReleasePage | None:
        """Give the release of a git tag, also a draft; None where there is none."""

    def again(self, page: ReleasePage) -> ReleasePage:
        """Give the same release as it is now."""

    def write(self, page: ReleasePage, body: str) -> None:
        """Replace the text of a release."""

    def create(self, tag: str, body: str) -> None:
        """Make a release: a draft where the forge has drafts."""


def find_project(settings: NotesSettings, source: str, ci: CiFacts, server: str) -> ForgeProject:
    """Give where a project's releases are told of, from its source's address or the CI system.

    `server` is the CI system's own address. Raises ConfigError where it can't be told.
    """
    try:
        address = urlsplit(source or (f"{server}/{ci.repository}" if server else ""))
        here = urlsplit(server).netloc
    except ValueError:
        raise ConfigError(
            f"{server} is not the address of a CI system",
            hint="unset CI_SERVER_URL and GITHUB_SERVER_URL",
        ) from None
    host, path = address.netloc, address.path.strip("/").removesuffix(".git")
    kind = settings.forge or _kind(host, ci, here)
    path = settings.repository or path
    if kind is not ForgeKind.GITLAB:
        path = "/".join(path.split("/")[:2])
    if kind is None or not (host or settings.api):
        raise ConfigError(
            "it is not known on which forge the releases are",
            hint='set [project] source, and [notes] forge = "github", "gitlab" or "gitea"',
        )
    if "/" not in path or {".", ".."} & {*path.split("/")}:  # which would ask another API
        raise ConfigError(
            "it is not known in which repository the releases are",
            hint='set [notes] repository, such as "acme/shop"',
        )
    base = settings.api or _usual_api(kind, f"{address.scheme}://{host}", host)
    return ForgeProject(kind=kind, api=base.rstrip("/"), path=path)


def _kind(host: str, ci: CiFacts, server: str) -> ForgeKind | None:
    if host in _KNOWN_HOSTS:
        return _KNOWN_HOSTS[host]
    if host and host == server:
        systems = {"github": ForgeKind.GITHUB, "gitlab": ForgeKind.GITLAB}
        forges = {"gitea": ForgeKind.GITEA, "forgejo": ForgeKind.GITEA}
        return (systems | forges).get(ci.system)
    first = host.partition(".")[0]
    named = {"forgejo": ForgeKind.GITEA, **{each.value: each for each in ForgeKind}}
    return named.get(first)


def _usual_api(kind: ForgeKind, origin: str, host: str) -> str:
    match kind:
        case ForgeKind.GITHUB:
            return "https://api.github.com" if host == "github.com" else f"{origin}/api/v3"
        case ForgeKind.GITLAB:
            return f"{origin}/api/v4"
        case ForgeKind.GITEA:
            return f"{origin}/api/v1"


@dataclass(frozen=True, kw_only=True)
class GitHubReleases:
    """GitHub's releases, and Gitea's, which are asked for in the same words."""

    rest: RestClient
    login: Mapping[str, str] = field(repr=False)
    path: str
    kind: ForgeKind = ForgeKind.GITHUB

    @property
    def limit(self) -> int | None:
        """Give how many characters a text may have."""
        return GITHUB_LIMIT if self.kind is ForgeKind.GITHUB else None

    def find(self, tag: str) -> ReleasePage | None:
        """Ask by the tag, which finds no drafts; then look through all, as far as needed."""
        named = self._call("GET", f"{self._base}/tags/{quote(tag, safe='')}", ok=(200, _ABSENT))
        if named.status != _ABSENT:
            return self._page(named.json())
        for release in self._every():
            match release:
                case {"tag_name": str(name)} if name == tag:
                    return self._page(release)
        return None

    def again(self, page: ReleasePage) -> ReleasePage:
        """Give the same release as it is now."""
        return self._page(self._call("GET", f"{self._base}/{page.key}").json())

    def write(self, page: ReleasePage, body: str) -> None:
        """Replace the text; a draft whose tag is not named again may lose it."""
        change: dict[str, JSONValue] = {"body": body}
        if page.draft:
            change["tag_name"] = page.tag
        answer = self._call(
            "PATCH", f"{self._base}/{page.key}", body=change, ok=(200, 201, _ABSENT)
        )
        if answer.status == _ABSENT:
            raise self._no_right("may not write its releases")

    def create(self, tag: str, body: str) -> None:
        """Make a draft."""
        new: dict[str, JSONValue] = {"tag_name": tag, "name": tag, "body": body, "draft": True}
        answer = self._call("POST", self._base, body=new, ok=(201, _ABSENT))
        if answer.status == _ABSENT:
            raise self._no_right("may not write its releases")

    @property
    def _base(self) -> str:
        return f"/repos/{quote(self.path)}/releases"

    def _every(self) -> Iterator[JSONValue]:
        size = f"limit={_GITEA_PAGE}" if self.kind is ForgeKind.GITEA else f"per_page={_PAGE}"

        def ask(path: str) -> Response:
            answer = self._call("GET", path, ok=(200, _ABSENT))
            if answer.status == _ABSENT:
                raise self._no_right("can't see it")
            return answer

        for page in self.rest.pages(f"{self._base}?{size}&page=1", next_page, ask):
            match page.json():
                case list(found):
                    yield from found
                case _:
                    raise PublishError(f"{self.rest.host}: the list of releases can't be read")

    def _page(self, value: JSONValue) -> ReleasePage:
        match value:
            case {"id": int(key), "tag_name": str(tag), **rest}:
                body = rest.get("body")
                return ReleasePage(
                    key=str(key),
                    tag=tag,
                    body=body if isinstance(body, str) else "",
                    draft=rest.get("draft") is True,
                )
            case _:
                raise PublishError(f"{self.rest.host}: a release can't be read")

    def _no_right(self, what: str) -> CredentialError:
        message = f"{self.rest.host}: {self.path}: the token {what}, or there is no such repository"
        return CredentialError(message, hint=_RIGHTS[self.kind])

    def _call(
        self, method: str, path: str, *, body: JSONValue = None, ok: tuple[int, ...] = (200,)
    ) -> Response:
        with_rights = _Rights(self.rest, self.kind, self.login)
        return with_rights.call(method, path, body=body, ok=ok)


@dataclass(frozen=True, kw_only=True)
class GitLabReleases:
    """GitLab's releases, which know no drafts; `login` is the header with its token."""

    rest: RestClient
    login: Mapping[str, str] = field(repr=False)
    path: str
    limit: int | None = GITLAB_LIMIT

    def find(self, tag: str) -> ReleasePage | None:
        """Ask by the tag."""
        answer = self._call("GET", self._key(tag), ok=(200, _ABSENT))
        return None if answer.status == _ABSENT else self._page(self._key(tag), tag, answer)

    def again(self, page: ReleasePage) -> ReleasePage:
        """Give the same release as it is now."""
        return self._page(page.key, page.tag, self._call("GET", page.key))

    def write(self, page: ReleasePage, body: str) -> None:
        """Replace the description."""
        self._call("PUT", page.key, body={"description": body})

    def create(self, tag: str, body: str) -> None:
        """Make a release, which is published at once: there are no drafts."""
        new: JSONValue = {"tag_name": tag, "description": body}
        self._call("POST", self._base, body=new, ok=(200, 201))

    @property
    def _base(self) -> str:
        return f"/projects/{quote(self.path, safe='')}/releases"

    def _key(self, tag: str) -> str:
        return f"{self._base}/{quote(tag, safe='')}"

    def _page(self, key: str, tag: str, answer: Response) -> ReleasePage:
        match answer.json():
            case {"tag_name": str(named), **rest} if named == tag:
                body = rest.get("description")
                return ReleasePage(key=key, tag=tag, body=body if isinstance(body, str) else "")
            case _:
                raise PublishError(f"{self.rest.host}: a release can't be read")

    def _call(
        self, method: str, path: str, *, body: JSONValue = None, ok: tuple[int, ...] = (200,)
    ) -> Response:
        with_rights = _Rights(self.rest, ForgeKind.GITLAB, self.login)
        return with_rights.call(method, path, body=body, ok=ok)


@dataclass(frozen=True)
class _Rights:
    """Sends requests with a login; where a right is lacking, says which one is needed."""

    rest: RestClient
    kind: ForgeKind
    login: Mapping[str, str] = field(repr=False)

    def call(self, method: str, path: str, *, body: JSONValue, ok: tuple[int, ...]) -> Response:
        try:
            return self.rest.request(
                method, path, login=self.login, body=body, ok=ok, once=method == "POST"
            )
        except CredentialError as error:
            raise CredentialError(error.message, hint=_RIGHTS[self.kind]) from error
