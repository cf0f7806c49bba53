"""What a release's images are made with; an engine is opened when one is needed, not before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Protocol, Self

from podbuild.build import leftovers, remote
from podbuild.build import session as building
from podbuild.build.containers import has_leftovers
from podbuild.build.handover import restock
from podbuild.build.inputs import contents as reading
from podbuild.build.staging.area import Pool, Staging, repository_name
from podbuild.build.toolchain import find
from podbuild.errors import PublishError, ToolError
from podbuild.oci.manifest import Manifest
from podbuild.oci.store import FallbackStore, Store
from podbuild.plan.destination import Planned
from podbuild.plan.journal import Journal
from podbuild.plan.model import Plan, PlannedImage, by_image
from podbuild.system.folders import Folders
from podbuild.system.process import Runner
from podbuild.workspace import Services

if TYPE_CHECKING:
    from podbuild.build.remote.places import BuildPlaces
    from podbuild.build.toolchain.model import Toolchain


class ChosenToolchain:
    """The toolchain that the environment asks for, looked for when it is first needed."""

    def __init__(self, runner: Runner, folders: Folders, environment: Mapping[str, str]) -> None:
        self._find = partial(find.find_chosen, runner, folders, environment)
        self._found: Toolchain | None = None

    def __call__(self) -> Toolchain:
        """Give it; raises as find_chosen does."""
        if self._found is None:
            self._found = self._find()
        return self._found

    def engine(self) -> str:
        """Give the engine's name and version, or nothing where none was needed so far."""
        return str(self._found.engine) if self._found else ""


class Engines:
    """Builds and makes lists; use as a context manager, which removes what dead runs left."""

    def __init__(
        self,
        *,
        services: Services,
        plan: Plan,
        journal: Journal,
        toolchain: Callable[[], Toolchain],
    ) -> None:
        self.toolchain = toolchain
        self.services = services
        self.plan = plan
        self.journal = journal
        self.staging = open_staging(services)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        services = self.services
        if has_leftovers(services.folders):
            with suppress(ToolError):  # where nothing is built, no engine is needed
                leftovers.remove_leftovers(
                    services.runner, services.folders, self.toolchain(), services.environment
                )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def contents(self) -> reading.Contents:
        """Give the reader of contexts; files that have not changed are not read again."""
        return reading.Contents(self.services.folders.cache / "contents.json")

    @cached_property
    def places(self) -> BuildPlaces | None:
        """Give where jobs are built; None where this machine builds them all. Raises as `open`."""
        config = self.services.config.builders
        request = self.plan.request
        if config.local and not (request.remote and (config.each or request.builders)):
            return None
        opened = remote.places.BuildPlaces(self.services, self.plan, self.toolchain)
        self._stack.callback(opened.close)
        if not opened.foresee():
            self._open(opened)
        return opened

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
    def session(self) -> building.BuildSession:
        """Give what builds and makes lists; it ends with these engines."""
        opened = building.BuildSession(
            services=self.services,
            plan=self.plan,
            staging=self.staging,
            contents=self.contents,
            toolchain=self.toolchain,
            places=lambda: self.places,
        )
        self._stack.callback(opened.close)
        return opened


class Offer(Protocol):
    """Hears of an image's child as soon as it is staged, and whether it was published before."""

    def __call__(self, image: str, manifest: Manifest, *, earlier: bool) -> None:
        """Take it."""


def open_staging(services: Services) -> Staging:
    """Give the staging area, whose blobs last in podbuild's cache folder."""
    return Staging(Pool(services.folders.cache / "blobs"))


def open_engines(
    services: Services, plan: Plan, journal: Journal, toolchain: ChosenToolchain
) -> Engines:
    """Give what makes the images of a plan, with what is handed over from before in its staging."""
    engines = Engines(services=services, plan=plan, journal=journal, toolchain=toolchain)
    restock(services.config.output, journal, engines.staging)
    return engines


def source_of(planned: Planned, staging: Staging) -> Callable[[str], Store]:
    """Give where an image's bytes are: staging, else the registries that hold them."""
    every = by_image((*planned.destinations, *planned.beside))

    def source(image: str) -> Store:
        holders = (each.store for each in every.get(image, ()))
        return FallbackStore(staging.repository(repository_name(image)), tuple(holders))

    return source


def adopted_images(
    images: Iterable[PlannedImage], source: Callable[[str], Store]
) -> Mapping[str, Manifest]:
    """Give the images whose version tag holds this release's result already.

    Raises PublishError when one is gone since the plan was made.
    """
    found = {}
    for image in images:
        if image.published and image.adopted is not None:
            manifest = source(image.name).manifest(image.adopted)
            if manifest is None:
                raise PublishError(
                    f"{image.name}: {image.adopted} was this version's image and is gone meanwhile",
                    hint="run the same command again: it plans anew",
                )
            found[image.name] = manifest
    return found
