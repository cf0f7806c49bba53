"""What the recipes work with: one value instead of many parameters, no globals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from podbuild.cancel import Cancel
from podbuild.config import Config
from podbuild.folders import Folders
from podbuild.plan import Plan
from podbuild.retry import Retry
from podbuild.run import Runner
from podbuild.steps import Destination
from podbuild.store.opening import Opener
from podbuild.ui import Ui


@dataclass(frozen=True, kw_only=True)
class Services:
    """The collaborators of one command on one project."""

    config: Config
    environment: Mapping[str, str] = field(repr=False)
    ui: Ui
    runner: Runner
    cancel: Cancel
    folders: Folders
    opener: Opener
    retry: Retry

    def destinations(self, plan: Plan) -> tuple[Destination, ...]:
        """Open the store of every target of a plan, in the plan's order."""
        return tuple(
            Destination(
                image=target.image,
                registry=target.registry.name,
                required=target.registry.required,
                store=self.opener.open(target.registry, target.place),
            )
            for target in plan.targets
        )
