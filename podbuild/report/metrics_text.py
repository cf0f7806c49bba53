"""A release as numbers and as a trace, for programs that watch over time.

metrics.txt is what GitLab compares between branches and Prometheus reads: OpenMetrics text,
https://prometheus.io/docs/specs/om/open_metrics_spec/. Whole numbers only, and no times: they would
differ on every run. The trace is for Perfetto in a file, and for OpenTelemetry over HTTP.

Chrome's trace events: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
OTLP/HTTP JSON: https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from podbuild.report.model import Report
from podbuild.system.console.text import one_line, shortened
from podbuild.system.records import JSONValue

_MICRO, _NANO = 1e6, 1e9
_RELEASE, _FIRST_JOB = 0, 1  # rows of the trace


@dataclass(frozen=True, kw_only=True)
class Span:
    """Something that took its time (seconds since 1970); `row` is what it is shown in."""

    name: str
    kind: str  # release, phase, job, step
    began: float
    seconds: float
    row: int = _RELEASE
    parent: int | None = None  # its place in the list
    facts: tuple[tuple[str, str | int | float | bool], ...] = field(default=())


def spans(report: Report) -> tuple[Span, ...]:
    """Give release, phases, jobs and steps, each after what it is part of."""
    return tuple(_spans(report))


def _spans(report: Report) -> Iterator[Span]:
    starts = [each.began for each in report.phases if each.began]
    starts += [cost.began for cost in report.metrics.values() if cost.began]
    if not starts:
        return
    facts = (("result", report.result.value), ("commit", report.commit))
    yield Span(
        name=f"{report.project} {report.name}",
        kind="release",
        began=min(starts),
        seconds=report.seconds,
        facts=facts,
    )
    build = 0
    for at, phase in enumerate(report.phases, 1):
        build = at if phase.name == "build" else build
        yield Span(
            name=phase.name, kind="phase", began=phase.began, seconds=phase.seconds, parent=0
        )
    yield from _job_spans(report, build, at=1 + len(report.phases))


def _job_spans(report: Report, build: int, at: int) -> Iterator[Span]:
    """Give the jobs and steps below the span of number `build`; the first has number `at`."""
    jobs = sorted(report.metrics.items(), key=lambda each: (each[1].began, each[0]))
    for row, (job, cost) in enumerate(jobs, _FIRST_JOB):
        whole = at
        yield Span(
            name=str(job),
            kind="job",
            began=cost.began,
            seconds=cost.seconds,
            row=row,
            parent=build,
            facts=(("cpu_seconds", round(cost.cpu_seconds, 3)), ("steps", cost.steps)),
        )
        at += 1
        moment = cost.began
        for step in cost.times:
            yield Span(
                name=shortened(one_line(step.text)) or "step",
                kind="step",
                began=moment,
                seconds=step.seconds,
                row=row,
                parent=whole,
                facts=(("line", step.line or 0), ("cached", step.cached)),
            )
            moment += step.seconds
            at += 1


def trace_json(report: Report) -> str:
    """Give trace.json: opens in Perfetto and in chrome://tracing."""
    found = spans(report)
    names = {0: "release"} | {each.row: each.name for each in found if each.kind == "job"}
    events: list[JSONValue] = [
        {"name": "thread_name", "ph": "M", "pid": 1, "tid": row, "args": {"name": name}}
        for row, name in sorted(names.items())
    ]
    events += [
        {
            "name": each.name,
            "cat": each.kind,
            "ph": "X",
            "ts": round(each.began * _MICRO),
            "dur": round(each.seconds * _MICRO),
            "pid": 1,
            "tid": each.row,
            "args": dict(each.facts),
        }
        for each in found
    ]
    content: JSONValue = {"schema": 1, "displayTimeUnit": "ms", "traceEvents": events}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n"


def otlp(report: Report, run: str) -> JSONValue:
    """Give the body of an OTLP trace; `run` names the run, from which all ids are made."""
    trace = hashlib.sha256(run.encode()).hexdigest()[:32]
    found = spans(report)

    def span_id(place: int) -> str:
        return hashlib.sha256(f"{run} {place}".encode()).hexdigest()[:16]

    listed: list[JSONValue] = [
        {
            "traceId": trace,
            "spanId": span_id(place),
            "parentSpanId": "" if each.parent is None else span_id(each.parent),
            "name": each.name,
            "kind": 1,
            "startTimeUnixNano": str(round(each.began * _NANO)),
            "endTimeUnixNano": str(round((each.began + each.seconds) * _NANO)),
            "attributes": [_attribute(name, value) for name, value in each.facts],
        }
        for place, each in enumerate(found)
    ]
    return {
        "resourceSpans": [
            {
                "resource": {
                    "attributes": [
                        _attribute("service.name", "podbuild"),
                        _attribute("podbuild.project", report.project),
                        _attribute("service.version", report.podbuild),
                    ]
                },
                "scopeSpans": [
                    {
                        "scope": {"name": "podbuild", "version": report.podbuild},
                        "spans": listed,
                    }
                ],
            }
        ]
    }


def _attribute(name: str, value: str | float | bool) -> JSONValue:
    match value:
        case bool():
            return {"key": name, "value": {"boolValue": value}}
        case int():
            return {"key": name, "value": {"intValue": str(value)}}
        case float():
            return {"key": name, "value": {"doubleValue": value}}
        case _:
            return {"key": name, "value": {"stringValue": value}}


@dataclass(frozen=True, kw_only=True)
class _Family:
    name: str
    unit: str
    help: str
    samples: tuple[tuple[tuple[tuple[str, str], ...], int], ...]


def metrics_text(report: Report) -> str:
    """Give metrics.txt of a release."""
    return (
        "".join(f"{line}\n" for family in _families(report) for line in _lines(family)) + "# EOF\n"
    )


def _families(report: Report) -> Iterator[_Family]:
    parts = [(image, part) for image in report.images for part in image.platforms]
    costs = {(job.image, job.platform): cost for job, cost in report.metrics.items()}

    def labels(image: str, platform: object) -> tuple[tuple[str, str], ...]:
        return (("image", image), ("platform", str(platform)))

    yield _Family(
        name="podbuild_image_bytes",
        unit="bytes",
        help="What a pull of the image costs.",
        samples=tuple((labels(i.name, p.platform), p.size) for i, p in parts if p.size),
    )
    yield _Family(
        name="podbuild_layer_bytes",
        unit="bytes",
        help="Compressed layers of what was built.",
        samples=tuple(
            (labels(image, platform), cost.layer_bytes)
            for (image, platform), cost in sorted(costs.items())
            if cost.layer_bytes
        ),
    )
    yield _Family(
        name="podbuild_steps",
        unit="",
        help="Instructions of what was built.",
        samples=tuple(
            (labels(image, platform), cost.steps)
            for (image, platform), cost in sorted(costs.items())
        ),
    )
    yield _Family(
        name="podbuild_warnings",
        unit="",
        help="Warnings of the release.",
        samples=(((), len(report.warnings)),),
    )


def _lines(family: _Family) -> Iterable[str]:
    if not family.samples:
        return
    yield f"# TYPE {family.name} gauge"
    if family.unit:
        yield f"# UNIT {family.name} {family.unit}"
    yield f"# HELP {family.name} {family.help}"
    for labels, value in family.samples:
        named = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
        yield f"{family.name}{{{named}}} {value}" if named else f"{family.name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
