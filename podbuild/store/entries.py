"""The entries of an OCI layout's index.json: what is tagged, what is not, and since when."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from podbuild.model import Descriptor, MediaType, Tag

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
        return [*others, replace(manifest, annotations=stamp)]
    if any(entry.digest == manifest.digest and tag_of(entry) == tag for entry in entries):
        return entries
    rest = released(entries, tag)
    others = [e for e in rest if not (e.digest == manifest.digest and tag_of(e) is None)]
    return [*others, replace(manifest, annotations={REF_NAME: str(tag), **stamp})]


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
