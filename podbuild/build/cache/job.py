"""One job's part of the layer cache."""

from __future__ import annotations

from dataclasses import dataclass

from podbuild.build.cache.remote import CachedRepository
from podbuild.oci.names import Tag


@dataclass(frozen=True, kw_only=True)
class JobCache:
    """What a job may take from the registry's cache and leave there.

    `reference` is how engines reach it, without a tag; `mounts` is where its cache mounts are
    carried, None where they are not.
    """

    reference: str
    cached: CachedRepository
    reads: bool
    writes: bool
    mounts: Tag | None = None

    @property
    def repository(self) -> str:
        """Give the repository of staging that stands for it."""
        return self.reference.partition("/")[2]
