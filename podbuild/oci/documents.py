"""JSON that others wrote: what registries and their APIs answer, images, statements, tokens."""

from __future__ import annotations

import base64
import json
import re

from podbuild.system.records import TOO_DEEP, JSONValue, parse_json

_MOST_PARTS = 250_000  # lists and objects of one text: each takes thirty times its text's memory
_DEEPEST = 200  # values in each other; whoever walks through them calls itself that often
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")  # as an escape, or as bytes
_JWT_DOTS = 2


def parse_document(data: bytes | str, most: int = _MOST_PARTS) -> JSONValue:
    """Give a value whose texts can all be written; raises ValueError.

    Half of a surrogate pair becomes a question mark. What is deeper than any real document is none,
    nor is what has more than `most` lists and objects.
    """
    if isinstance(data, bytes) and data.count(b"[") + data.count(b"{") > most:
        raise ValueError("it has too many parts")
    value = parse_json(data)
    if _is_deep(value):
        raise ValueError(TOO_DEEP)
    if _SURROGATE.search(data if isinstance(data, bytes) else data.encode()):
        value = parse_json(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
    return value


def document_of(data: bytes | str, most: int = _MOST_PARTS) -> JSONValue:
    """Give a value as `parse_document` does; None for what is none."""
    try:
        return parse_document(data, most)
    except ValueError:
        return None


def object_of(data: bytes | str) -> dict[str, JSONValue] | None:
    """Give an object as `document_of` does; None for anything else."""
    value = document_of(data)
    return value if isinstance(value, dict) else None


def claims_of(token: str) -> dict[str, JSONValue]:
    """Give what a token (JWT) claims, unverified; nothing of one that can't be read."""
    if token.count(".") != _JWT_DOTS:
        return {}
    part = token.split(".")[1]
    try:
        return object_of(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) or {}
    except ValueError:
        return {}


def _is_deep(value: JSONValue) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for each in level
            if isinstance(each, list | dict)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return False
    return True
