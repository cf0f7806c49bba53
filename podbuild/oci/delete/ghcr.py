"""Deleting from GHCR: whole versions through GitHub's API, because its registry deletes nothing.

To free one tag of several (`untag = true`) the tag is moved to a placeholder of its own, and
the version that then holds only that tag is deleted.

GitHub Packages, the REST API behind ghcr.io (docs.github.com/rest/packages/packages).

A version is one digest with all its tags: there is no call that frees one tag. The call that
deletes a whole package is not in this client.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from urllib.parse import quote

from podbuild.errors import CleanupError, CredentialError
from podbuild.oci.auth.files import Credential
from podbuild.oci.delete import Abilities, Inventory, ListedManifest, Removal, RemovalKind
from podbuild.oci.delete.registry import moved_tag, proved_gone
from podbuild.oci.delete.rest import RestClient, timestamp
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest, Tag
from podbuild.oci.referrers import Referrers
from podbuild.oci.registry import RegistryStore
from podbuild.oci.store import EMPTY, put_artifact
from podbuild.oci.transport.problem import Response, next_page, read_problem
from podbuild.system.records import JSONValue
from podbuild.system.retry import Retry, Transient

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

    @property
    def now(self) -> datetime | None:
        """Give the time by the API's own clock, as it last told."""
        return self._rest.now

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


_UNTAG = "io.github.podbuild.untag"
_SHIELD = 30.0  # seconds after a stop in which a tag is freed, or put back
_KEPT = ("cannot delete the last", "more than 5000 downloads")
_PLACEHOLDER = "application/vnd.podbuild.placeholder"


@dataclass(frozen=True)
class GhcrRemover:
    """Deletes versions of one package; `untag` allows the placeholder way."""

    store: RegistryStore
    api: GitHubApi
    retry: Retry
    untag: bool = field(default=False, kw_only=True)
    _ids: dict[Digest, int] = field(default_factory=dict, kw_only=True, repr=False)

    @cached_property
    def referrers(self) -> Referrers:
        """Give the registry's referrers API, which GHCR does not have so far."""
        return Referrers(self.store)

    def abilities(self) -> Abilities:
        """Read the package and the token's scopes, where it tells them."""
        self._need_package()
        return Abilities(
            tags=self.untag,
            manifests=True,
            together=True,
            reason="" if self.untag else "GHCR can't free one tag of several without untag = true",
        )

    def inventory(self, on_page: Callable[[int], None] = lambda _count: None) -> Inventory:
        """Give every version, tagged or not."""
        found = self._versions(on_page)
        self._ids.clear()
        self._ids.update((version.digest, version.id) for version in found)
        entries = (
            ListedManifest(
                digest=version.digest,
                tags=tuple(sorted(version.tags)),
                pushed=version.created,
                touched=version.updated,
            )
            for version in found
        )
        return Inventory(entries=tuple(entries), untagged=True, now=self.api.now)

    def listed(self) -> frozenset[Tag | Digest]:
        """List versions and tags again."""
        found = self._versions(lambda _count: None)
        tags = (tag for version in found for tag in version.tags)
        return frozenset(version.digest for version in found) | frozenset(tags)

    def remove_tag(self, tag: Tag, expected: Digest) -> Removal:
        """Free one tag of several by the placeholder way; whatever fails or stops puts it back."""
        if not self.untag:
            raise CleanupError(
                f"{self.store.reference(tag)}: GHCR can't free one tag of several",
                hint="untag = true in the registry's section allows the way around that",
            )
        moved = moved_tag(self.store, tag, expected)
        if moved:
            return moved
        before = self.store.manifest(expected)
        if before is None:
            raise CleanupError(f"{self.store.reference(tag)} can't be read; it stays")
        with self.store.client.cancel.shielded(_SHIELD):
            try:
                return self._replaced(tag)
            except BaseException:
                self._put_back(tag, before)
                raise

    def _put_back(self, tag: Tag, before: Manifest) -> None:
        """Point a tag that names a placeholder at its image; others may have moved it since."""
        now = self.store.manifest(tag)
        if now is not None and _UNTAG in now.annotations:
            self.store.put_manifest(before, tag)

    def remove_manifest(self, digest: Digest, tags: frozenset[Tag] = frozenset()) -> Removal:
        """Delete a version if its tags, read right before, are all among those that go."""
        number = self._ids.get(digest)
        now = self.api.version(number) if number is not None else None
        if now is None:
            return proved_gone(self.store, digest)
        if not now.tags <= tags or now.digest != digest:
            others = ", ".join(map(str, sorted(now.tags - tags)))
            return Removal(RemovalKind.KEPT, f"it got the tag {others} meanwhile")
        return self._deleted(now)

    def sweep(self) -> None:
        """Leave the blobs to GHCR."""

    def _deleted(self, version: PackageVersion) -> Removal:
        answer = self.api.delete(version.id)
        if answer.status == 204:
            return Removal(RemovalKind.REMOVED)
        if answer.status == 400:
            return _kept(answer)
        if self.api.version(version.id) is not None:
            raise self.api.refused(answer)
        return proved_gone(self.store, version.digest)

    def _versions(self, on_page: Callable[[int], None]) -> tuple[PackageVersion, ...]:
        return tuple(self.api.versions(on_page)) if self._need_package() else ()

    def _need_package(self) -> bool:
        """Tell a package that is not there from one that the token can't see."""
        if self.api.exists():
            return True
        if self.store.tags():
            raise CredentialError(
                f"{self.store.name} exists, but GitHub's API does not show it to this token",
                hint=RIGHTS,
            )
        return False

    def _replaced(self, tag: Tag) -> Removal:
        """Move the tag to a placeholder and delete that version; it may hold no other tag."""
        unique = {
            _UNTAG: str(tag),
            "io.github.podbuild.nonce": secrets.token_hex(16),
        }
        placeholder = put_artifact(self.store, _PLACEHOLDER, EMPTY, tag, unique)
        version = self.retry(lambda: self._found(placeholder, tag))
        removal = self._deleted(version)
        if removal.kind is RemovalKind.KEPT:
            raise CleanupError(f"{self.store.reference(tag)} stays: {removal.reason}")
        return removal

    def _found(self, placeholder: Manifest, tag: Tag) -> PackageVersion:
        """Find the placeholder's version, which may appear a moment later."""
        for version in self.api.versions(lambda _count: None):
            if version.digest == placeholder.digest and version.tags == {tag}:
                return version
        raise Transient(CleanupError(f"{self.store.reference(tag)}: no version shows the move"))


def _kept(answer: Response) -> Removal:
    """Tell what GitHub keeps for its own reasons from a request that it does not understand."""
    problem = read_problem(answer)
    if any(sign in problem.message.lower() for sign in _KEPT):
        return Removal(RemovalKind.KEPT, problem.message)
    raise CleanupError(f"GitHub refuses to delete a version: {problem}")
