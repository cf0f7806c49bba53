"""A hand-over that fits into a registry: what a leg has built, without the layers it has pushed.

One artifact of a few kilobytes holds the leg's journal, as far as another machine needs it, with
the manifests and configs that it names.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from podbuild.build.model import BuildRecord
from podbuild.build.staging.area import Staging, repository_name
from podbuild.errors import ConfigError, PodbuildError, VerificationError
from podbuild.oci.manifest import Manifest
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest, Reference, Repository, Tag
from podbuild.oci.store import Store, put_artifact, put_bytes, read_blob
from podbuild.plan.journal import Journal, JournalFile, Section, journal_of
from podbuild.plan.model import Job
from podbuild.system.records import JSONValue, document_of

PREFIX = "oci:"  # of a reference, where a folder could stand too
_KIND = "application/vnd.podbuild.hand-over.v1"
_LAYER = f"{_KIND}.json+gzip"
_LARGEST = 256 << 20  # bytes, unpacked


def read_place(text: str) -> Reference | None:
    """Read `oci:REPO:TAG`, where a hand-over is kept; None for what names a folder.

    Raises ConfigError, VersionError for what is no reference.

    >>> str(read_place("oci:ghcr.io/acme/shop-hand-over:7-linux-arm64"))
    'ghcr.io/acme/shop-hand-over:7-linux-arm64'
    """
    if not text.startswith(PREFIX):
        return None
    name = text.removeprefix(PREFIX)
    hint = "write it as oci:REPO:TAG, such as oci:ghcr.io/acme/shop-hand-over:7-linux-arm64"
    if name.startswith((".", "/")):
        raise ConfigError(f"{text}: a folder is no registry", hint=f"{hint}; or a folder as it is")
    if ":" not in name.rpartition("/")[2] and "@" not in name:
        raise ConfigError(f"{text}: it has no tag", hint=hint)
    name, at, digest = name.partition("@")
    repository, colon, tag = name.rpartition(":") if not at else (name, "", "")
    try:
        return Reference.parse(f"{repository.lower()}{colon}{tag}{at}{digest}")
    except ConfigError as error:
        raise ConfigError(error.message, hint=hint) from None


def place_text(place: Reference) -> str:
    """Give a reference as it is written on the command line."""
    return f"{PREFIX}{place}"


@dataclass(frozen=True, kw_only=True)
class HandOver:
    """What one machine hands over: its journal, and where its manifests and blobs are."""

    place: str  # for people
    state: JournalFile
    store: Store


def pack(journal: Journal, staging: Staging, jobs: Iterable[Job]) -> bytes:
    """Give what has been built of these jobs, the same bytes each time; raises as staging does."""
    built: dict[str, JSONValue] = {}
    provenance: dict[str, JSONValue] = {}
    manifests: dict[Digest, JSONValue] = {}
    blobs: dict[Digest, JSONValue] = {}
    for job in jobs:
        value = journal.get(Section.BUILT, str(job))
        record = BuildRecord.from_json(value)
        manifest = staging.manifest(record.digest) if record else None
        if manifest is None:
            continue
        built[str(job)] = value
        made = journal.get(Section.PROVENANCE, str(job))
        if made is not None:
            provenance[str(job)] = made
        manifests[manifest.digest] = {
            "mediaType": manifest.media_type,
            "text": _text(manifest.data),
        }
        if manifest.config is not None:
            store = staging.repository(repository_name(job.image))
            blobs[manifest.config.digest] = _text(read_blob(store, manifest.config))
    sections = {
        Section.BUILT: built,
        Section.PROVENANCE: provenance,
        Section.TESTED: dict(journal.items(Section.TESTED)),
    }
    content = {
        "journal": journal.document(sections),
        "manifests": [*manifests.values()],
        "blobs": [*blobs.values()],
    }
    return gzip.compress(json.dumps(content, sort_keys=True).encode(), mtime=0)


def put_parcel(store: Store, tag: Tag, data: bytes) -> None:
    """Leave what was packed under a tag; raises as the store does."""
    put_artifact(store, _KIND, put_bytes(store, _LAYER, data), tag)


def fetch_parcel(place: Reference, open_store: Callable[[Repository], Store]) -> HandOver | None:
    """Give what a machine has left in a registry; None where there is nothing.

    Raises ConfigError for something else than a hand-over, and as the store does.
    """
    store = open_store(place.repository)
    manifest = store.manifest(place.target)
    if manifest is None:
        return None
    layers = [each for each in manifest.layers if each.media_type == _LAYER]
    if len(layers) != 1:
        raise _no_hand_over(place)
    try:
        return _hand_over(place, _document(read_blob(store, layers[0])))
    except (ValueError, EOFError, zlib.error):  # also texts that are no bytes
        raise _no_hand_over(place) from None


def _document(data: bytes) -> JSONValue:
    """Unpack bytes that anybody may have put there, as far as they are not endless."""
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    text = unpacking.decompress(data, _LARGEST)
    if unpacking.unconsumed_tail:
        raise ValueError
    return document_of(text)


def _hand_over(place: Reference, document: JSONValue) -> HandOver:
    match document:
        case {"journal": dict(journal), "manifests": list(manifests), "blobs": list(blobs)}:
            where = place_text(place)
            store = MemoryStore(name=where)
            for each in manifests:
                manifest = _manifest(each)
                if manifest is None:
                    raise _no_hand_over(place)
                store.manifests[manifest.digest] = manifest
            for text in blobs:
                data = _bytes(str(text))
                store.blobs[Digest.of(data)] = data
            try:
                return HandOver(place=where, state=journal_of(journal, where), store=store)
            except PodbuildError:
                raise _no_hand_over(place) from None
        case _:
            raise _no_hand_over(place)


def _manifest(value: JSONValue) -> Manifest | None:
    match value:
        case {"mediaType": str(kind), "text": str(text)}:
            manifest = Manifest(kind, _bytes(text))
            with suppress(VerificationError):
                manifest.check_kind()
                return manifest
            return None
        case _:
            return None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _no_hand_over(place: Reference) -> ConfigError:
    return ConfigError(
        f"{place_text(place)} is no hand-over that this podbuild can read",
        hint="--from takes what `podbuild build --push --hand-over` left, by the same podbuild",
    )
