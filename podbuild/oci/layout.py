"""An OCI image layout folder as a repository (image spec, "Image Layout").

Other tools read it as `oci:FOLDER:TAG`. Every manifest has an entry in index.json, with the
time at which it was pushed; a tag is an entry's ref.name.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import field, replace
from datetime import UTC, datetime
from pathlib import Path

from podbuild.errors import CredentialError, PublishError, VerificationError, reason_of
from podbuild.oci.manifest import (
    MANIFEST_CAP,
    MANIFEST_TYPES,
    Descriptor,
    Manifest,
    MediaType,
    manifest_type,
)
from podbuild.oci.names import Digest, Tag, reference
from podbuild.oci.store import BlobSource, CheckedFileBlob, PushRight, checked, linked
from podbuild.system.files import link_whole, open_in_place, read_plain, write_whole
from podbuild.system.later import dataclass
from podbuild.system.locks import lock
from podbuild.system.records import document_of

REF_NAME = "org.opencontainers.image.ref.name"
PUSHED = "io.github.podbuild.pushed"  # RFC 3339, UTC, as the next
TOUCHED = "io.github.podbuild.touched"  # only where it differs


def tag_of(entry: Descriptor) -> Tag | None:
    """Give the tag of an entry of index.json; None where it has none."""
    text = entry.annotations.get(REF_NAME)
    return Tag(text) if text else None


def pushed_at(entry: Descriptor) -> datetime | None:
    """Give when an entry's manifest was pushed first; None where nobody wrote it down."""
    return _time(entry, PUSHED)


def touched_at(entry: Descriptor) -> datetime | None:
    """Give when an entry was written, or its manifest pushed again."""
    return _time(entry, TOUCHED) or pushed_at(entry)


def _time(entry: Descriptor, key: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(entry.annotations.get(key, ""))
    except ValueError:
        return None
    return found if found.tzinfo else None


def placed(
    entries: list[Descriptor], manifest: Descriptor, tag: Tag | None, now: datetime
) -> list[Descriptor]:
    """Give the entries with a manifest put under a tag, or under none.

    A manifest that loses its last tag stays, without one, with the time of its own push. One
    that is pushed again keeps its place in the order, and is touched: somebody is about to use it.
    """
    known = (pushed_at(entry) for entry in entries if entry.digest == manifest.digest)
    stamp = _stamp(min(filter(None, known), default=now), now)
    if tag is None:
        if any(entry.digest == manifest.digest and tag_of(entry) for entry in entries):
            return entries
        others = [entry for entry in entries if entry.digest != manifest.digest]
        return [*others, replace(manifest, annotations={**manifest.annotations, **stamp})]
    if any(entry.digest == manifest.digest and tag_of(entry) == tag for entry in entries):
        return entries
    rest = released(entries, tag)
    others = [e for e in rest if not (e.digest == manifest.digest and tag_of(e) is None)]
    return [*others, _named(manifest, tag, stamp)]


def placed_all(
    entries: list[Descriptor], named: Mapping[Tag, Descriptor], now: datetime
) -> list[Descriptor]:
    """Give the entries with manifests put under their tags, each as by `placed`."""
    found = list(entries)
    there = {(tag_of(entry), entry.digest) for entry in found}
    tags, digests = {tag for tag, _ in there}, {digest for _, digest in there}
    for tag, manifest in named.items():
        if (tag, manifest.digest) in there:
            continue
        if tag in tags or manifest.digest in digests:
            found = placed(found, manifest, tag, now)
        else:  # nothing to look for among all, which adds up
            found.append(_named(manifest, tag, _stamp(now, now)))
        tags.add(tag)
        digests.add(manifest.digest)
    return found


def _named(manifest: Descriptor, tag: Tag, stamp: Mapping[str, str]) -> Descriptor:
    named = {**manifest.annotations, REF_NAME: str(tag), **stamp}
    return replace(manifest, annotations=named)


def _stamp(pushed: datetime, now: datetime) -> dict[str, str]:
    first, last = (time.isoformat(timespec="seconds") for time in (pushed, now))
    return {PUSHED: first} if first == last else {PUSHED: first, TOUCHED: last}


def released(entries: list[Descriptor], tag: Tag) -> list[Descriptor]:
    """Give the entries without a tag; its manifest stays, without a tag if it has no other."""
    kept = [entry for entry in entries if tag_of(entry) != tag]
    for entry in entries:
        if tag_of(entry) == tag and all(other.digest != entry.digest for other in kept):
            kept.append(replace(entry, annotations=_without_tag(entry.annotations)))
    return kept


def _without_tag(annotations: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in annotations.items() if key != REF_NAME}


def index_bytes(entries: list[Descriptor]) -> bytes:
    """Give index.json."""
    content = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_INDEX,
        "manifests": [entry.to_json() for entry in entries],
    }
    return json.dumps(content, indent=1).encode()


def named_index_bytes(manifest: Descriptor, name: str) -> bytes:
    """Give an index.json with one entry whose name is a whole reference, as engines read it."""
    return index_bytes([replace(manifest, annotations={REF_NAME: name})])


_VERSION = b'{"imageLayoutVersion":"1.0.0"}'
_LOCK = ".podbuild.lock"


@dataclass(frozen=True)
class LayoutStore:
    """A Store over one folder. Safe between threads and processes of podbuild.

    `shown` is how people write the folder, where that is shorter than its path.
    """

    path: Path
    shown: str = field(default="", kw_only=True)
    clock: Callable[[], datetime] = field(
        default=lambda: datetime.now(UTC), compare=False, kw_only=True
    )

    @property
    def name(self) -> str:
        """Give the reference as skopeo, buildah and podman take it."""
        return f"oci:{self.shown or self.path}"

    def reference(self, target: Tag | Digest) -> str:
        """Give what a user pulls."""
        return reference(self.name, target)

    def head(self, target: Tag | Digest) -> Descriptor | None:
        """Give what a tag or digest names now."""
        for entry in self.entries():
            if target in (entry.digest, tag_of(entry)):
                return Descriptor(media_type=entry.media_type, digest=entry.digest, size=entry.size)
        return self._unlisted(target) if isinstance(target, Digest) else None

    def manifest(self, target: Tag | Digest) -> Manifest | None:
        """Give a manifest's exact bytes."""
        found = self.head(target)
        return None if found is None else self.listed(found)

    def listed(self, found: Descriptor) -> Manifest | None:
        """Give the bytes of a manifest that an entry or an index names; raises as `manifest`."""
        file = self.blob_file(found.digest)
        try:
            data = read_plain(file, MANIFEST_CAP)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from error
        if not found.digest.matches(data):
            raise VerificationError(f"{file} does not hold what its name says")
        manifest = Manifest(found.media_type, data)
        if found.media_type in MANIFEST_TYPES:
            manifest.check_kind()
        return manifest

    def put_manifest(self, manifest: Manifest, tag: Tag | None = None) -> None:
        """Store a manifest, and point a tag at it; what it names must be here already."""
        self._need_parts(manifest)
        with self._guarding():
            write_whole(self.blob_file(manifest.digest), [manifest.data])
            with self.editing() as entries:
                named = manifest.listing if manifest.subject else manifest.descriptor
                entries[:] = placed(entries, named, tag, self.clock())

    def has_blob(self, blob: Descriptor) -> bool:
        """Tell whether the blob is here, in its full size."""
        try:
            found = self.blob_file(blob.digest).stat()
            return stat.S_ISREG(found.st_mode) and found.st_size == blob.size
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise self._unusable(error) from error

    def put_blob(
        self,
        blob: Descriptor,
        source: BlobSource,
        on_bytes: Callable[[int], None] = lambda _count: None,
    ) -> None:
        """Store a blob: a link to the source's file where it can be one, else a copy."""
        target = self.blob_file(blob.digest)
        with self._guarding():
            self._prepare()
            if linked(source, target, blob):
                on_bytes(blob.size)
                return
            write_whole(target, _heard(checked(blob, source.chunks(), self.name), on_bytes))

    def put_whole(self, blob: Descriptor, file: Path) -> None:
        """Store a blob whose file is known to be whole, unread: a link to it, else a copy.

        The same file, or one as long on another file system, stays. Raises OSError.
        """
        target = self.blob_file(blob.digest)
        if _stands_for(file, target):
            return
        try:
            link_whole(file, target)
        except OSError:  # another file system, or one without links
            write_whole(target, CheckedFileBlob(file, blob).chunks())

    def sweep(self, needed: AbstractSet[Digest], is_left: Callable[[Digest, Path], bool]) -> None:
        """Delete the files of blobs that are left and not needed; only while `editing`."""
        for folder in ("sha256", "sha512"):
            for file in sorted((self.path / "blobs" / folder).glob("[0-9a-f]*")):
                with suppress(VerificationError, FileNotFoundError):
                    digest = Digest(f"{folder}:{file.name}")
                    if file.is_file() and digest not in needed and is_left(digest, file):
                        file.unlink()

    @contextmanager
    def blob(self, blob: Descriptor) -> Iterator[BlobSource]:
        """Give a blob's file."""
        file = self.blob_file(blob.digest)
        if not file.is_file():
            raise VerificationError(f"{self.reference(blob.digest)}: no such blob")
        yield CheckedFileBlob(file, blob)

    def tags(self) -> tuple[Tag, ...]:
        """Give every tag, sorted."""
        return tuple(sorted({tag for entry in self.entries() if (tag := tag_of(entry))}))

    def check_push(self) -> PushRight:
        """Look whether the folder, or the one that it will be made in, can be written."""
        place = self.path
        while not place.exists() and place != place.parent:
            place = place.parent
        if not place.is_dir():
            raise PublishError(f"{place} is not a folder, and {self.name} should be one")
        if not os.access(place, os.W_OK | os.X_OK):
            raise CredentialError(
                f"{place} can't be written by this user", hint=f"check its owner and mode: {place}"
            )
        self.entries()
        return PushRight.ALLOWED

    def entries(self) -> tuple[Descriptor, ...]:
        """Give the entries of index.json; none when the folder does not exist."""
        try:
            content = document_of(read_plain(self.path / "index.json"))
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise self._unusable(error) from error
        match content:
            case {"manifests": list(manifests)}:
                return tuple(map(Descriptor.from_json, manifests))
            case _:
                raise PublishError(
                    f"{self.path / 'index.json'} is no OCI index",
                    hint="remove the folder if nothing in it is needed",
                )

    def blob_file(self, digest: Digest) -> Path:
        """Give the file of a blob or manifest, which may not exist."""
        return self.path / "blobs" / digest.algorithm / digest.hex

    @contextmanager
    def editing(self) -> Iterator[list[Descriptor]]:
        """Give the entries to change in place, while nobody else can; then write them."""
        self._prepare()
        with os.fdopen(open_in_place(self.path / _LOCK, os.O_APPEND), "ab") as file:
            lock(file)
            before = self.entries()
            entries = list(before)
            yield entries
            if tuple(entries) != before or not (self.path / "index.json").exists():
                write_whole(self.path / "index.json", [index_bytes(entries)])

    def _prepare(self) -> None:
        (self.path / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        marker = self.path / "oci-layout"
        if not marker.exists():
            write_whole(marker, [_VERSION])

    def _unlisted(self, digest: Digest) -> Descriptor | None:
        """Give a manifest that no entry names: other tools list only what has a tag."""
        file = self.blob_file(digest)
        try:
            if file.stat().st_size > MANIFEST_CAP:
                return None
            data = read_plain(file, MANIFEST_CAP)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._unusable(error) from error
        kind = manifest_type(data)
        return Manifest(kind, data).descriptor if kind and digest.matches(data) else None

    def _need_parts(self, manifest: Manifest) -> None:
        for part in (*manifest.blobs, *manifest.children):
            if not self.has_blob(part):
                raise PublishError(
                    f"{self.path}: {manifest.digest} names {part.digest}, which is not here"
                )

    @contextmanager
    def _guarding(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> PublishError:
        return PublishError(
            f"{self.path}: {reason_of(error).lower()}",
            hint="check the folder's permissions and the space on its disk",
        )


def _stands_for(file: Path, target: Path) -> bool:
    try:
        here, there = file.stat(), target.stat()
    except FileNotFoundError:
        return False
    if here.st_dev == there.st_dev:
        return here.st_ino == there.st_ino
    return here.st_size == there.st_size


def _heard(pieces: Iterator[bytes], on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    told = 0
    try:
        for piece in pieces:
            yield piece
            told += len(piece)
            on_bytes(len(piece))
    except VerificationError:
        on_bytes(-told)
        raise
