"""A repository on a registry that speaks the OCI distribution API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from podbuild.errors import CredentialError, PublishError, VerificationError, VersionError
from podbuild.oci import upload as uploading
from podbuild.oci.auth.files import AccessScope
from podbuild.oci.client import RegistryClient
from podbuild.oci.download import RemoteBlob
from podbuild.oci.manifest import (
    CONFIG_TYPES,
    MANIFEST_CAP,
    MANIFEST_TYPES,
    Descriptor,
    Manifest,
)
from podbuild.oci.names import DOCKER_HUB, GHCR, Digest, Repository, Tag
from podbuild.oci.store import BlobSource, BytesBlob, PushRight
from podbuild.oci.transport.endpoint import UploadPolicy
from podbuild.oci.transport.http import Call
from podbuild.oci.transport.problem import (
    BlobsMissingError,
    Recovery,
    RegistryError,
    Response,
    whole_number,
)
from podbuild.system.retry import Transient

_ACCEPT = {"Accept": ", ".join(MANIFEST_TYPES)}
_PAGE = 1000  # tags; some registries refuse more
_CUT = 50  # servers that give fewer than asked for cut at a multiple of it
_MOST_TAGS = 1_000_000
_THIN_PAGES = 100  # of a list, after which they must have held so many tags each:
_THIN = 10

# How HEAD is refused where GET is not: storage elsewhere may sign its links for GET alone.
_NO_HEAD = frozenset({400, 401, 403, 405, 501})

# What registries that are older than the specifications still take.
_OLDER_THAN_OCI = 'a registry that knows no OCI images takes those of format = "docker"'
_OLDER_THAN_SUBJECTS = (
    'a registry that takes no such manifests takes statements with placement = "index" in [attest]'
)

# spec-legal answers of registries that can't be pushed to at all (mirrors, maintenance)
_READ_ONLY = 405


@dataclass(frozen=True)
class RegistryStore:
    """A Store over one repository of a registry."""

    client: RegistryClient
    repository: Repository
    policy: UploadPolicy = field(default_factory=UploadPolicy, kw_only=True)

    @property
    def name(self) -> str:
        """Give the reference without tag."""
        return str(self.repository)

    def reference(self, target: Tag | Digest) -> str:
        """Give what a user pulls."""
        return self.repository.at(target)

    def head(self, target: Tag | Digest) -> Descriptor | None:
        """Give what a tag or digest names now; registries that leave facts out are asked fully."""
        found, held = self._head(target), self.client.held
        if found is not None:
            held.add(self.repository.path, found.digest)
        elif isinstance(target, Digest):
            held.forget(self.repository.path, target)
        return found

    def _head(self, target: Tag | Digest) -> Descriptor | None:
        if isinstance(target, Digest) and self.client.held.is_unread(self.repository.path, target):
            return self._described(target)
        answer = self.client.request(
            "HEAD",
            self._manifests(target),
            scopes=self._scopes,
            headers=_ACCEPT,
            ok=(200, 404, 405, 501),
        )
        if answer.status == 404 and self.client.answers_head:
            return None
        if answer.status != 200:  # some say 404 to every HEAD
            return self._described(target)
        self.client.answers_head = True
        kind = _media_type(answer)
        length = whole_number(answer.header("content-length"))
        digest = _told(answer)
        is_usual = digest is not None and digest.algorithm in ("sha256", _algorithm(target))
        if digest is None or not (is_usual and length and kind in MANIFEST_TYPES):
            return self._described(target)
        found = Descriptor(media_type=kind, digest=digest, size=length)
        self._expect(target, found.digest)
        return found

    def _described(self, target: Tag | Digest) -> Descriptor | None:
        manifest = self._read(target)
        return manifest.descriptor if manifest else None

    def manifest(self, target: Tag | Digest) -> Manifest | None:
        """Give a manifest's exact bytes, checked against every digest that is known of it.

        Where this run knows the bytes of what is named, the registry is only asked whether it
        has them, and not even that right after it said so: reading counts as a pull on Docker Hub.
        """
        path, held, manifests = self.repository.path, self.client.held, self.client.manifests
        if isinstance(target, Digest):
            known = manifests.get(target) or self.client.stored.get(target)
            if known is None or held.is_fresh(path, target):
                return known or self._read(target)
        elif self.repository.host != DOCKER_HUB and not held.has_read(path):
            return self._read(target)
        found = self.head(target)
        if found is None:
            return None
        known = manifests.get(found.digest, found.media_type)
        return known or self.client.stored.get(found.digest, found.media_type) or self._read(target)

    def _read(self, target: Tag | Digest) -> Manifest | None:
        answer = self.client.request(
            "GET",
            self._manifests(target),
            scopes=self._scopes,
            headers=_ACCEPT,
            ok=(200, 404),
            cap=MANIFEST_CAP,
        )
        if answer.status == 404:
            return None
        manifest = _manifest(answer)
        if manifest.media_type in MANIFEST_TYPES:
            manifest.check_kind()
        for expected in (target, _told(answer)):
            if isinstance(expected, Digest) and not expected.matches(answer.body):
                raise VerificationError(
                    f"{self.reference(target)}: the registry's answer has the digest "
                    f"{manifest.digest} instead of {expected}"
                )
        self.client.manifests.add(manifest)
        self.client.held.add(self.repository.path, manifest.digest)
        return manifest

    def put_manifest(self, manifest: Manifest, tag: Tag | None = None) -> None:
        """Store a manifest by digest, and under a tag if one is given.

        Raises BlobsMissingError where the registry has lost blobs, which happens.
        """
        path = self._manifests(tag or manifest.digest)
        try:
            answer = self.client.request(
                "PUT",
                path,
                scopes=self._scopes,
                headers={"Content-Type": manifest.media_type},
                body=manifest.data,
                ok=(200, 201, 202),
            )
        except RegistryError as error:
            if error.problem.recovery is Recovery.BLOBS:
                self._miss(manifest)
                raise BlobsMissingError(error.message, error.problem) from error
            if error.problem.status == 415 or "MANIFEST_INVALID" in error.problem.codes:
                error.hint = _OLDER_THAN_SUBJECTS if manifest.subject else _OLDER_THAN_OCI
            raise
        self.client.count_sent(len(manifest.data))
        if self.repository.host == DOCKER_HUB:  # to read it back would be a pull
            self.client.stored.add(manifest)
        elif tag is None:
            self.client.held.put(self.repository.path, manifest.digest)
        told = _told(answer)
        if told and not told.matches(manifest.data):
            raise VerificationError(
                f"{self.name}: {manifest.digest} was stored by the registry as {told}"
            )

    def has_blob(self, blob: Descriptor) -> bool:
        """Tell whether the blob is here already; one that is missed again is not."""
        if self.client.holders.is_doubted(blob.digest, self.repository.path):
            return False
        try:
            answer = self.client.request(
                "HEAD", self._blobs(blob.digest), scopes=self._scopes, ok=(200, 404)
            )
            is_there = answer.status == 200
        except RegistryError as error:  # one of the registry's own for the login is another
            if error.problem.status not in _NO_HEAD:
                raise
            is_there = RemoteBlob(self.client, self.repository, blob, self._scopes).is_there()
        if is_there:
            self.client.holders.add(blob.digest, self.repository.path)
        return is_there

    def put_blob(
        self,
        blob: Descriptor,
        source: BlobSource,
        on_bytes: Callable[[int], None] = lambda _count: None,
    ) -> None:
        """Upload a blob; one that another repository here holds is mounted without bytes."""
        upload = uploading.BlobUpload(
            self.client,
            self.repository.path,
            blob,
            source,
            policy=self.policy,
            on_bytes=on_bytes,
        )
        holders = self.client.holders
        with self.client.turns.turn(str(blob.digest), self.client.cancel):
            try:
                self.client.guarded(upload.attempt)
            except BaseException:
                upload.withdraw()
                raise
            holders.sent(blob.digest, self.repository.path)

    @contextmanager
    def blob(self, blob: Descriptor) -> Iterator[BlobSource]:
        """Give a blob's bytes; each reading is a download, but for configs, which are kept."""
        path, held = self.repository.path, self.client.held
        remote = RemoteBlob(self.client, self.repository, blob, self._scopes)
        if blob.media_type not in CONFIG_TYPES or blob.size > MANIFEST_CAP:
            yield remote
            return
        data = held.config(path, blob.digest)
        if data is None or len(data) != blob.size:
            data = b"".join(remote.chunks())
            held.add_config(path, blob.digest, data)
        yield BytesBlob(data)

    def tags(self, *, whole: bool = False) -> tuple[Tag, ...]:
        """Give every tag, sorted; empty when the repository does not exist.

        A round number of tags may have been cut without a Link: the rest is asked for.
        Pages in a circle end it, or with `whole` raise PublishError.
        """
        listing = f"/v2/{self.repository.path}/tags/list?n={_PAGE}"
        found: set[Tag] = set()
        path = listing
        while True:
            before, number = len(found), 0
            last: tuple[Tag, ...] = ()
            pages = self.client.pages(path, scopes=self._scopes, whole=whole)
            for number, page in enumerate(pages, 1):
                last = self._tags(page)
                found.update(last)
                self._expect_end(number, len(found))
            is_cut = number == 1 and last and len(last) % _CUT == 0
            if len(found) == before or not is_cut:
                return tuple(sorted(found))
            path = f"{listing}&last={last[-1]}"

    def _expect_end(self, pages: int, tags: int) -> None:
        """Raise PublishError for a list whose pages go on and on."""
        if tags > _MOST_TAGS or (pages > _THIN_PAGES and tags < pages * _THIN):
            raise PublishError(
                f"{self.name}: the list of tags does not end ({tags} tags on {pages} pages)",
                hint="something between this machine and the registry answers wrongly",
            )

    def _tags(self, page: Response) -> tuple[Tag, ...]:
        try:
            found = _tags(page)
        except (ValueError, VersionError) as error:
            raise PublishError(f"{self.name}: the list of tags can't be read: {error}") from None
        self.client.listed.add(self.repository.path)
        return found

    def check_push(self) -> PushRight:
        """Open an upload and cancel it, where the repository exists; else only log in.

        None is opened where the token says it, nor for a second repository of a namespace.
        Raises CredentialError for a proved refusal.
        """
        if not self._exists():
            return PushRight.UNKNOWN
        with self.client.turns.turn(f"push {self._neighbours}", self.client.cancel):
            if not self._is_pushable:
                self._open_upload()
                self.client.pushable.add(self._neighbours)
        return PushRight.ALLOWED

    @property
    def _is_pushable(self) -> bool:
        scope = AccessScope.repository(self.repository.path, "pull", "push")
        return self._neighbours in self.client.pushable or self.client.may_push(scope)

    def _open_upload(self) -> None:
        uploads = f"/v2/{self.repository.path}/blobs/uploads/"
        opened = self.client.request(
            "POST",
            uploads,
            scopes=self._scopes,
            ok=(201, 202, _READ_ONLY),
        )
        if opened.status == _READ_ONLY:
            raise CredentialError(
                f"{self.name} takes no pushes: the registry is a mirror or read-only",
                hint="push to the registry behind it",
            )
        self._cancel(opened)

    @property
    def _neighbours(self) -> str:
        """Give what shares its rights with this repository: its namespace.

        On GHCR each package has rights of its own.
        """
        above, _, name = self.repository.path.rpartition("/")
        return above if above and self.repository.host != GHCR else f"{above}/{name}"

    def _exists(self) -> bool:
        """Tell whether the repository exists; one whose tags were read is not asked again."""
        if self.repository.path in self.client.listed:
            return True
        listing = f"/v2/{self.repository.path}/tags/list?n=1"
        answer = self.client.request("GET", listing, scopes=self._scopes, ok=(200, 404))
        return answer.status == 200

    @property
    def _scopes(self) -> tuple[AccessScope, ...]:
        """Ask for the right to push only with a login: nobody has it without one."""
        actions = ("pull",) if self.client.anonymous else ("pull", "push")
        return (AccessScope.repository(self.repository.path, *actions),)

    def _cancel(self, opened: Response) -> None:
        """Cancel an upload. Registries that can't let it expire, which is no failure."""
        location = self.client.location(opened)
        try:
            self.client.once(
                Call(method="DELETE", url=location),
                scopes=self._scopes,
                ok=(200, 202, 204, 400, 404, 405),
            )
        except (Transient, PublishError, CredentialError):
            return

    def _manifests(self, target: Tag | Digest) -> str:
        return f"/v2/{self.repository.path}/manifests/{target}"

    def _blobs(self, digest: Digest) -> str:
        return f"/v2/{self.repository.path}/blobs/{digest}"

    def _expect(self, target: Tag | Digest, found: Digest) -> None:
        if isinstance(target, Digest) and target.algorithm == found.algorithm and target != found:
            raise VerificationError(f"{self.reference(target)}: the registry names {found} instead")

    def _miss(self, manifest: Manifest) -> None:
        for blob in manifest.blobs:
            self.client.holders.miss(blob.digest, self.repository.path)


def _tags(page: Response) -> tuple[Tag, ...]:
    """Give the tags of one page; `null` is what some registries say of none.

    Nexus puts nulls between tags, Artifactory the digests of what has no tag.
    """
    match page.json():
        case {"tags": list(tags)}:
            named = (str(text) for text in tags if text is not None and text != "")
            return tuple(Tag(text) for text in named if not Digest.is_one(text))
        case {"tags": None} | {"name": str()}:
            return ()
        case _:
            raise ValueError("not the JSON that it should be")


def _told(answer: Response) -> Digest | None:
    """Give the digest that an answer tells; None where it tells none that can be read."""
    told = answer.header("docker-content-digest").strip(' "')
    return Digest(told) if Digest.is_one(told) else None


def _algorithm(target: Tag | Digest) -> str:
    return target.algorithm if isinstance(target, Digest) else ""


def _media_type(answer: Response) -> str:
    return answer.header("content-type").partition(";")[0].strip()


def _manifest(answer: Response) -> Manifest:
    """Take the type from the header, or from the bytes where a registry hides it."""
    kind = _media_type(answer)
    manifest = Manifest(kind, answer.body)
    if kind not in MANIFEST_TYPES and isinstance(inner := manifest.content.get("mediaType"), str):
        return Manifest(inner, answer.body)
    return manifest
