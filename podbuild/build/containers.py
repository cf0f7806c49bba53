"""Containers of builds in an engine's storage, found by files alone: asked by every release."""

from __future__ import annotations

from pathlib import Path

from podbuild.system.folders import Folders
from podbuild.system.records import JSONValue, json_of, string_map

_CONTAINER_FILES = ("containers.json", "volatile-containers.json")


def container_ids(graph: Path) -> tuple[str, ...]:
    """Give the ids of the containers in a storage's folder, whatever its driver."""
    found = (
        container
        for name in _CONTAINER_FILES
        for file in sorted(graph.glob(f"*-containers/{name}"))
        for container in list_in(file)
    )
    return tuple(name for each in found if (name := string_map(each).get("id")))


def has_leftovers(folders: Folders) -> bool:
    """Tell whether any storage has containers, of whatever engine; takes no process."""
    return any(map(container_ids, (folders.cache / "engines").glob("*/*/graph")))


def list_in(file: Path) -> list[JSONValue]:
    """Give the list in one of a storage's files; nothing where there is none."""
    try:
        value = json_of(file.read_bytes())
    except FileNotFoundError:
        return []
    return value if isinstance(value, list) else []
