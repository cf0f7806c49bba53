"""dist/report.html: one file without a script, readable under Jenkins' default policy.

That policy drops inline CSS and scripts (`default-src 'none'`), so tables are tables and drawings
carry their colours as attributes. All text is escaped; only http(s) becomes a link.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from html import escape

from podbuild.build.model import LayerSize
from podbuild.config.following import CostSettings
from podbuild.plan.model import Job
from podbuild.report.charts import Line, ValueLevel, chart
from podbuild.report.model import ImageReport, ReleaseResult, Report
from podbuild.report.runs import Run, RunJob
from podbuild.system.console.text import duration, instant, one_line, shortened, size

_STYLE = """
:root{color-scheme:light dark;--back:#fff;--text:#1b1f24;--soft:#5c6570;--rule:#d5dae0}
@media(prefers-color-scheme:dark){:root{--back:#14171a;--text:#e6e9ec;--soft:#9aa4ae;--rule:#343b42}}
body{background:var(--back);color:var(--text);font:15px/1.45 system-ui,sans-serif;margin:0 auto;
max-width:60rem;padding:1rem;overflow-wrap:anywhere}
h1{font-size:1.4rem;margin:.2rem 0}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}
p{margin:.3rem 0}.soft{color:var(--soft)}.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%}th,td{border-bottom:1px solid var(--rule);padding:.25rem
.6rem .25rem 0;text-align:left;vertical-align:top}th{font-weight:600;white-space:nowrap}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
svg{max-width:100%;height:auto}code{font-size:.92em}figure{margin:.6rem 0}
"""
_SAYS = {
    ReleaseResult.PUBLISHED: "published",
    ReleaseResult.PARTIAL: "partly published: the same command finishes it",
    ReleaseResult.SKIPPED: "nothing had to be done",
    ReleaseResult.FAILED: "failed",
}
_SLOW_STEPS = 10
_LARGE_LAYERS = 10  # of an image
_CHART_RUNS = 200


def release_page(report: Report, runs: Sequence[Run], cost: CostSettings) -> str:
    """Give the page of a release that has just ended; `runs` are those remembered, oldest first."""
    return _page(
        f"{report.project} {report.name}",
        (
            _result(report),
            _images(report),
            _trends(runs, _limits(report)),
            _bytes(report),
            _slowest_steps(report),
            _registries(report),
            _statements(report),
            _cost(report, cost),
            _warnings(report),
            _foot(report),
        ),
    )


def history_page(project: str, runs: Sequence[Run]) -> str:
    """Give the page of what is remembered, the oldest run first."""
    if not runs:
        return _page(project, ("<p>No run is remembered yet.</p>",))
    return _page(f"{project}: history", (_trends(runs), _runs_table(runs)))


def _page(title: str, parts: Iterable[str]) -> str:
    body = "\n".join(filter(None, parts))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def html_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: frozenset[int] = frozenset()
) -> str:
    """Give a table; cells are HTML already, and the columns in `numbers` are right-aligned."""

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=n align=right' if at in numbers else ''}>{cell}</{tag}>"
            for at, cell in enumerate(row)
        )

    lines = "".join(f"<tr>{cells(row, 'td')}</tr>\n" for row in rows)
    head = f"<thead><tr>{cells(tuple(map(escape, headings)), 'th')}</tr></thead>"
    return f'<div class="wide"><table>{head}\n<tbody>{lines}</tbody></table></div>' if lines else ""


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>\n{content}" if content else ""


def _result(report: Report) -> str:
    lines = [
        f"<p><strong>{escape(_SAYS[report.result])}</strong> in {duration(report.seconds)}</p>"
    ]
    if report.failure:
        lines.append(f"<p>{escape(report.failure.message)}</p>")
        if report.failure.hint:
            lines.append(f"<p>What to do: {escape(report.failure.hint)}</p>")
    commit = f"commit <code>{escape(report.commit[:12])}</code>" if report.commit else ""
    when = escape(instant(report.date)) if report.date else ""
    facts = ", ".join(filter(None, (commit, when, "changes beside it" if report.dirty else "")))
    return "\n".join((*lines, f'<p class="soft">{facts}</p>' if facts else ""))


def _images(report: Report) -> str:
    rows = [row for image in report.images for row in _image_rows(report, image)]
    headings = (
        *("image", "platform", "size", "budget", "growth", "update", "time", "CPU", "cached"),
        "origin",
    )
    return _section("Images", html_table(headings, rows, frozenset({2, 3, 5, 6, 7, 8})))


def _image_rows(report: Report, image: ImageReport) -> Iterator[tuple[str, ...]]:
    costs = {(job.image, job.platform): cost for job, cost in report.metrics.items()}
    for part in image.platforms:
        cost = costs.get((image.name, part.platform))
        change = report.changes.get(Job(image.name, part.platform))
        yield (
            escape(image.name),
            escape(str(part.platform)),
            size(part.size) if part.size else "",
            escape(_budget(report, image.name)),
            escape(str(change)) if change else "",
            size(change.update) if change else "",
            duration(cost.seconds) if cost else "",
            duration(cost.cpu_seconds) if cost and cost.cpu_seconds else "",
            f"{cost.cached_steps}/{cost.steps}" if cost else "",
            f'<span title="{escape(part.reason)}">{escape(part.origin.value)}</span>',
        )


def _budget(report: Report, image: str) -> str:
    budget = report.budgets.get(image)
    if budget is None:
        return ""
    most = size(budget.size) if budget.size is not None else ""
    return ", ".join(filter(None, (most, f"+{budget.growth}" if budget.growth else "")))


def _limits(report: Report) -> tuple[ValueLevel, ...]:
    """Give the size budgets as levels of the chart."""
    return tuple(
        ValueLevel(f"budget of {image}", budget.size)
        for image, budget in report.budgets.items()
        if budget.size is not None
    )


def _bytes(report: Report) -> str:
    """Give the largest layers of each image, a base as one, and the line that made them."""
    rows = [
        (escape(str(job)), *cells)
        for job, layers in sorted(report.layers.items(), key=lambda each: each[0])
        for cells in _layer_rows(layers)
    ]
    headings = ("image", "where", "instruction", "size", "share")
    return _section("Where the bytes are", html_table(headings, rows, frozenset({3, 4})))


def _layer_rows(layers: Sequence[LayerSize]) -> Iterator[tuple[str, ...]]:
    whole = sum(each.size for each in layers)
    own = sorted((each for each in layers if not each.base), key=lambda each: -each.size)
    base = whole - sum(each.size for each in own)
    rest = sum(each.size for each in own[_LARGE_LAYERS:])
    rows = [(f"{each.file}:{each.line}", each.text, each.size) for each in own[:_LARGE_LAYERS]]
    rows += [("", text, size) for text, size in (("smaller layers", rest), ("base", base)) if size]
    for place, text, bytes_ in rows:
        said = escape(shortened(one_line(text)))
        share = f"{bytes_ / whole:.0%}" if whole else ""
        yield escape(place), f"<code>{said}</code>" if place else said, size(bytes_), share


def _trends(runs: Sequence[Run], limits: Sequence[ValueLevel] = ()) -> str:
    shown = [run for run in runs if run.is_published][-_CHART_RUNS:]
    names = [run.title for run in shown]
    jobs = sorted({(job.image, job.platform) for run in shown for job in run.jobs})

    def line(key: tuple[str, str], value: Callable[[RunJob], float | None]) -> Line:
        found = (run.job(*key) for run in shown)
        return Line(" ".join(key), tuple(value(job) if job else None for job in found))

    def cpu(*, warm: bool) -> list[Line]:
        return [line(key, lambda job: _built_cpu(job, warm=warm)) for key in jobs]

    cached = [None if run.cache_share is None else 100 * run.cache_share for run in shown]
    drawn = (
        chart(
            "Image sizes",
            names,
            [line(key, lambda job: job.size or None) for key in jobs],
            lambda value: size(round(value)),
            limits,
        ),
        chart("CPU seconds of cold builds", names, cpu(warm=False), duration),
        chart("CPU seconds of builds with cached steps", names, cpu(warm=True), duration),
        chart("Cached steps", names, [Line("all images", tuple(cached))], lambda v: f"{v:.0f} %"),
    )
    return _section("Over time", "\n".join(filter(None, drawn)))


def _built_cpu(job: RunJob, *, warm: bool) -> float | None:
    return job.cpu_seconds if job.is_built and job.is_warm is warm and job.cpu_seconds else None


def _slowest_steps(report: Report) -> str:
    steps = sorted(
        (
            (each.seconds, job, each)
            for job, cost in report.metrics.items()
            for each in cost.times
            if each.seconds
        ),
        key=lambda entry: -entry[0],
    )
    rows = (
        (
            escape(str(job)),
            str(each.line or ""),
            f"<code>{escape(shortened(one_line(each.text)))}</code>",
            duration(seconds),
        )
        for seconds, job, each in steps[:_SLOW_STEPS]
    )
    return _section(
        "Slowest steps", html_table(("build", "line", "step", "time"), rows, frozenset({1, 3}))
    )


def _registries(report: Report) -> str:
    rows = (
        (
            escape(target.repository),
            escape(", ".join(str(tag.tag) for tag in target.live)) or "no tag",
            size(target.bytes_sent) if target.bytes_sent else "",
            escape(target.error),
        )
        for target in report.targets
    )
    headings = ("repository", "tags that name it", "sent", "what is wrong")
    return _section("Registries", html_table(headings, rows, frozenset({2})))


def _statements(report: Report) -> str:
    rows = (
        (escape(each.subject), escape(", ".join(each.kinds)), f"<code>{each.referrer}</code>")
        for each in report.statements
    )
    return _section("Statements", html_table(("of", "says", "referrer"), rows))


def _cost(report: Report, prices: CostSettings) -> str:
    minutes = sum(cost.seconds for cost in report.metrics.values()) / 60
    sent = report.bytes_sent / 1e9
    rows = [
        (what, f"{amount:.2f} {unit}", f"{Decimal(amount) * price:.4f} {escape(prices.currency)}")
        for what, amount, unit, price in (
            ("builds", minutes, "minutes", prices.runner_minute),
            ("storage, a month", sent, "GB", prices.storage_gb_month),
            ("transfer", sent, "GB", prices.transfer_gb),
        )
        if price
    ]
    return _section(
        "Cost", html_table(("what", "how much", "at your prices"), rows, frozenset({1, 2}))
    )


def _warnings(report: Report) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in report.warnings)
    return _section("Warnings", f"<ul>{items}</ul>" if items else "")


def _runs_table(runs: Sequence[Run]) -> str:
    rows = (
        (
            escape(f"{run.at:%Y-%m-%d %H:%M}"),
            escape(run.title),
            escape(run.result),
            duration(run.seconds),
            "" if run.cache_share is None else f"{run.cache_share:.0%}",
            size(run.bytes_sent) if run.bytes_sent else "",
        )
        for run in reversed(runs)
    )
    headings = ("when (UTC)", "what", "result", "time", "cached", "sent")
    return _section("Runs", html_table(headings, rows, frozenset({3, 4, 5})))


def _foot(report: Report) -> str:
    made = ", ".join(filter(None, (f"podbuild {report.podbuild}", report.engine)))
    numbers = (
        f"{report.requests} requests, {report.retries} retries, {size(report.bytes_sent)} sent"
    )
    return f'<p class="soft">{escape(made)}. {numbers}.</p>'
