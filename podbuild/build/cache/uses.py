"""When the entries of a layer cache were used last: an artifact beside them in the registry.

Registries tell at most when something was pushed, most of them not even that. Each image and
platform has a record of its own under a tag that stays, so that runners seldom meet; where two do,
the later one wins and the other's entries look a little older than they are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from podbuild.oci.names import Tag
from podbuild.oci.store import Store, put_artifact, put_bytes, read_blob
from podbuild.system.records import document_of

ENTRY = re.compile(r"[a-z0-9._-]+-[0-9a-f]{8}-[0-9a-f]{64}")  # platform, engine, the engine's key
_RECORD = re.compile(r"used-.+-[0-9a-f]{12}")
_KIND = "application/vnd.podbuild.cache.used.v1+json"
_FRESH = timedelta(hours=12)  # what was used since then need not be written again
_LARGEST = 16 << 20  # bytes
_SCHEMA = 1

Uses = Mapping[Tag, datetime]


def record_tag(image: str, slug: str) -> Tag:
    """Give the tag of an image's record for one platform."""
    return Tag(f"used-{slug}-{hashlib.sha256(image.encode()).hexdigest()[:12]}")


def merged(before: Uses, used: Iterable[Tag], unknown: Iterable[Tag], now: datetime) -> Uses:
    """Give the record with what was used now; what nobody has recorded yet counts from now on."""
    after = dict(before)
    for tag in used:
        if now - before.get(tag, datetime.min.replace(tzinfo=UTC)) > _FRESH:
            after[tag] = now
    for tag in unknown:
        after.setdefault(tag, now)
    return after


def read_uses(store: Store, record: Tag) -> Uses:
    """Give one record; empty where there is none. Raises as the store does."""
    manifest = store.manifest(record)
    if manifest is None or len(manifest.layers) != 1 or manifest.layers[0].size > _LARGEST:
        return {}
    return _parsed(read_blob(store, manifest.layers[0]))


def all_uses(store: Store, tags: Iterable[Tag]) -> Uses:
    """Give what all records of a repository say together: the latest use of each entry."""
    found: dict[Tag, datetime] = {}
    for record in tags:
        if _RECORD.fullmatch(record.text):
            for tag, when in read_uses(store, record).items():
                found[tag] = max(when, found.get(tag, when))
    return found


def write_uses(store: Store, record: Tag, uses: Uses) -> None:
    """Put a record; raises as the store does."""
    times = {tag.text: when.isoformat(timespec="seconds") for tag, when in sorted(uses.items())}
    data = json.dumps({"schema": _SCHEMA, "used": times}).encode()
    put_artifact(store, _KIND, put_bytes(store, _KIND, data), record)


def _parsed(data: bytes) -> Uses:
    """Read a record; one of another podbuild, or a damaged one, says nothing."""
    match document_of(data):
        case {"schema": int(schema), "used": {**times}} if schema == _SCHEMA:
            read = {str(tag): _time(str(time)) for tag, time in times.items()}
            return {Tag(tag): when for tag, when in read.items() if when and ENTRY.fullmatch(tag)}
        case _:
            return {}


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None
