"""Manifests and descriptors as values: what an image or index is made of, and its bytes.

Bytes stay what they were; their length and type are checked where they come in. A run keeps those
that it has read, by digest, and which repositories hold them.
"""

from __future__ import annotations

import reprlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from enum import StrEnum
from functools import cached_property

from podbuild.errors import VerificationError
from podbuild.oci.names import Digest, Platform
from podbuild.system.later import dataclass
from podbuild.system.records import JSONValue, document_of, object_of, string_map


class MediaType(StrEnum):
    """Media types of the OCI image spec and of Docker's schema 2 that podbuild handles."""

    OCI_INDEX = "application/vnd.oci.image.index.v1+json"
    OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
    OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
    OCI_EMPTY = "application/vnd.oci.empty.v1+json"
    DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
    DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
    DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"


INDEX_TYPES = (MediaType.OCI_INDEX, MediaType.DOCKER_LIST)
MANIFEST_TYPES = (*INDEX_TYPES, MediaType.OCI_MANIFEST, MediaType.DOCKER_MANIFEST)
CONFIG_TYPES = (MediaType.OCI_CONFIG, MediaType.DOCKER_CONFIG)


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """What an index or manifest says of one of its parts (OCI image spec, "Descriptor")."""

    media_type: str
    digest: Digest
    size: int  # bytes
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    artifact_type: str = ""  # of an artifact's manifest, where an index lists it

    @property
    def is_runnable(self) -> bool:
        """Tell whether it may be an image for a platform.

        Attestations stand in an index as unknown/unknown; they are no platform of the image.
        """
        return self.platform is None or self.platform.os != "unknown"

    @classmethod
    def from_json(cls, value: JSONValue) -> Descriptor:
        """Read a descriptor object; raises VerificationError when it is none."""
        found = value if isinstance(value, dict) else {}
        artifact = found.get("artifactType")
        match (found.get("mediaType"), found.get("digest"), found.get("size")):
            case (str(kind), str(digest), int(size)) if _is_size(size):
                return cls(
                    artifact_type=artifact if isinstance(artifact, str) else "",
                    media_type=kind,
                    digest=Digest(digest),
                    size=size,
                    platform=Platform.from_json(found.get("platform")),
                    annotations=string_map(found.get("annotations")),
                )
            case _:
                raise VerificationError(f"not a descriptor: {reprlib.repr(value)[:200]}")

    def to_json(self) -> dict[str, JSONValue]:
        """Give the descriptor object."""
        found: dict[str, JSONValue] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.platform:
            found["platform"] = self.platform.to_json()
        if self.artifact_type:
            found["artifactType"] = self.artifact_type
        if self.annotations:
            found["annotations"] = dict(self.annotations)
        return found


@dataclass(frozen=True)
class Manifest:
    """The exact bytes of a manifest or index, and what they say.

    The digest is computed from the bytes, so it can't be wrong.
    """

    media_type: str
    data: bytes = field(repr=False)

    @cached_property
    def digest(self) -> Digest:
        """Give the digest of the bytes."""
        return Digest.of(self.data)

    @cached_property
    def content(self) -> dict[str, JSONValue]:
        """Give the parsed JSON object; raises VerificationError when it is none."""
        value = object_of(self.data)
        if value is None:
            raise VerificationError(f"{self.digest} is not a manifest: not a JSON object")
        return value

    @property
    def is_index(self) -> bool:
        """Tell whether this lists other manifests."""
        return self.media_type in INDEX_TYPES

    def check_kind(self) -> None:
        """Raise VerificationError where the bytes say that they are of the other kind, or of both.

        Who reads them as the other kind would follow other links, and a cleanup would take what
        these name for unreachable. Source: containerd, images/image.go, validateMediaType
        (CVE-2021-41190); Go's readers take a key in any case.
        """
        keys = {key.lower() for key in self.content}
        kind = self.content.get("mediaType")
        other = keys & ({"config", "layers"} if self.is_index else {"manifests"})
        if other or (kind in MANIFEST_TYPES and (kind in INDEX_TYPES) != self.is_index):
            what = "an index" if self.is_index else "an image"
            said = f"mediaType {kind}" if not other else f"{min(other)!r}"
            raise VerificationError(f"{self.digest} comes as {what}, and holds {said}")

    @cached_property
    def children(self) -> tuple[Descriptor, ...]:
        """Give the manifests that an index lists; empty for an image."""
        return self._descriptors("manifests") if self.is_index else ()

    @cached_property
    def config(self) -> Descriptor | None:
        """Give an image's config; None for an index."""
        value = self.content.get("config")
        return None if self.is_index or value is None else Descriptor.from_json(value)

    @cached_property
    def layers(self) -> tuple[Descriptor, ...]:
        """Give an image's layers; empty for an index."""
        return () if self.is_index else self._descriptors("layers")

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Give config and layers, each digest once; empty for an index."""
        every = ((self.config,) if self.config else ()) + self.layers
        return tuple({blob.digest: blob for blob in every}.values())

    @cached_property
    def subject(self) -> Descriptor | None:
        """Give the manifest that this one refers to, if any."""
        value = self.content.get("subject")
        return None if value is None else Descriptor.from_json(value)

    @cached_property
    def annotations(self) -> Mapping[str, str]:
        """Give the manifest's own annotations."""
        return string_map(self.content.get("annotations"))

    @property
    def descriptor(self) -> Descriptor:
        """Give the descriptor by which others name this manifest."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=len(self.data))

    @property
    def listing(self) -> Descriptor:
        """Give the entry by which a list of referrers names this artifact (distribution spec)."""
        kind = self.content.get("artifactType")
        if not kind and self.config:
            kind = self.config.media_type
        return replace(
            self.descriptor,
            artifact_type=kind if isinstance(kind, str) else "",
            annotations=self.annotations,
        )

    def _descriptors(self, key: str) -> tuple[Descriptor, ...]:
        value = self.content.get(key)
        if value is None:  # as Go writes an empty list
            return ()
        if not isinstance(value, list):  # read as empty, its parts would count as unreachable
            raise VerificationError(f"{self.digest} is not a manifest: {key!r} is no list")
        return tuple(map(Descriptor.from_json, value))


def _is_size(value: int) -> bool:
    """JSON's true is an int to Python."""
    return value >= 0 and not isinstance(value, bool)


MANIFEST_CAP = 16 << 20  # bytes that are read; distribution spec: 4 MiB at least
STAGED_CAP = 4 << 20  # bytes that staging takes from engines, so that every registry does


def manifest_type(data: bytes) -> MediaType | None:
    """Give the type of a manifest by what it says of itself; None where the bytes are none."""
    match document_of(data):
        case {"schemaVersion": 2, "mediaType": str(kind)} if kind in MANIFEST_TYPES:
            return MediaType(kind)
        case {"schemaVersion": 2, "manifests": list()}:
            return MediaType.OCI_INDEX
        case {"schemaVersion": 2, "config": dict(), "layers": list()}:
            return MediaType.OCI_MANIFEST
        case _:
            return None


_MOST = 64 << 20  # bytes of all manifests that are kept
FRESH = 3.0  # seconds for which what a registry said of a manifest is not asked again


class KnownManifests:
    """Keeps manifests, whichever registry gave them: a digest stands for the same bytes anywhere.

    The oldest ones go where all are larger than `most` bytes. Safe to share between threads.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._found: dict[Digest, Manifest] = {}
        self._size = 0

    def add(self, manifest: Manifest) -> None:
        """Keep a manifest."""
        with self._lock:
            before = self._found.pop(manifest.digest, None)
            self._found[manifest.digest] = manifest
            self._size += len(manifest.data) - (len(before.data) if before else 0)
            while self._size > self._most:
                self._size -= len(self._found.pop(next(iter(self._found))).data)

    def get(self, digest: Digest, media_type: str = "") -> Manifest | None:
        """Give a manifest, of this type where one is named; None where its bytes are not known."""
        with self._lock:
            found = self._found.get(digest)
        return found if found and media_type in ("", found.media_type) else None


_MOST_CONFIGS = 16 << 20  # bytes of all configs that are kept


class Presence:
    """Remembers which repositories of one registry hold which manifests and configs, as they said.

    Safe to share between threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._said: dict[str, dict[Digest, float]] = {}  # by repository: when it was said
        self._unread: set[tuple[str, Digest]] = set()
        self._configs: dict[tuple[str, Digest], bytes] = {}
        self._configs_size = 0

    def add(self, path: str, digest: Digest) -> None:
        """Note that a repository has just said that it holds a manifest."""
        with self._lock:
            self._said.setdefault(path, {})[digest] = self._clock()
            self._unread.discard((path, digest))

    def put(self, path: str, digest: Digest) -> None:
        """Note that a manifest was put into a repository, which has not said yet that it is there.

        The first look at it reads its bytes, so that nobody has to read them after that.
        """
        with self._lock:
            self._unread.add((path, digest))

    def is_unread(self, path: str, digest: Digest) -> bool:
        """Tell whether a manifest was put there and not looked at since."""
        with self._lock:
            return (path, digest) in self._unread

    def add_config(self, path: str, digest: Digest, data: bytes) -> None:
        """Keep a config that a repository has given."""
        with self._lock:
            self._configs_size += len(data)
            if self._configs_size > _MOST_CONFIGS:
                self._configs.clear()
                self._configs_size = len(data)
            self._configs[path, digest] = data

    def config(self, path: str, digest: Digest) -> bytes | None:
        """Give a config that a repository has given in this run; None where it gave none."""
        with self._lock:
            return self._configs.get((path, digest))

    def forget(self, path: str, digest: Digest) -> None:
        """Note that it does not."""
        with self._lock:
            self._said.get(path, {}).pop(digest, None)

    def is_fresh(self, path: str, digest: Digest) -> bool:
        """Tell whether it has said so a moment ago."""
        with self._lock:
            said = self._said.get(path, {}).get(digest)
        return said is not None and self._clock() - said < FRESH

    def has_read(self, path: str) -> bool:
        """Tell whether anything was read in a repository."""
        with self._lock:
            return bool(self._said.get(path))


class Holders:
    """Remembers what one registry holds where, so that other repositories can mount it.

    Safe to share between threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._paths: dict[Digest, set[str]] = {}
        self._missed: dict[tuple[Digest, str], int] = {}  # how often, since it was sent there

    def add(self, digest: Digest, path: str) -> None:
        """Note that a repository says to hold a blob."""
        with self._lock:
            self._paths.setdefault(digest, set()).add(path)

    def sent(self, digest: Digest, path: str) -> None:
        """Note that a repository has taken a blob."""
        self.add(digest, path)
        with self._lock:
            self._missed.pop((digest, path), None)

    def forget(self, digest: Digest, path: str) -> None:
        """Note that it does not, whatever was said before."""
        with self._lock:
            self._paths.get(digest, set()).discard(path)

    def miss(self, digest: Digest, path: str) -> None:
        """Note that a repository refuses a manifest for want of a blob, which this may be."""
        with self._lock:
            self._paths.pop(digest, None)
            self._missed[digest, path] = self._missed.get((digest, path), 0) + 1

    def is_doubted(self, digest: Digest, path: str) -> bool:
        """Tell whether a blob has to be sent, whatever a repository says: it was missed again."""
        with self._lock:
            return self._missed.get((digest, path), 0) > 1

    def other(self, digest: Digest, path: str) -> str:
        """Give another repository that holds a blob; empty where none is known."""
        with self._lock:
            return min(self._paths.get(digest, set()) - {path}, default="")
