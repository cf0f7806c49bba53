"""The referrers API of a registry, where it has one (distribution spec, "Listing Referrers")."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from podbuild.errors import CleanupError
from podbuild.oci.auth.files import AccessScope
from podbuild.oci.manifest import Descriptor, MediaType
from podbuild.oci.names import Digest
from podbuild.oci.registry import RegistryStore
from podbuild.oci.transport.problem import RegistryError, Response, read_problem

_NOT_OFFERED = (400, 404, 405, 406, 501)
_MOST_PAGES = 1000  # of one manifest's referrers
_MOST = 10_000  # of them


class Referrers:
    """Asks for what refers to a manifest. Fallback tags are tags, and found as such."""

    def __init__(self, store: RegistryStore) -> None:
        self._store = store
        self._offered: bool | None = None
        self._lock = threading.Lock()

    @property
    def offered(self) -> bool:
        """Tell whether the registry has answered with such a list."""
        return self._offered is True

    def __call__(self, digest: Digest) -> tuple[Digest, ...]:
        """Give what the API lists; nothing where there is no such API.

        Raises CleanupError for a list that is not complete.
        """
        if self._offered is False:
            return ()
        answer = self._ask(f"/v2/{self._store.repository.path}/referrers/{digest}")
        page = answer if answer and _is_list(answer) else None
        with self._lock:
            if page is None and self._offered:
                if answer and "MANIFEST_UNKNOWN" in read_problem(answer).codes:
                    return ()  # how some tell that nothing refers to it
                raise CleanupError(f"{self._store.name}: the list of referrers is incomplete")
            self._offered = page is not None
        return tuple(self._followed(page)) if page else ()

    def _followed(self, answer: Response) -> Iterator[Digest]:
        seen = {answer.url}
        count = 0
        while True:
            listed = _referring(answer)
            count += len(listed)
            if count > _MOST:
                raise CleanupError(
                    f"{self._store.name}: the list of referrers does not end ({count} so far)"
                )
            yield from listed
            following = self._store.client.following(answer)
            if not following:
                return
            page = (
                self._ask(following) if following not in seen and len(seen) < _MOST_PAGES else None
            )
            if page is None or not _is_list(page):
                raise CleanupError(f"{self._store.name}: the list of referrers is incomplete")
            seen.add(following)
            answer = page

    def _ask(self, path: str) -> Response | None:
        """Give one answer; None where it is no registry's."""
        scopes = (AccessScope.repository(self._store.repository.path, "pull"),)
        try:
            return self._store.client.request("GET", path, scopes=scopes, ok=(200, *_NOT_OFFERED))
        except RegistryError as error:  # a server's own page for an address that it does not know
            if error.problem.status in _NOT_OFFERED:
                return None
            raise


def _is_list(answer: Response) -> bool:
    kind = answer.header("content-type").partition(";")[0].strip()
    return answer.status == 200 and kind == MediaType.OCI_INDEX


def _referring(answer: Response) -> tuple[Digest, ...]:
    match answer.json():
        case {"manifests": list(found)}:
            return tuple(Descriptor.from_json(entry).digest for entry in found)
        case {"manifests": None}:
            return ()
        case _:
            raise CleanupError(f"{answer.url}: no list of referrers")
