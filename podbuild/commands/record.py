"""What happens in a release, as it happens: shown to the user, collected for the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

from podbuild import __version__
from podbuild.build.model import LayerSize, Metrics, SizeChange, Staged, TrialResult
from podbuild.errors import BuildError, CleanupError, PodbuildError, from_os_error
from podbuild.oci.manifest import Descriptor, Manifest
from podbuild.oci.names import Digest
from podbuild.plan.destination import Destination, Planned
from podbuild.plan.model import Job
from podbuild.publish.move import Moved, Tagged
from podbuild.publish.upload import Published, UploadProgress
from podbuild.report.collect import (
    Delivered,
    image_reports,
    part_reports,
    result_of,
    statement_reports,
    target_reports,
)
from podbuild.report.model import Failure, Phase, PlatformReport, RemovalReport, Report
from podbuild.report.plan import plan_json
from podbuild.report.text import attest_line, verify_commands
from podbuild.report.write import write_plan, write_reports
from podbuild.system.console.screen import Activity
from podbuild.workspace import Services

if TYPE_CHECKING:
    from podbuild.publish.attach import Attached  # costs time


class Recorder:
    """Times, shows and keeps what the recipe hands it; `recording` writes the report at the end.

    However it ends: `engine` is asked then for the engine that was found, if one was.
    """

    def __init__(
        self, services: Services, planned: Planned, engine: Callable[[], str] = lambda: ""
    ) -> None:
        self._planned = planned
        self.services = services
        self._engine = engine
        self._images: Mapping[str, Manifest] = {}
        self._parts: dict[Job, PlatformReport] = {}
        self._metrics: Mapping[Job, Metrics] = {}
        self._faults: Mapping[Job, str] = {}
        self._changes: Mapping[Job, SizeChange] = {}
        self._layers: Mapping[Job, tuple[LayerSize, ...]] = {}
        self._tests: tuple[TrialResult, ...] = ()
        self._removals: tuple[RemovalReport, ...] = ()
        self._incomplete: CleanupError | None = None  # the release stands, its cleanup does not
        self._delivered = Delivered()
        self._statements: Mapping[str, Mapping[Digest, tuple[str, ...]]] = {}
        self._phases: list[Phase] = []
        self._warnings: list[str] = []
        self._failure: PodbuildError | None = None
        self._began = time.monotonic()
        self._transfers: dict[Destination, Activity] = {}
        self._open = ExitStack()
        self._lock = Lock()

    @contextmanager
    def recording(self) -> Iterator[Recorder]:
        """Write plan.json first and all reports last, also when the release fails.

        Raises ConfigError or BuildError where the output folder can't be written to.
        """
        self._write_plan()
        try:
            with self._open:
                yield self
        except PodbuildError as error:
            self._failure = error
            raise
        except OSError as error:
            self._failure = from_os_error(error)
            raise self._failure from error
        finally:
            written = write_reports(
                self.report(),
                self.services.config.output,
                self.services.environment,
                self.services.ui.redactor,
            )
            self._problems(written.problems)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Show a step and remember how long it took."""
        began, when = time.monotonic(), time.time()
        try:
            with self.services.ui.step(name):
                yield
        finally:
            seconds = time.monotonic() - began
            self._phases.append(Phase(name=name, seconds=seconds, began=when))

    def warn(self, text: str) -> None:
        """Warn, now and in the report."""
        self._warnings.append(text)
        self.services.ui.warn(text)

    def decided(self, planned: Planned) -> None:
        """Go on with what the registries' answers decided; plan.json says it."""
        self._planned = planned
        for warning in planned.warnings:
            self.services.ui.warn(warning)
        self._write_plan()

    def marked(self, planned: Planned) -> Planned:
        """Go on with a plan that may carry the mark of changes by now; raises what refuses it."""
        for warning in planned.warnings[len(self._planned.warnings) :]:
            self.services.ui.warn(warning)
        self._planned = planned
        if planned.refusal:
            raise planned.refusal
        return planned

    def staged(self, staged: Staged) -> None:
        """Keep what became of each job, and say why images were not built."""
        self._parts = dict(part_reports(staged))
        self._metrics = {
            job: each.metrics for job, each in staged.images.items() if not each.reused
        }
        self._faults = {job: error.message for job, error in staged.built.failed.items()}
        for job, each in sorted(staged.images.items()):
            if each.reused:
                self.services.ui.info(f"{job}: {each.reason}")

    def assembled(
        self, images: Mapping[str, Manifest], adopted: Mapping[Job, PlatformReport] | None = None
    ) -> None:
        """Keep what is published of each image, and the platforms of those published already."""
        self._images = images
        self._parts |= adopted or {}

    def judged(self, faults: Mapping[Job, str], unread: tuple[Job, ...]) -> None:
        """Keep which images can't be published and why, and say which were not read again."""
        self._faults = {**self._faults, **faults}
        for job in unread:
            self.services.ui.detail(f"{job}: published before, its layers are not read again")

    def compared(self, changes: Mapping[Job, SizeChange]) -> None:
        """Keep how sizes have changed."""
        self._changes = changes

    def weighed(self, layers: Mapping[Job, tuple[LayerSize, ...]]) -> None:
        """Keep what each layer costs."""
        self._layers = layers

    def tried(self, results: tuple[TrialResult, ...]) -> None:
        """Keep how the tests of images went."""
        self._tests = (*self._tests, *results)

    def cleaned(self, removals: tuple[RemovalReport, ...]) -> None:
        """Keep what cleanup has removed."""
        self._removals = removals

    def left_incomplete(self, error: CleanupError) -> None:
        """Keep why cleanup is incomplete: the release stands, and its end tells."""
        self._incomplete = error

    def published(self, published: Published) -> None:
        """Remember where the images are, and say what went out."""
        self._open.close()
        for destination, error in published.failed.items():
            self.warn(f"{destination} lacks the release: {error.message}")
        self._delivered = replace(
            self._delivered, destinations=published.at, failed=published.failed
        )

    def attested(self, attached: Attached, published: Published) -> None:
        """Remember what is said of the images, and who lacks it."""
        for note in attached.notes:
            self.warn(note)
        for destination, error in attached.failed.items():
            self.warn(f"{destination} lacks statements, so it gets no tags: {error.message}")
        self._statements = attached.referrers
        self._delivered = replace(
            self._delivered, destinations=published.at, failed=published.failed
        )

    def moved(self, moved: Moved) -> None:
        """Remember what became of the tags, and say which ones a guard held back."""
        for destination, error in moved.failed.items():
            self.warn(f"{destination} lacks tags: {error.message}")
        failed = {**self._delivered.failed, **moved.failed}
        self._delivered = replace(self._delivered, tagged=moved.tags, failed=failed)

    def tags_left(self, tags: tuple[Tagged, ...]) -> None:
        """Remember what tags name after a release that failed while it moved them."""
        self._delivered = replace(self._delivered, tagged=tags)

    @property
    def progress(self) -> UploadProgress:
        """Give what shows the bytes on their way, a line for each destination."""
        return UploadProgress(began=self._transfer_began, moved=self._transfer_moved)

    def report(self) -> Report:
        """Give the report of what has happened so far."""
        plan = self._planned.plan
        version = str(plan.version) if plan.version else ""
        sent = {each.key: activity.moved for each, activity in self._transfers.items()}
        targets = target_reports(plan, replace(self._delivered, sent=sent))
        counts = self.services.opener.registries.counts.values()
        return Report(
            project=plan.project,
            result=result_of(plan, targets, self._failure),
            commit=plan.source.commit,
            date=plan.source.created,
            version=version,
            tag=self._planned.tag,
            previous_tag=self._planned.previous_tag,
            branch=plan.source.branch or "",
            dirty=plan.source.dirty,
            podbuild=__version__,
            engine=self._engine(),
            images=image_reports(plan, self._images, self._parts),
            targets=targets,
            statements=statement_reports(self._statements),
            attest=attest_line(plan.attest) if plan.attest else "",
            verify=tuple(verify_commands(self.services.config, version, targets)),
            metrics=self._metrics,
            phases=tuple(self._phases),
            changes=self._changes,
            layers=self._layers,
            budgets={each.name: each.image.budget for each in plan.images if each.published},
            tests=self._tests,
            removed=self._removals,
            warnings=(*self._planned.warnings, *self._warnings),
            failure=_failure(self._failure or self._incomplete),
            faults=self._faults,
            seconds=time.monotonic() - self._began,
            retries=sum(each.retries for each in counts),
            requests=sum(each.requests for each in counts),
        )

    def _transfer_began(self, destination: Destination, blob: Descriptor) -> None:
        with self._lock:
            if destination not in self._transfers:
                shown = self.services.ui.transfer(f"push {destination}")
                self._transfers[destination] = self._open.enter_context(shown)
            self._transfers[destination].expect(blob.size)

    def _transfer_moved(self, destination: Destination, _blob: Descriptor, count: int) -> None:
        self._transfers[destination].advance(count)

    def _write_plan(self) -> None:
        plan = plan_json(self._planned.plan)
        write_plan(plan, self.services.config.output, self.services.ui.redactor)

    def _problems(self, problems: tuple[str, ...]) -> None:
        for problem in problems:
            self.services.ui.warn(problem)


def _failure(error: PodbuildError | None) -> Failure | None:
    if error is None:
        return None
    return Failure(
        exit_code=error.exit_code,
        message=error.message,
        hint=error.hint,
        run_code=error.run_code if isinstance(error, BuildError) else None,
    )
