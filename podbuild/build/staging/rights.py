"""Who may do what in the staging registry: a login for each delivery, gone when it is over."""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
from dataclasses import dataclass, field

from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest, Tag


@dataclass(frozen=True, kw_only=True)
class Login:
    """How to reach a staging registry: its host with port, user and password."""

    host: str
    user: str
    password: str = field(repr=False)

    @property
    def basic(self) -> str:
        """Give user and password the way auth files and headers hold them."""
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


@dataclass(kw_only=True, eq=False)
class Grant:
    """What one login is good for: one tag of a repository, written once, and a layer cache.

    `delivered` is what came under that tag. Without a repository it is good for everything, and
    never given to an engine.
    """

    login: Login
    repository: str = ""
    tag: Tag | None = None
    cache: str = ""
    reads: bool = False  # blobs of its repository, as lists need
    delivered: Manifest | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def covers(self, name: str) -> bool:
        """Tell whether a repository is this login's business."""
        return not self.repository or name in (self.repository, self.cache)

    def may_fetch(self, name: str) -> bool:
        """Tell whether it may read blobs there, and not only ask whether they are known."""
        return self.reads or not self.repository or (bool(self.cache) and name == self.cache)

    def take(self, name: str, target: Tag | Digest, manifest: Manifest) -> bool:
        """Tell whether a manifest may be put there, and note it; a tag is written only once."""
        if not self.covers(name):
            return False
        if not self.repository or name != self.repository or isinstance(target, Digest):
            return True
        with self._lock:
            if target != self.tag or self.delivered not in (None, manifest):
                return False
            self.delivered = manifest
            return True


class Grants:
    """The logins that are good now. Safe to share between threads."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._known: dict[bytes, Grant] = {}

    def add(
        self, repository: str = "", tag: Tag | None = None, *, cache: str = "", reads: bool = False
    ) -> Grant:
        """Make a login that holds until it is revoked."""
        login = Login(host=self._host, user="podbuild", password=secrets.token_urlsafe(24))
        grant = Grant(login=login, repository=repository, tag=tag, cache=cache, reads=reads)
        self._known[_key(f"Basic {login.basic}")] = grant
        return grant

    def revoke(self, grant: Grant) -> None:
        """End a login."""
        self._known.pop(_key(f"Basic {grant.login.basic}"), None)

    def of(self, header: str) -> Grant | None:
        """Give what an Authorization header is good for."""
        return self._known.get(_key(header))


def _key(header: str) -> bytes:
    """Hash what is looked up, so that how long it takes tells nothing."""
    return hashlib.sha256(header.encode("utf-8", "surrogateescape")).digest()
