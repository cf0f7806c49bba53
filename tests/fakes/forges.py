"""Strict fakes of the release pages of GitHub, GitLab and Gitea (insight.md §8)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote

from podbuild.system.records import JSONValue
from tests.fakes.wire import Reply, Request, Wire, json_reply, served

LIMIT = 125_000
PATH = "acme/shop"


@dataclass
class Page:
    """A release as the forge holds it."""

    number: int
    tag: str
    body: str
    draft: bool = False

    def shown(self) -> JSONValue:
        """Give it as GitHub and Gitea do."""
        return {
            "id": self.number,
            "tag_name": self.tag,
            "name": self.tag,
            "body": self.body or None,
            "draft": self.draft,
            "html_url": f"https://forge.example/{PATH}/releases/{self.number}",
        }


@dataclass
class FakeForge:
    """A forge's state: its releases, and which tokens may read and write."""

    pages: list[Page] = field(default_factory=list)
    writers: set[str] = field(default_factory=lambda: {"writer"})
    readers: set[str] = field(default_factory=lambda: {"reader"})
    wire: Wire = field(default_factory=lambda: Wire(""))
    meanwhile: Callable[[], None] | None = None  # somebody else, before a release is read again

    def add(self, tag: str, body: str, *, draft: bool = False) -> Page:
        """Put a release."""
        page = Page(len(self.pages) + 41, tag, body, draft)
        self.pages.insert(0, page)
        return page

    def answer(self, request: Request) -> Reply:
        """Answer for the API."""
        raise NotImplementedError(request)


def _message(status: int, text: str) -> Reply:
    return json_reply(status, {"message": text})


@dataclass
class GitHubForge(FakeForge):
    """https://docs.github.com/rest/releases/releases ."""

    scheme = "Bearer "
    base = ""
    size = "per_page"

    def answer(self, request: Request) -> Reply:
        """Answer for the API."""
        token = request.headers.get("authorization", "")
        known = self.writers | self.readers
        if "user-agent" not in request.headers:
            return _message(403, "Request forbidden by administrative rules.")
        if not token.startswith(self.scheme) or token.removeprefix(self.scheme) not in known:
            return _message(401, "Bad credentials")
        may_write = token.removeprefix(self.scheme) in self.writers
        path = request.path.removeprefix(self.base)
        if not path.startswith(f"/repos/{PATH}/releases"):
            return _message(404, "Not Found")
        rest = path.removeprefix(f"/repos/{PATH}/releases")
        if request.method == "GET":
            return self._read(request, rest, may_write=may_write)
        if not may_write:
            return _message(403, "Resource not accessible by integration")
        return self._write(request, rest)

    def _read(self, request: Request, rest: str, *, may_write: bool) -> Reply:
        if found := re.fullmatch(r"/tags/([^/]+)", rest):
            tag = unquote(found[1])
            for each in self.pages:
                if each.tag == tag and not each.draft:
                    return json_reply(200, each.shown())
            return _message(404, "Not Found")
        if found := re.fullmatch(r"/(\d+)", rest):
            if self.meanwhile:
                self.meanwhile()
            page = self._page(int(found[1]))
            return json_reply(200, page.shown()) if page else _message(404, "Not Found")
        seen = [page for page in self.pages if may_write or not page.draft]
        size = min(100, int(request.value(self.size, "30")))
        number = int(request.value("page", "1"))
        part = seen[(number - 1) * size : number * size]
        headers = {}
        if number * size < len(seen):
            url = f"{request.origin}{request.path}?{self.size}={size}&page={number + 1}"
            headers["Link"] = f'<{url}>; rel="next"'
        return json_reply(200, [page.shown() for page in part], **headers)

    def _write(self, request: Request, rest: str) -> Reply:
        body = request.json.get("body")
        if isinstance(body, str) and len(body) > LIMIT:
            wrong: JSONValue = {
                "resource": "Release",
                "code": "custom",
                "field": "body",
                "message": "body is too long (maximum is 125000 characters)",
            }
            return json_reply(422, {"message": "Validation Failed", "errors": [wrong]})
        if request.method == "POST" and not rest:
            made = self.add(
                str(request.json["tag_name"]), str(body), draft=request.json.get("draft") is True
            )
            return json_reply(201, made.shown())
        found = re.fullmatch(r"/(\d+)", rest)
        page = self._page(int(found[1])) if found and request.method == "PATCH" else None
        if page is None:
            return _message(404, "Not Found")
        page.body = str(body)
        if page.draft:
            page.tag = str(request.json.get("tag_name") or "untagged-0d5f6a")
        return json_reply(200, page.shown())

    def _page(self, number: int) -> Page | None:
        return next((page for page in self.pages if page.number == number), None)


@dataclass
class GiteaForge(GitHubForge):
    """The same words under /api/v1, `token` for Bearer, `limit` for per_page."""

    scheme = "token "
    base = "/api/v1"
    size = "limit"


@dataclass
class GitLabForge(FakeForge):
    """https://docs.gitlab.com/api/releases/ ."""

    def answer(self, request: Request) -> Reply:
        """Answer for the API."""
        token = request.headers.get("private-token") or request.headers.get("job-token", "")
        if token not in self.writers | self.readers:
            return _message(401, "401 Unauthorized")
        found = re.fullmatch(r"/api/v4/projects/([^/]+)/releases(?:/([^/]+))?", request.path)
        if found is None or unquote(found[1]) != PATH:
            return _message(404, "404 Project Not Found")
        if request.method != "GET" and token not in self.writers:
            return _message(403, "403 Forbidden")
        if request.method == "POST" and found[2] is None:
            made = self.add(str(request.json["tag_name"]), str(request.json["description"]))
            return json_reply(201, self._shown(made))
        page = next((each for each in self.pages if each.tag == unquote(found[2] or "")), None)
        if page is None:
            return _message(404, "404 Not Found")
        if request.method == "PUT":
            page.body = str(request.json["description"])
        elif self.meanwhile and len(self.wire.requests("GET")) > 1:
            self.meanwhile()
        return json_reply(200, self._shown(page))

    def _shown(self, page: Page) -> JSONValue:
        return {"tag_name": page.tag, "name": page.tag, "description": page.body}


FORGES: dict[str, type[FakeForge]] = {
    "github": GitHubForge,
    "gitlab": GitLabForge,
    "gitea": GiteaForge,
}
BASES = {"github": "", "gitlab": "/api/v4", "gitea": "/api/v1"}


@contextmanager
def served_forge(kind: str) -> Iterator[FakeForge]:
    """Serve one while the block runs."""
    forge = FORGES[kind]()
    with served(forge.answer) as wire:
        forge.wire = wire
        yield forge
