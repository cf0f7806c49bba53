"""Judge the image of every platform before anything names it: whether it can start there.

What an image's layers say is read once and kept by its digest, so that what is re-used costs a
look into a small file, wherever its layers are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from podbuild.build.examine.blame import Steps, fault_finding, steps_of
from podbuild.build.examine.programs import ANALYSES, files_of
from podbuild.build.examine.soundness import FORM, Fault, faults_of
from podbuild.build.image import read_config
from podbuild.build.inputs.lint import Finding, Level
from podbuild.build.model import LayerSize
from podbuild.build.staging.area import StagedRepository, Staging, repository_name
from podbuild.errors import PolicyError
from podbuild.oci.examine import LAYERS, Examiner, LayerAnalysis
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Digest, Platform
from podbuild.plan.model import Job, Plan
from podbuild.system.cancel import Cancel
from podbuild.system.files import write_atomically
from podbuild.system.records import JSONValue, json_in

VERDICTS = "examined"  # in the cache folder: verdicts
_AT_ONCE = 2  # images; inflating leaves the interpreter to others


@dataclass(frozen=True, kw_only=True)
class Ignored:
    """Rules that the configuration silences: everywhere, or (IMAGE:RULE) for one image."""

    rules: frozenset[str] = frozenset()

    def __call__(self, image: str, rule: str) -> bool:
        """Tell whether a rule is silent for an image."""
        return bool(self.rules & {rule, f"{image}:{rule}"})


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What was found, and which images were not read because their layers are not here."""

    findings: tuple[Finding, ...]
    unread: tuple[Job, ...] = ()

    def with_more(self, findings: Iterable[Finding]) -> Judged:
        """Give the same with what else was found."""
        return replace(self, findings=(*self.findings, *merged_findings(findings)))

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Give what is said and stops nothing."""
        return tuple(each for each in self.findings if each.level is not Level.ERROR)

    @property
    def faults(self) -> Mapping[Job, str]:
        """Give the first error of each image that has one."""
        found: dict[Job, str] = {}
        for each in self.findings:
            for platform in each.platforms if each.level is Level.ERROR else ():
                found.setdefault(Job(each.image, platform), str(each))
        return found

    def check(self) -> None:
        """Raise PolicyError for the errors among the findings; its details name the others."""
        errors = [each for each in self.findings if each.level is Level.ERROR]
        if not errors:
            return
        first, *others = errors
        raise PolicyError(
            str(first),
            hint=first.hint,
            details=[*(f"also: {each}" for each in others), "no tag was moved"],
        )


@dataclass(frozen=True, kw_only=True)
class Examination:
    """Examines the published images of a plan, while the block runs. `cache` is podbuild's folder.

    `questions` are those that later steps ask as well: one pass over a layer answers them all.
    Safe to share between threads.
    """

    plan: Plan
    staging: Staging
    cache: Path
    build: Platform  # of this machine
    ignored: Ignored
    questions: tuple[LayerAnalysis, ...] = ANALYSES
    cancel: Cancel = field(default_factory=Cancel, repr=False)
    _pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="examine"),
        repr=False,
    )
    _begun: dict[tuple[Job, Digest], Future[tuple[Fault, ...] | None]] = field(
        default_factory=dict, repr=False
    )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def begin(self, job: Job, manifest: Manifest) -> None:
        """Examine an image that is staged beside what else goes on; `judge` asks for the rest."""
        if self.plan.image(job.image).published:
            self._begin(job, manifest)

    def _begin(self, job: Job, manifest: Manifest) -> Future[tuple[Fault, ...] | None]:
        key = (job, manifest.digest)
        if key not in self._begun:
            self._begun[key] = self._pool.submit(self._faults, job, manifest)
        return self._begun[key]

    def judge(self, images: Mapping[Job, Manifest]) -> Judged:
        """Give what keeps images from starting, all of them judged.

        Raises VerificationError for a layer that can't be read.
        """
        published = {
            job: manifest
            for job, manifest in sorted(images.items(), key=lambda each: each[0])
            if self.plan.image(job.image).published
        }
        waiting = {job: self._begin(job, manifest) for job, manifest in published.items()}
        faults = {job: each.result() for job, each in waiting.items()}
        found = (
            finding
            for job, each in faults.items()
            for finding in self._findings(job, published[job], each or ())
        )
        unread = tuple(job for job, each in faults.items() if each is None)
        return Judged(findings=tuple(merged_findings(found)), unread=unread)

    def layers(self, images: Mapping[Job, Manifest]) -> Mapping[Job, tuple[LayerSize, ...]]:
        """Give what each layer of published images costs, where their configs are here."""
        return {
            job: self._layers(job, manifest)
            for job, manifest in images.items()
            if self.plan.image(job.image).published
            and all(map(self.store(job).has_blob, manifest.blobs[:1]))
        }

    def _layers(self, job: Job, manifest: Manifest) -> tuple[LayerSize, ...]:
        made = self.steps(job).layers(read_config(self.store(job), manifest))
        return tuple(
            LayerSize(
                file=cause.file,
                line=cause.line,
                text=cause.text,
                size=layer.size,
                base=at < made.base,
            )
            for at, (cause, layer) in enumerate(zip(made.causes, manifest.layers, strict=False))
        )

    def steps(self, job: Job) -> Steps:
        """Give the lines that made a job's image."""
        return steps_of(self.plan, self.plan.image(job.image), job.platform, self.build)

    def _faults(self, job: Job, manifest: Manifest) -> tuple[Fault, ...] | None:
        """Give an image's faults; None where its layers are not here and nothing is known."""
        record = self.cache / VERDICTS / f"sound-{FORM}" / manifest.digest.hex
        known = json_in(record)
        with suppress(ValueError):
            if isinstance(known, list):
                return tuple(map(Fault.from_json, known))
        store = self.store(job)
        if not all(map(store.has_blob, manifest.layers)):
            return None
        answers = self.examiner.ask(store, manifest.layers, self.questions)
        faults = faults_of(files_of(answers), _inner(store, manifest), job.platform)
        write_atomically(record, json.dumps([each.to_json() for each in faults]).encode())
        return faults

    def _findings(self, job: Job, manifest: Manifest, faults: Iterable[Fault]) -> Iterator[Finding]:
        wanted = [each for each in faults if not self.ignored(job.image, each.rule)]
        if not wanted:
            return
        steps = self.steps(job)
        config = read_config(self.store(job), manifest)
        for fault in wanted:
            yield replace(fault_finding(fault, steps, config, job), text="")

    @cached_property
    def examiner(self) -> Examiner:
        """Give what asks layers and keeps their answers."""
        return Examiner(self.cache / LAYERS, self.cancel)

    def store(self, job: Job) -> StagedRepository:
        """Give what is staged of a job's image."""
        return self.staging.repository(repository_name(job.image))


def merged_findings(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Give findings that several platforms share once, with all of these platforms."""
    found: dict[Finding, tuple[Platform, ...]] = {}
    for each in findings:
        key = replace(each, platforms=())
        found[key] = (*found.get(key, ()), *each.platforms)
    for key, platforms in found.items():
        yield replace(key, platforms=tuple(dict.fromkeys(platforms)))


def _inner(store: StagedRepository, manifest: Manifest) -> Mapping[str, JSONValue]:
    inner = read_config(store, manifest).get("config")
    return inner if isinstance(inner, dict) else {}
