"""What containers/storage's own files say of a storage, without starting an engine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from podbuild.model import JSONValue, string_map
from podbuild.storage_driver import StorageDriver

# containers/storage, containers.go: those of builds are volatile
_CONTAINER_FILES = ("containers.json", "volatile-containers.json")


@dataclass(frozen=True, kw_only=True)
class Storage:
    """One storage of an engine: its folders and its driver."""

    graph: Path
    run: Path
    driver: StorageDriver

    def holds(self, image: str) -> bool:
        """Tell whether an image id is here."""
        return (self._part("images") / image).is_dir()

    def is_shadowed(self, name: str) -> bool:
        """Tell whether an image has this name, but another one first.

        Engines write an image's first name into what is built on it, whatever they were given.
        """
        for image in self._listed("images"):
            match image:
                case {"names": list(names)} if name in names[1:]:
                    return True
        return False

    @property
    def containers(self) -> tuple[str, ...]:
        """Give the ids of the containers of builds that are under way here, or were killed."""
        return container_ids(self.graph)

    def _listed(self, what: str) -> list[JSONValue]:
        return _list_in(self._part(what) / f"{what}.json")

    def _part(self, what: str) -> Path:
        return self.graph / f"{self.driver.name}-{what}"


def container_ids(graph: Path) -> tuple[str, ...]:
    """Give the ids of the containers in a storage's folder, whatever its driver."""
    found = (
        container
        for name in _CONTAINER_FILES
        for file in sorted(graph.glob(f"*-containers/{name}"))
        for container in _list_in(file)
    )
    return tuple(name for each in found if (name := string_map(each).get("id")))


def _list_in(file: Path) -> list[JSONValue]:
    try:
        value: JSONValue = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return []
    return value if isinstance(value, list) else []
