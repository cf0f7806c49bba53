"""Builds that take much more CPU time than those before, and caches that no longer hit.

Times of shared runners are noise: CPU seconds are compared, within one class, and only two runs in
a row are an alarm (wall time of equal builds varies by 25 %, their CPU seconds by 6 %).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from podbuild.report.runs import Run, RunJob
from podbuild.system.console.text import duration

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
