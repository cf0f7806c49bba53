"""Try the images of a plan: what passed before is not tried again, the rest all at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from podbuild.build.engines import Engines
from podbuild.build.examine.children import VERDICTS
from podbuild.build.examine.place import TrialImage, TrialPlace
from podbuild.build.examine.trials import FORM, ImageTrial, trials_of
from podbuild.build.image import read_config
from podbuild.build.inputs.lint import Finding, Level
from podbuild.build.model import TrialOutcome, TrialResult
from podbuild.config.toml import shown
from podbuild.oci.manifest import Manifest
from podbuild.oci.store import Store
from podbuild.plan.journal import Section
from podbuild.plan.model import Job
from podbuild.system.files import write_atomically
from podbuild.system.records import JSONValue, json_in

TEST_RULE, HEALTH_RULE = "test", "healthcheck"


@dataclass(frozen=True, kw_only=True)
class Tries:
    """Tries staged images with the engines of a run.

    `source` has an image's bytes, `anew` tries again what passed before; `hear` gets each result
    as it comes, in no order and in any thread.
    """

    engines: Engines
    source: Callable[[str], Store]
    anew: bool = False
    hear: Callable[[TrialResult], None] = lambda _result: None

    def carry_out(self, images: Mapping[Job, Manifest]) -> tuple[TrialResult, ...]:
        """Give how all trials of some images went; none failing keeps others from being tried.

        Raises ToolError where a platform can't run here, BuildError where an image can't be had.
        """
        trials = {
            job: tuple(self._trials(job, manifest))
            for job, manifest in sorted(images.items(), key=lambda each: each[0])
        }
        known = {
            each.key: found
            for mine in trials.values()
            for each in mine
            if (found := self._known(each)) is not None
        }
        due = {
            job: [each for each in mine if each.key not in known] for job, mine in trials.items()
        }
        done = {**known, **self._tried({job: mine for job, mine in due.items() if mine}, images)}
        for key, result in done.items():
            self._keep(key, result)
        return tuple(done[each.key] for mine in trials.values() for each in mine)

    def _trials(self, job: Job, manifest: Manifest) -> Iterator[ImageTrial]:
        image = self.engines.plan.image(job.image).image
        inner = read_config(self.source(job.image), manifest).get("config")
        yield from trials_of(image, job, manifest.digest, inner if isinstance(inner, dict) else {})

    def _tried(
        self, due: Mapping[Job, list[ImageTrial]], images: Mapping[Job, Manifest]
    ) -> Mapping[str, TrialResult]:
        if not due:
            return {}
        self._logs.mkdir(parents=True, exist_ok=True)
        place = self.engines.session.place({job.platform for job in due})

        def one_by_one(job: Job) -> Mapping[str, TrialResult]:
            image = TrialImage(job=job, manifest=images[job], source=self.source(job.image))
            return {each.key: self._heard(place, image, each) for each in due[job]}

        workers = self.engines.plan.request.jobs or max(2, len(os.sched_getaffinity(0)))
        with ThreadPoolExecutor(workers, thread_name_prefix="trial") as pool:
            waiting = [pool.submit(one_by_one, job) for job in due]
            try:
                return {key: result for each in waiting for key, result in each.result().items()}
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _heard(self, place: TrialPlace, image: TrialImage, one: ImageTrial) -> TrialResult:
        result = place.carry_out(image, one, self._logs)
        self._keep(one.key, result)
        self.hear(result)
        return result

    @property
    def _logs(self) -> Path:
        return self.engines.services.config.output / "logs"

    # What passed before, here or where the image was built.

    def _known(self, trial: ImageTrial) -> TrialResult | None:
        if self.anew:
            return None
        value: JSONValue = self.engines.journal.get(Section.TESTED, trial.key)
        if value is None:
            value = json_in(self._record(trial.key))
        return TrialResult.kept(trial.job, trial.name, trial.test, value)

    def _keep(self, key: str, result: TrialResult) -> None:
        if result.outcome is TrialOutcome.FAILED:
            self.engines.journal.forget(Section.TESTED, key)
            self._record(key).unlink(missing_ok=True)
            return
        self.engines.journal.record(Section.TESTED, key, result.to_json())
        if not result.earlier:
            write_atomically(self._record(key), json.dumps(result.to_json()).encode())

    def _record(self, key: str) -> Path:
        return self.engines.services.folders.cache / VERDICTS / f"tried-{FORM}" / key


def failures(
    results: tuple[TrialResult, ...],
    output: Path,
    place: Callable[[TrialResult], tuple[str, int]],
) -> Iterator[Finding]:
    """Give a finding for each trial that failed; `place` says where it is written."""
    for each in results:
        if each.outcome is TrialOutcome.FAILED:
            file, line = place(each)
            yield Finding(
                level=Level.ERROR,
                file=file,
                line=line,
                message=f"{each.name}: {each.why}",
                hint=f"{shown(output / each.log)} has all that it said"
                + ("" if each.test is not None else '; healthcheck = "off" where it needs others'),
                rule=HEALTH_RULE if each.test is None else TEST_RULE,
                image=each.job.image,
                platforms=(each.job.platform,),
            )


def slow_starts(
    results: tuple[TrialResult, ...],
    limits: Mapping[str, tuple[float, Level, str, int]],
) -> Iterator[Finding]:
    """Give a finding for each image that takes too long until it is ready.

    `limits`: by image the seconds, how bad more is, and where that is written.
    """
    for each in results:
        limit = limits.get(each.job.image)
        if limit is None or each.ready is None or each.ready <= limit[0]:
            continue
        seconds, level, file, line = limit
        yield Finding(
            level=level,
            file=file,
            line=line,
            message=f"{each.name}: ready after {each.ready:.1f} s, and its budget is {seconds:g} s",
            hint="let it start faster, or raise the budget",
            rule="budget-ready",
            image=each.job.image,
            platforms=(each.job.platform,),
        )
