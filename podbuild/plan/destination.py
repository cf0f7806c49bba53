"""Where a plan publishes: one image on one registry, opened."""

from __future__ import annotations

from dataclasses import dataclass, field

from podbuild.oci.store import Store
from podbuild.plan.model import Plan
from podbuild.workspace import Opener


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


def open_destinations(opener: Opener, plan: Plan) -> tuple[Destination, ...]:
    """Open the store of every target of a plan, in the plan's order."""
    return tuple(
        Destination(
            image=target.image,
            registry=target.registry.name,
            required=target.registry.required,
            store=opener.open(target.registry, target.place),
        )
        for target in plan.targets
    )
