"""An OCI image layout folder as a repository (image spec, "Image Layout").

Other tools read it as `oci:FOLDER:TAG`. Every manifest has an entry in index.json, with the
time at which it was pushed; a tag is an entry's ref.name.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from podbuild.errors import CredentialError, PublishError, VerificationError
from podbuild.model import Descriptor, Digest, JSONValue, Manifest, MediaType, Tag
from podbuild.store import BlobSource, PushRight
from podbuild.store.blobs import CheckedFileBlob, checked

REF_NAME = "org.opencontainers.image.ref.name"
PUSHED = "io.github.podbuild.pushed"  # RFC 3339, UTC
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
        return f"{self.name}{'@' if isinstance(target, Digest) else ':'}{target}"

    def head(self, target: Tag | Digest) -> Descriptor | None:
        """Give what a tag or digest names now."""
        for entry in self.entries():
            if target in (entry.digest, tag_of(entry)):
                return Descriptor(media_type=entry.media_type, digest=entry.digest, size=entry.size)
        return None

    def manifest(self, target: Tag | Digest) -> Manifest | None:
        """Give a manifest's exact bytes."""
        found = self.head(target)
        if found is None:
            return None
        file = self.blob_file(found.digest)
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from error
        if not found.digest.matches(data):
            raise VerificationError(f"{file} does not hold what its name says")
        return Manifest(found.media_type, data)

    def put_manifest(self, manifest: Manifest, tag: Tag | None = None) -> None:
        """Store a manifest, and point a tag at it; what it names must be here already."""
        self._need_parts(manifest)
        with self._guarding():
            _write(self.blob_file(manifest.digest), [manifest.data])
            with self.editing() as entries:
                entries[:] = placed(entries, manifest.descriptor, tag, self.clock())

    def has_blob(self, blob: Descriptor) -> bool:
        """Tell whether the blob is here, in its full size."""
        try:
            return self.blob_file(blob.digest).stat().st_size == blob.size
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
            if source.path is not None and _linked(source.path, target, blob):
                on_bytes(blob.size)
                return
            _write(target, _heard(checked(blob, source.chunks(), self.name), on_bytes))

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
            content: JSONValue = json.loads((self.path / "index.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise self._unusable(error) from error
        except ValueError:
            content = None
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
        with (self.path / _LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self.entries()
            entries = list(before)
            yield entries
            if tuple(entries) != before or not (self.path / "index.json").exists():
                _write(self.path / "index.json", [_index(entries)])

    def _prepare(self) -> None:
        (self.path / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        marker = self.path / "oci-layout"
        if not marker.exists():
            _write(marker, [_VERSION])

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
            f"{self.path}: {(error.strerror or str(error)).lower()}",
            hint="check the folder's permissions and the space on its disk",
        )


def tag_of(entry: Descriptor) -> Tag | None:
    """Give the tag of an entry of index.json; None where it has none."""
    text = entry.annotations.get(REF_NAME)
    return Tag(text) if text else None


def pushed_at(entry: Descriptor) -> datetime | None:
    """Give when an entry was pushed; None where nobody wrote it down."""
    try:
        found = datetime.fromisoformat(entry.annotations.get(PUSHED, ""))
    except ValueError:
        return None
    return found if found.tzinfo else None


def placed(
    entries: list[Descriptor], manifest: Descriptor, tag: Tag | None, now: datetime
) -> list[Descriptor]:
    """Give the entries with a manifest put under a tag, or under none.

    A manifest that loses its last tag stays, without one, with the time of its own push. One
    that is pushed again without a tag is as young as that push: somebody is about to use it.
    """
    stamp = {PUSHED: now.isoformat(timespec="seconds")}
    if tag is None:
        if any(entry.digest == manifest.digest and tag_of(entry) for entry in entries):
            return entries
        others = [entry for entry in entries if entry.digest != manifest.digest]
        return [*others, replace(manifest, annotations=stamp)]
    if any(entry.digest == manifest.digest and tag_of(entry) == tag for entry in entries):
        return entries
    rest = released(entries, tag)
    others = [e for e in rest if not (e.digest == manifest.digest and tag_of(e) is None)]
    return [*others, replace(manifest, annotations={REF_NAME: str(tag), **stamp})]


def released(entries: list[Descriptor], tag: Tag) -> list[Descriptor]:
    """Give the entries without a tag; its manifest stays, without a tag if it has no other."""
    kept = [entry for entry in entries if tag_of(entry) != tag]
    for entry in entries:
        if tag_of(entry) == tag and all(other.digest != entry.digest for other in kept):
            kept.append(replace(entry, annotations=_without_tag(entry.annotations)))
    return kept


def _without_tag(annotations: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in annotations.items() if key != REF_NAME}


def _index(entries: list[Descriptor]) -> bytes:
    content = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_INDEX,
        "manifests": [entry.to_json() for entry in entries],
    }
    return json.dumps(content, indent=1).encode()


def _linked(source: Path, target: Path, blob: Descriptor) -> bool:
    """Link a checked file under the blob's name; False where file systems do not allow it."""
    if source.is_symlink() or not source.is_file():
        return False
    for _ in CheckedFileBlob(source, blob).chunks():
        pass  # reading to the end is the check
    part = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    try:
        os.link(source, part)
    except OSError:
        return False
    try:
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)  # a rename onto the same file leaves both names
    return True


def _write(target: Path, pieces: Iterator[bytes] | list[bytes]) -> None:
    """Write a file as a whole or not at all."""
    with _part(target) as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
        os.chmod(file.fileno(), 0o644)  # noqa: PTH101  # the open file, not a name
        Path(file.name).replace(target)


@contextmanager
def _part(target: Path) -> Iterator[IO[bytes]]:
    with NamedTemporaryFile(
        dir=target.parent, prefix=f".{target.name}.", suffix=".part", delete=False
    ) as file:
        try:
            yield file
        finally:
            with suppress(FileNotFoundError):
                Path(file.name).unlink()


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
