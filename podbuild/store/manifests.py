"""Manifests as bytes: how long they may be, and of which type they are."""

from __future__ import annotations

import json

from podbuild.model import MANIFEST_TYPES, JSONValue, MediaType

MANIFEST_CAP = 16 << 20  # bytes that are read; distribution spec: 4 MiB at least
STAGED_CAP = 4 << 20  # bytes that staging takes from engines, so that every registry does


def manifest_type(data: bytes) -> MediaType | None:
    """Give the type of a manifest by what it says of itself; None where the bytes are none."""
    try:
        content: JSONValue = json.loads(data)
    except (ValueError, RecursionError):
        return None
    match content:
        case {"schemaVersion": 2, "mediaType": str(kind)} if kind in MANIFEST_TYPES:
            return MediaType(kind)
        case {"schemaVersion": 2, "manifests": list()}:
            return MediaType.OCI_INDEX
        case {"schemaVersion": 2, "config": dict(), "layers": list()}:
            return MediaType.OCI_MANIFEST
        case _:
            return None
