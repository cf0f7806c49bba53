"""What containers/storage's own files say of a storage, without starting an engine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from podbuild.model import JSONValue
from podbuild.storage_driver import StorageDriver


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
    def has_containers(self) -> bool:
        """Tell whether builds are under way here, or stopped half-way."""
        return bool(self._listed("containers"))

    def _listed(self, what: str) -> list[JSONValue]:
        try:
            value: JSONValue = json.loads((self._part(what) / f"{what}.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return []
        return value if isinstance(value, list) else []

    def _part(self, what: str) -> Path:
        return self.graph / f"{self.driver.name}-{what}"
