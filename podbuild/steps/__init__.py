"""The steps of a release, one public function each; `release.py` puts them in order."""

from __future__ import annotations

from dataclasses import dataclass, field

from podbuild.store import Store


@dataclass(frozen=True, kw_only=True)
class Destination:
    """One image on one registry, with the open store behind it."""

    image: str
    registry: str
    required: bool
    store: Store = field(compare=False, repr=False)

    @property
    def key(self) -> str:
        """Give the name that the journal and the reports use."""
        return f"{self.registry}/{self.image}"

    def __str__(self) -> str:
        return self.store.name
