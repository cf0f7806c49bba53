"""One run, as the history keeps it: what was made, how it ended, what it cost; and what has grown.

No host name, user or path of the machine stands in it, and nothing that changes an image.

Builds that take much more CPU time than those before, and caches that no longer hit, are told.
Times of shared runners are noise: CPU seconds are compared, within one class, and only two runs in
a row are an alarm (wall time of equal builds varies by 25 %, their CPU seconds by 6 %).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from podbuild.build.model import Metrics, Origin
from podbuild.report.model import ReleaseResult, Report
from podbuild.system.console.text import duration
from podbuild.system.records import JSONValue, json_of

RUN_SCHEMA = 1
RUN_NAME = re.compile(r"run-(\d{8}T\d{6}Z)-([0-9a-f]{0,8})-([0-9a-f]{4})")
MONTH_NAME = re.compile(r"runs-(\d{6})")
_STAMP = "%Y%m%dT%H%M%SZ"
_TEXT_CAP = 200  # characters of one text of an entry
_MOST = 1 << 62  # of any number: nothing that is counted here has more


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What kind of machine ran it: CPUs, architecture as platforms have it, CI system."""

    cpus: int = 0
    arch: str = ""
    ci: str = ""


@dataclass(frozen=True, kw_only=True)
class RunJob:
    """One image for one platform (seconds, bytes)."""

    image: str
    platform: str
    origin: str
    emulated: bool = False
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory: int = 0
    context_bytes: int = 0
    steps: int = 0
    cached: int = 0
    pulled: int = 0
    size: int = 0
    digest: str = ""
    slowest: str = ""  # the step that took longest, with its line
    slowest_seconds: float = 0.0

    @property
    def is_built(self) -> bool:
        """Tell whether it was built in this run."""
        return self.origin == Origin.BUILT.value

    @property
    def is_warm(self) -> bool:
        """Tell whether some of its steps were cached."""
        return self.cached > 0


@dataclass(frozen=True, kw_only=True)
class Run:
    """One finished run, also a failed one."""

    name: str  # its place in the history, and its order in time
    at: datetime
    commit: str = ""
    branch: str = ""
    version: str = ""
    result: str = ""
    seconds: float = 0.0
    bytes_sent: int = 0
    requests: int = 0
    retries: int = 0
    runner: Machine = Machine()
    phases: tuple[tuple[str, float], ...] = ()
    jobs: tuple[RunJob, ...] = ()

    @property
    def title(self) -> str:
        """Give what was released, for people."""
        return self.version or self.branch or self.commit[:7]

    @property
    def is_published(self) -> bool:
        """Tell whether it is one that others are compared with."""
        return self.result == ReleaseResult.PUBLISHED.value

    @property
    def cache_share(self) -> float | None:
        """Give the part of the steps of what was built that were cached; None without steps."""
        steps = sum(job.steps for job in self.jobs if job.is_built)
        cached = sum(job.cached for job in self.jobs if job.is_built)
        return cached / steps if steps else None

    def job(self, image: str, platform: str) -> RunJob | None:
        """Give the job of an image and platform; None where there was none."""
        found = (each for each in self.jobs if (each.image, each.platform) == (image, platform))
        return next(found, None)


def run_of(report: Report, runner: Machine, at: datetime, mark: str) -> Run:
    """Give a report's entry; `mark` are four hex digits that no other run of this second has."""
    commit = re.sub(r"[^0-9a-f]", "", report.commit)
    return Run(
        name=f"run-{at.astimezone(UTC):{_STAMP}}-{commit[:8]}-{mark}",
        at=at.astimezone(UTC).replace(microsecond=0),
        commit=commit,
        branch=report.branch[:_TEXT_CAP],
        version=report.version[:_TEXT_CAP],
        result=report.result.value,
        seconds=report.seconds,
        bytes_sent=report.bytes_sent,
        requests=report.requests,
        retries=report.retries,
        runner=runner,
        phases=tuple((phase.name, phase.seconds) for phase in report.phases),
        jobs=tuple(_jobs(report, runner)),
    )


def _jobs(report: Report, runner: Machine) -> Iterator[RunJob]:
    costs = {(job.image, str(job.platform)): cost for job, cost in report.metrics.items()}
    parts = {
        (image.name, str(part.platform)): part
        for image in report.images
        for part in image.platforms
    }
    for image, platform in sorted({*costs, *parts}):
        cost = costs.get((image, platform), Metrics())
        part = parts.get((image, platform))
        slowest = max(cost.times, key=lambda each: each.seconds, default=None)
        line = f"{slowest.line}: " if slowest and slowest.line else ""
        yield RunJob(
            image=image,
            platform=platform,
            origin=(Origin.BUILT if part is None else part.origin).value,
            emulated=is_emulated(platform, runner.arch),
            seconds=cost.seconds,
            cpu_seconds=cost.cpu_seconds,
            peak_memory=cost.peak_memory,
            context_bytes=cost.context_bytes,
            steps=cost.steps,
            cached=cost.cached_steps,
            pulled=cost.pulled_steps,
            size=0 if part is None else part.size,
            digest="" if part is None else str(part.digest),
            slowest=f"{line}{' '.join(slowest.text.split())}"[:60] if slowest else "",
            slowest_seconds=slowest.seconds if slowest else 0.0,
        )


def is_emulated(platform: str, arch: str) -> bool:
    """Tell whether a machine runs programs of a platform only by emulation."""
    wanted = platform.split("/")[1] if "/" in platform else platform
    return bool(arch) and wanted != arch and (arch, wanted) != ("amd64", "386")


def to_json(run: Run) -> dict[str, JSONValue]:
    """Give an entry as it is kept: at most 4 KiB for eight jobs."""
    return {
        "schema": RUN_SCHEMA,
        "name": run.name,
        "at": run.at.isoformat().replace("+00:00", "Z"),
        "commit": run.commit,
        "branch": run.branch,
        "version": run.version,
        "result": run.result,
        "seconds": round(run.seconds, 1),
        "bytes_sent": run.bytes_sent,
        "requests": run.requests,
        "retries": run.retries,
        "runner": {"cpus": run.runner.cpus, "arch": run.runner.arch, "ci": run.runner.ci},
        "phases": [{"name": name, "seconds": round(seconds, 1)} for name, seconds in run.phases],
        "jobs": [_job_json(job) for job in run.jobs],
    }


def _job_json(job: RunJob) -> JSONValue:
    every: dict[str, JSONValue] = {
        "image": job.image,
        "platform": job.platform,
        "origin": job.origin,
        "emulated": job.emulated,
        "seconds": round(job.seconds, 1),
        "cpu_seconds": round(job.cpu_seconds, 2),
        "peak_memory": job.peak_memory,
        "context_bytes": job.context_bytes,
        "steps": job.steps,
        "cached": job.cached,
        "pulled": job.pulled,
        "size": job.size,
        "digest": job.digest,
        "slowest": job.slowest,
        "slowest_seconds": round(job.slowest_seconds, 1),
    }
    return {name: value for name, value in every.items() if value not in (0, "", False, None)}


def from_json(value: object) -> Run | None:
    """Give an entry that was kept; None for what is none, or one of a form yet unknown."""
    if not isinstance(value, dict) or value.get("schema") != RUN_SCHEMA:
        return None
    name, at = value.get("name"), value.get("at")
    if not isinstance(name, str) or not RUN_NAME.fullmatch(name) or not isinstance(at, str):
        return None
    try:
        when = datetime.fromisoformat(at)
    except ValueError:
        return None
    if when.tzinfo is None:
        return None
    runner, jobs, phases = value.get("runner"), value.get("jobs"), value.get("phases")
    facts = runner if isinstance(runner, dict) else {}
    return Run(
        name=name,
        at=when.astimezone(UTC),
        commit=_text(value, "commit"),
        branch=_text(value, "branch"),
        version=_text(value, "version"),
        result=_text(value, "result"),
        seconds=_number(value, "seconds"),
        bytes_sent=int(_number(value, "bytes_sent")),
        requests=int(_number(value, "requests")),
        retries=int(_number(value, "retries")),
        runner=Machine(
            cpus=int(_number(facts, "cpus")), arch=_text(facts, "arch"), ci=_text(facts, "ci")
        ),
        phases=tuple(
            (_text(each, "name"), _number(each, "seconds"))
            for each in (phases if isinstance(phases, list) else ())
            if isinstance(each, dict)
        ),
        jobs=tuple(
            _job(each)
            for each in (jobs if isinstance(jobs, list) else ())
            if isinstance(each, dict)
        ),
    )


def _job(value: Mapping[str, object]) -> RunJob:
    return RunJob(
        image=_text(value, "image"),
        platform=_text(value, "platform"),
        origin=_text(value, "origin"),
        emulated=value.get("emulated") is True,
        seconds=_number(value, "seconds"),
        cpu_seconds=_number(value, "cpu_seconds"),
        peak_memory=int(_number(value, "peak_memory")),
        context_bytes=int(_number(value, "context_bytes")),
        steps=int(_number(value, "steps")),
        cached=int(_number(value, "cached")),
        pulled=int(_number(value, "pulled")),
        size=int(_number(value, "size")),
        digest=_text(value, "digest"),
        slowest=_text(value, "slowest"),
        slowest_seconds=_number(value, "slowest_seconds"),
    )


def _text(value: Mapping[str, object], name: str) -> str:
    found = value.get(name)
    text = found[:_TEXT_CAP] if isinstance(found, str) else ""
    return text.encode("utf-8", "replace").decode()  # JSON can say what is no character


def _number(value: Mapping[str, object], name: str) -> float:
    found = value.get(name)
    if not isinstance(found, int | float) or isinstance(found, bool):
        return 0.0
    return found if 0 <= found <= _MOST else 0.0


def packed(runs: Iterable[Run]) -> bytes:
    """Give the bytes of some entries, as a month that is over is kept: equal for equal entries."""
    ordered = sorted({run.name: run for run in runs}.values(), key=lambda run: run.name)
    return json.dumps([to_json(run) for run in ordered], separators=(",", ":")).encode()


def unpacked(data: bytes) -> tuple[Run, ...]:
    """Give the entries in some bytes: one, or a month of them; what is none is left out."""
    return tuple(run for run in _entries(data) if run is not None)


def is_whole(data: bytes) -> bool:
    """Tell whether all that stands in some bytes are entries that can be read."""
    return None not in _entries(data)


def _entries(data: bytes) -> tuple[Run | None, ...]:
    value = json_of(data)
    return tuple(map(from_json, value if isinstance(value, list) else [value]))


def merged(*several: Iterable[Run]) -> tuple[Run, ...]:
    """Give all entries once, the oldest first."""
    found = {run.name: run for runs in several for run in runs}
    return tuple(sorted(found.values(), key=lambda run: (run.at, run.name)))


_BASELINE = 20  # runs of a class at most
_LEAST = 5  # runs of a class before anything is judged
# Wide enough that equal builds whose CPU seconds vary by 2 to 6 % are silent, and narrow enough
# that of those that grow by 30 % at least 95 % are found by the second run.
_SPREAD = 3 * 1.4826  # times the median absolute deviation
_SHARE = 1 / 6  # of the median
_FLOOR = 10.0  # CPU seconds
_HALF = 0.5  # of the usual share of cached steps


@dataclass(frozen=True, kw_only=True)
class Regression:
    """One job that takes longer than it did; `text` says it in one line."""

    image: str
    platform: str
    usual: float  # CPU seconds, or a share of cached steps
    now: float
    text: str


def regressions(earlier: Sequence[Run], current: Run) -> tuple[Regression, ...]:
    """Give what grew in this run and in the one before it; `earlier` has the oldest first."""
    published = [run for run in earlier if run.is_published and run.name != current.name]
    found = [
        grown for job in current.jobs if job.is_built for grown in _grown(published, current, job)
    ]
    return (*found, *_cold(published, current))


def _grown(earlier: Sequence[Run], current: Run, job: RunJob) -> Iterator[Regression]:
    """Compare one job with the same class: emulated or not, cold or warm, the same machine."""
    before = [
        other
        for run in earlier
        if (run.runner.cpus, run.runner.arch) == (current.runner.cpus, current.runner.arch)
        and (other := run.job(job.image, job.platform))
        and other.is_built
        and (other.emulated, other.is_warm) == (job.emulated, job.is_warm)
        and other.cpu_seconds
    ]
    if len(before) <= _LEAST or not job.cpu_seconds:
        return
    *baseline, last = before[-_BASELINE - 1 :]
    usual = median(each.cpu_seconds for each in baseline)
    limit = usual + allowance([each.cpu_seconds for each in baseline])
    if min(last.cpu_seconds, job.cpu_seconds) <= limit:
        return
    step = f"; its slowest step is {job.slowest} ({duration(job.slowest_seconds)})"
    yield Regression(
        image=job.image,
        platform=job.platform,
        usual=usual,
        now=job.cpu_seconds,
        text=f"{job.image} {job.platform} took {duration(job.cpu_seconds)} of CPU time, the second "
        f"run in a row over {duration(limit)}; usual are {duration(usual)}"
        f"{step if job.slowest else ''}",
    )


def allowance(values: Sequence[float]) -> float:
    """Give by how much one more value may pass the median of these (CPU seconds)."""
    middle = median(values)
    deviation = median(abs(value - middle) for value in values)
    return max(_SPREAD * deviation, _SHARE * middle, _FLOOR)


def _cold(earlier: Sequence[Run], current: Run) -> Iterator[Regression]:
    """Tell of two runs in a row in which far fewer steps were cached than is usual."""
    shares = [share for run in earlier if (share := run.cache_share)]
    now = current.cache_share
    if now is None or len(shares) <= _LEAST:
        return
    *baseline, last = shares[-_BASELINE - 1 :]
    usual = median(baseline)
    if now and max(last, now) < usual * _HALF:
        yield Regression(
            image="",
            platform="",
            usual=usual,
            now=now,
            text=f"{now:.0%} of the steps were cached, the second run in a row under half of the "
            f"usual {usual:.0%}",
        )
