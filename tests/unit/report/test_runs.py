"""What the history keeps of a run, and what it says when builds grow."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from podbuild.config.following import CostSettings
from podbuild.config.trials import SizeBudget
from podbuild.report.history import history_json, history_text
from podbuild.report.metrics_text import metrics_text, otlp, spans, trace_json
from podbuild.report.model import Report
from podbuild.report.page import history_page, release_page
from podbuild.report.runs import (
    RUN_NAME,
    Machine,
    Run,
    RunJob,
    from_json,
    is_emulated,
    merged,
    packed,
    regressions,
    run_of,
    to_json,
    unpacked,
)
from tests.unit.report.test_formats import EMPTY, REPORT

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUNNER = Machine(cpus=4, arch="amd64", ci="github")
DIGEST = f"sha256:{'ab' * 32}"


def job(image: str = "web", platform: str = "linux/amd64", **changes: object) -> RunJob:
    found = RunJob(
        image=image,
        platform=platform,
        origin="built",
        seconds=61.2,
        cpu_seconds=100.0,
        peak_memory=150_000_000,
        context_bytes=123_456,
        steps=12,
        size=44_400_000,
        digest=DIGEST,
        slowest="14: RUN make -j4 all install clean test the whole of it, and",
        slowest_seconds=41.5,
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def run(number: int, *jobs: RunJob, **changes: object) -> Run:
    at = AT + timedelta(hours=number)
    found = Run(
        name=f"run-{at:%Y%m%dT%H%M%SZ}-01234567-{number % 65536:04x}",
        at=at,
        commit="0123456789" * 4,
        branch="main",
        version=f"1.2.{number}",
        result="published",
        seconds=75.2,
        runner=RUNNER,
        phases=(("build", 61.2), ("publish by digest", 9.0), ("move tags", 1.0)),
        jobs=jobs or (job(),),
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def test_an_entry_is_read_back_as_it_was_kept() -> None:
    entry = run(1, job(), job(platform="linux/arm64", emulated=True, cached=3))
    assert from_json(json.loads(json.dumps(to_json(entry)))) == entry
    assert unpacked(packed([entry, run(2)])) == (entry, run(2))
    assert unpacked(packed([entry])[1:-1]) == (entry,)


def test_an_entry_of_eight_jobs_is_small_and_names_nobody() -> None:
    made = run_of(REPORT, RUNNER, AT, "ab12")
    assert RUN_NAME.fullmatch(made.name)
    assert made.name == "run-20260102T030405Z-01234567-ab12"
    eight = replace(made, jobs=tuple(job(f"image-{number}") for number in range(8)))
    data = packed([eight])
    assert len(data) <= 4096
    assert {*json.loads(data)[0]} == {
        *("schema", "name", "at", "commit", "branch", "version", "result", "seconds"),
        *("bytes_sent", "requests", "retries", "runner", "phases", "jobs"),
    }


def test_an_entry_says_what_was_built_and_what_its_slowest_step_was() -> None:
    made = run_of(REPORT, RUNNER, AT, "ab12")
    built = made.job("web", "linux/arm64")
    assert built is not None
    assert (built.emulated, built.steps, built.cached) == (True, 8, 5)
    assert (built.slowest, built.slowest_seconds) == ("4: RUN a && b | c", 9.25)
    assert not is_emulated("linux/386", "amd64")
    assert is_emulated("linux/amd64", "arm64")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "7",
        '{"schema": 2}',
        '{"schema": 1, "name": "x", "at": "y"}',
        "[" * 100_000,
        "[null]",
    ],
)
def test_what_is_no_entry_is_passed_over(text: str) -> None:
    assert unpacked(text.encode()) == ()


@pytest.mark.parametrize("number", ["9" * 400, "1e400", "1e308", "-1", "NaN", "true"])
def test_an_entry_with_numbers_that_nothing_has_can_be_shown(number: str) -> None:
    written = json.loads(packed([run(1)])[1:-1])
    written |= {"version": "\ud800\x1b[31m"}
    text = json.dumps({**written, "seconds": "N", "bytes_sent": "N", "requests": "N"})
    (found,) = unpacked(text.replace('"N"', number).encode())
    assert (found.seconds, found.bytes_sent, found.requests) == (0, 0, 0)
    assert history_text([found], (), 80).encode()
    assert unpacked(packed([found])) == (found,)
    history_page("shop", [found]).encode()


def test_entries_merge_as_a_set_whatever_their_order() -> None:
    every = [run(number) for number in range(5)]
    assert merged(every[3:], every[:4], every[2:]) == tuple(every)


def history(count: int, noise: random.Random, spread: float) -> list[Run]:
    return [
        run(number, job(cpu_seconds=100.0 * noise.gauss(1.0, spread))) for number in range(count)
    ]


def test_equal_builds_raise_hardly_any_alarm() -> None:
    """500 histories, as noisy as was measured (CPU seconds of equal builds: 2 to 6 %)."""
    alarms = 0
    for seed in range(500):
        noise = random.Random(seed)  # repeats exactly
        *earlier, last = history(25, noise, noise.uniform(0.02, 0.06))
        alarms += bool(regressions(earlier, last))
    assert alarms <= 5


@pytest.mark.parametrize(("growth", "share"), [(1.3, 0.95), (1.6, 0.99)])
def test_a_real_growth_is_found_by_the_second_run(growth: float, share: float) -> None:
    found = 0
    for seed in range(500):
        noise = random.Random(seed)  # repeats exactly
        spread = noise.uniform(0.02, 0.06)
        earlier = history(20, noise, spread)
        grown = [
            run(20 + more, job(cpu_seconds=100.0 * growth * noise.gauss(1.0, spread)))
            for more in range(2)
        ]
        assert not regressions(earlier, grown[0])
        found += bool(regressions([*earlier, grown[0]], grown[1]))
    assert found >= share * 500


def test_an_alarm_names_the_build_and_its_slowest_step() -> None:
    earlier = [run(number) for number in range(8)]
    slow = [run(number, job(cpu_seconds=200.0)) for number in (8, 9)]
    (alarm,) = regressions([*earlier, slow[0]], slow[1])
    assert (alarm.image, alarm.usual, alarm.now) == ("web", 100.0, 200.0)
    assert "web linux/amd64 took 3 min 20 s of CPU time" in alarm.text
    assert "14: RUN make" in alarm.text


@pytest.mark.parametrize(
    "change",
    [
        {"runner": Machine(cpus=8, arch="amd64")},
        {"jobs": (job(cpu_seconds=200.0, cached=4),)},
        {"jobs": (job(cpu_seconds=200.0, emulated=True),)},
        {"jobs": (job(cpu_seconds=200.0, origin="reused"),)},
        {"jobs": (job("other", cpu_seconds=200.0),)},
        {"jobs": (job(cpu_seconds=109.0),)},
    ],
)
def test_what_is_of_another_class_is_not_compared(change: dict[str, object]) -> None:
    earlier = [run(number) for number in range(8)]
    slow = [run(number, job(cpu_seconds=200.0), **change) for number in (8, 9)]
    slow = [replace(each, jobs=change.get("jobs", each.jobs)) for each in slow]  # type: ignore[arg-type]
    assert regressions([*earlier, slow[0]], slow[1]) == ()


def test_a_cache_that_hits_no_more_is_told() -> None:
    earlier = [run(number, job(cached=10)) for number in range(8)]
    lost = [run(number, job(cached=2)) for number in (8, 9)]
    alarms = regressions([*earlier, lost[0]], lost[1])
    assert ["17%" in each.text and "83%" in each.text for each in alarms] == [True]


def test_the_page_of_two_hundred_runs_is_small_and_needs_no_script() -> None:
    runs = [
        run(
            number,
            *(
                job(image, platform, size=40_000_000 + number * 1000, cached=number % 2)
                for image in ("web", "api", "worker")
                for platform in ("linux/amd64", "linux/arm64")
            ),
        )
        for number in range(200)
    ]
    page = release_page(REPORT, runs, CostSettings(runner_minute=Decimal("0.008")))
    assert len(page.encode()) < 100_000
    assert page.count("<svg") >= 3
    for forbidden in ("<script", "style=", "javascript:", "onload", "http://www.w3.org/1999"):
        assert forbidden not in page
    assert history_page("shop", runs).count("<tr>") == 201


def test_all_text_of_the_page_is_escaped() -> None:
    bad = "<script>alert('x')</script>&\"'"
    page = release_page(replace(REPORT, project=bad, warnings=(bad,)), [run(1)], CostSettings())
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_cost_is_shown_only_at_ones_own_prices() -> None:
    assert "Cost" not in release_page(REPORT, [], CostSettings())
    priced = release_page(REPORT, [], CostSettings(runner_minute=Decimal(1), currency="EUR"))
    assert "0.2058 EUR" in priced


def began(report: Report) -> Report:
    return replace(
        report,
        phases=tuple(replace(each, began=1000.0) for each in report.phases),
        metrics={job: replace(cost, began=1001.5) for job, cost in report.metrics.items()},
    )


def test_the_trace_nests_steps_in_jobs_in_phases_in_the_release() -> None:
    found = spans(began(REPORT))
    kinds = [each.kind for each in found]
    assert kinds == ["release", "phase", "phase", "job", "step", "step"]
    assert [each.parent for each in found] == [None, 0, 0, 1, 3, 3]
    assert (found[5].began, found[5].seconds) == (1001.5 + 9.25, 2.0)
    events = json.loads(trace_json(began(REPORT)))["traceEvents"]
    whole = next(each for each in events if each.get("cat") == "job")
    assert (whole["ph"], whole["ts"], whole["dur"]) == ("X", 1001.5e6, 12345600)
    assert {"name", "ph", "ts", "dur", "pid", "tid"} <= whole.keys()


def test_the_trace_of_opentelemetry_has_ids_of_the_right_length_and_its_parents() -> None:
    body = otlp(began(REPORT), "run-1")
    assert body == otlp(began(REPORT), "run-1")
    (resource,) = json.loads(json.dumps(body))["resourceSpans"]
    listed = resource["scopeSpans"][0]["spans"]
    ids = {each["spanId"] for each in listed}
    assert {len(each) for each in ids} == {16}
    assert len(ids) == len(listed)
    assert {each["parentSpanId"] for each in listed} <= ids | {""}
    assert {len(each["traceId"]) for each in listed} == {32}


def test_a_release_without_times_gives_an_empty_trace() -> None:
    assert spans(EMPTY) == ()
    assert json.loads(trace_json(EMPTY))["traceEvents"][1:] == []


def test_metrics_are_open_metrics_with_whole_numbers_and_no_times() -> None:
    text = metrics_text(REPORT)
    assert text.endswith("# EOF\n")
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert 'podbuild_layer_bytes{image="web",platform="linux/arm64"} 35000000' in samples
    assert all(line.rpartition(" ")[2].isdigit() for line in samples)
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len({*names})


@pytest.mark.parametrize("width", [80, 120])
def test_the_history_fits_the_terminal(width: int) -> None:
    runs = [run(number, job(cached=number % 4)) for number in range(3)]
    for text in (history_text(runs, (), width), history_text(runs, ("web",), width)):
        assert all(len(line) <= width for line in text.splitlines())
        assert "1.2.2" in text
    assert history_text([], (), width) == "no run is remembered yet"
    assert len(json.loads(json.dumps(history_json(runs)))["runs"]) == 3


def test_the_page_says_where_the_bytes_are_and_what_the_budgets_are() -> None:
    runs = [run(number, job(size=40_000_000 + number)) for number in range(4)]
    page = release_page(REPORT, runs, CostSettings())
    rows = page[page.index("Where the bytes are") :]
    sizes = [rows.index(text) for text in ("9.0 MB", "1.0 MB", "30.0 MB")]
    assert sizes == sorted(sizes)  # own layers by size, then the base
    assert "<code>RUN a &amp;&amp; b | c</code>" in rows
    assert "22%" in rows
    assert "45.0 MB, +10%" in page
    assert page.count("budget of web: 45.0 MB") == 1
    far = replace(REPORT, budgets={"web": SizeBudget(size=10**12)})
    assert "budget of" not in release_page(far, runs, CostSettings())
