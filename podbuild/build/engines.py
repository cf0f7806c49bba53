"""What a release's images are made with; an engine is opened when one is needed, not before."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Self

from podbuild.build.engine.containers import has_leftovers
from podbuild.build.staging.area import Staging
from podbuild.build.toolchain.model import Toolchain
from podbuild.errors import ToolError
from podbuild.plan.journal import Journal
from podbuild.plan.model import Plan
from podbuild.workspace import Services

if TYPE_CHECKING:
    from podbuild.build.inputs.contents import Contents
    from podbuild.build.remote.places import BuildPlaces
    from podbuild.build.session import BuildSession


class Engines:
    """Builds and makes lists; use as a context manager, which removes what dead runs left."""

    def __init__(
        self,
        *,
        services: Services,
        plan: Plan,
        journal: Journal,
        staging: Staging,
        toolchain: Callable[[], Toolchain],
    ) -> None:
        self.toolchain = toolchain
        self.services = services
        self.plan = plan
        self.journal = journal
        self.staging = staging
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        services = self.services
        if has_leftovers(services.folders):
            from podbuild.build.engine.leftovers import remove_leftovers  # noqa: PLC0415  # seldom

            with suppress(ToolError):  # where nothing is built, no engine is needed
                remove_leftovers(
                    services.runner, services.folders, self.toolchain(), services.environment
                )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def contents(self) -> Contents:
        """Give the reader of contexts; files that have not changed are not read again."""
        from podbuild.build.inputs.contents import Contents  # noqa: PLC0415  # where images are due

        return Contents(self.services.folders.cache / "contents.json")

    @cached_property
    def places(self) -> BuildPlaces | None:
        """Give where jobs are built; None where this machine builds them all. Raises as `open`."""
        config = self.services.config.builders
        request = self.plan.request
        if config.local and not (request.remote and (config.each or request.builders)):
            return None
        from podbuild.build.remote.places import BuildPlaces  # noqa: PLC0415  # where there are some

        places = BuildPlaces(self.services, self.plan, self.toolchain)
        self._stack.callback(places.close)
        if not places.foresee():
            self._open(places)
        return places

    def connected(self) -> bool:
        """Connect to builders; False where one is not what it was taken for until now."""
        if self.places is None or self.places.is_open:
            return True
        foreseen = self.places.engines
        self._open(self.places)
        return self.places.engines == foreseen

    def _open(self, places: BuildPlaces) -> None:
        with self.services.ui.step("connect to builders"):
            places.open()

    @cached_property
    def session(self) -> BuildSession:
        """Give what builds and makes lists; it ends with these engines."""
        from podbuild.build.session import BuildSession  # noqa: PLC0415  # where images are due

        session = BuildSession(
            services=self.services,
            plan=self.plan,
            staging=self.staging,
            contents=self.contents,
            toolchain=self.toolchain,
            places=lambda: self.places,
        )
        self._stack.callback(session.close)
        return session
