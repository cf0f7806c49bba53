"""JSON, read in one place: our own, and what others wrote (registries, images, statements, tokens).

Small records lie in podbuild's cache folder. A record is worth having, never needed: one that is
missing, damaged or can't be written counts as none.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from podbuild.system.files import read_plain, write_whole
from podbuild.system.folders import project_id
from podbuild.system.later import dataclass

JSONValue = None | bool | int | float | str | list["JSONValue"] | dict[str, "JSONValue"]
TOO_DEEP = "its values stand too deep in each other"


def parse_json(data: bytes | str) -> JSONValue:
    """Give a value; raises ValueError for all that is no JSON, or too deep or long to read.

    Lone surrogates stay: records name files by them. Of two equal keys the last holds, as in Go.
    """
    try:
        value: JSONValue = json.loads(data)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    return value


def json_of(data: bytes | str) -> JSONValue:
    """Give a value; None for what is no JSON."""
    try:
        return parse_json(data)
    except ValueError:
        return None


def json_in(path: Path) -> JSONValue:
    """Give what a file records; None where there is no file, or none that can be read."""
    try:
        return parse_json(read_plain(path))
    except (OSError, ValueError):
        return None


def string_map(value: JSONValue) -> Mapping[str, str]:
    """Give an object's entries whose values are text; empty for anything else."""
    if not isinstance(value, dict):
        return {}
    return {key: text for key, text in value.items() if isinstance(text, str)}


@dataclass(frozen=True)
class Records:
    """The records of one project."""

    folder: Path

    @classmethod
    def of_project(cls, cache: Path, project: Path) -> Records:
        """Give where the records of a project, named by its folder, stand."""
        return cls(cache / "records" / project_id(project))

    def read(self, name: str) -> Mapping[str, JSONValue]:
        """Give a record."""
        value = json_in(self.folder / name)
        return value if isinstance(value, dict) else {}

    def write(self, name: str, value: Mapping[str, JSONValue]) -> None:
        """Replace a record as a whole."""
        with suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            data = json.dumps(value, separators=(",", ":")).encode()
            write_whole(self.folder / name, [data], lasting=False)


class Filed:
    """Values by drawer and key, with the text of each: all are saved whenever one changes."""

    def __init__(self, drawers: Mapping[str, Mapping[str, JSONValue]]) -> None:
        self.drawers: dict[str, dict[str, JSONValue]] = {name: {} for name in drawers}
        self._texts: dict[str, dict[str, str]] = {name: {} for name in drawers}
        for name, values in drawers.items():
            for key, value in values.items():
                self.put(name, key, value)

    def put(self, drawer: str, key: str, value: JSONValue) -> None:
        """Keep one thing."""
        self.drawers[drawer][key] = value
        self._texts[drawer][key] = f"{json.dumps(key)}: {json.dumps(value, sort_keys=True)}"

    def drop(self, drawer: str, key: str) -> bool:
        """Take one thing back; tell whether it was there."""
        self._texts[drawer].pop(key, None)
        return self.drawers[drawer].pop(key, None) is not None

    def text(self, head: Mapping[str, JSONValue]) -> str:
        """Give what json makes of `head` and the drawers together, with sorted keys.

        Only what has changed was written anew: at each step, all of it would add up.
        """
        parts = {name: json.dumps(value, sort_keys=True) for name, value in head.items()}
        for name, texts in self._texts.items():
            parts[name] = f"{{{', '.join(texts[key] for key in sorted(texts))}}}"
        return f"{{{', '.join(f'{json.dumps(name)}: {parts[name]}' for name in sorted(parts))}}}"


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
