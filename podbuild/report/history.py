"""The history for people and programs: a line for each run, how things went over time."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from podbuild.report.runs import Run, to_json
from podbuild.system.console.text import duration, size, table
from podbuild.system.records import JSONValue

_BARS = "▁▂▃▄▅▆▇█"


def history_text(runs: Sequence[Run], images: Sequence[str], width: int | None) -> str:
    """Give the table of some runs, or of some images' builds, and the trend below it."""
    if not runs:
        return "no run is remembered yet"
    if not images:
        return _of_runs(runs, width)
    return "\n\n".join(_of_image(runs, image, width) for image in images)


def _of_runs(runs: Sequence[Run], width: int | None) -> str:
    rows = [
        (
            f"{run.at:%Y-%m-%d %H:%M}",
            run.title,
            run.result,
            duration(run.seconds),
            "" if run.cache_share is None else f"{run.cache_share:.0%}",
            str(sum(job.is_built for job in run.jobs)),
            size(run.bytes_sent) if run.bytes_sent else "",
        )
        for run in runs
    ]
    heads = ("when (UTC)", "what", "result", "time", "cached", "built", "sent")
    shown = "\n".join(table(heads, rows, right=heads[3:], width=width))
    times = [run.seconds for run in runs if run.is_published]
    ended = f"{sum(run.is_published for run in runs)} of {len(runs)} published"
    usual = f", {duration(median(times))} at the median {bars(times)}" if times else ""
    return f"{shown}\n{ended}{usual}"


def _of_image(runs: Sequence[Run], image: str, width: int | None) -> str:
    rows = [
        (
            f"{run.at:%Y-%m-%d %H:%M}",
            run.title,
            job.platform,
            job.origin,
            duration(job.cpu_seconds) if job.cpu_seconds else "",
            f"{job.cached}/{job.steps}" if job.steps else "",
            size(job.size) if job.size else "",
        )
        for run in runs
        for job in run.jobs
        if job.image == image
    ]
    heads = ("when (UTC)", "what", "platform", "origin", "CPU", "cached", "size")
    lines = list(table(heads, rows, right=heads[4:], width=width))
    for platform in sorted({row[2] for row in rows}):
        found = [run.job(image, platform) for run in runs]
        sizes = [job.size for job in found if job and job.size]
        if sizes:
            lines.append(f"{platform}: {size(sizes[-1])} {bars(sizes)}")
    return "\n".join(lines)


def bars(values: Sequence[float]) -> str:
    """Give a trend as small bars, the oldest first.

    >>> bars([1, 2, 3, 8])
    '▁▂▃█'
    """
    low, high = min(values, default=0), max(values, default=0)
    span = high - low or 1
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for value in values)


def history_json(runs: Sequence[Run]) -> JSONValue:
    """Give everything that is remembered of some runs."""
    return {"schema": 1, "runs": [to_json(run) for run in runs]}
