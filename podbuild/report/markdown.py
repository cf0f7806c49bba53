"""The summary of a release as GitHub-flavoured Markdown: summary.md and the step summary."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Sequence

from podbuild.build.model import Metrics, Origin
from podbuild.plan.model import Job
from podbuild.report.model import ImageReport, ReleaseResult, Report, TagOutcome
from podbuild.report.text import run_line, statement_lines, trial_lines
from podbuild.system.console.text import duration, one_line, shortened, size

LIMIT = 1024 * 1024  # bytes of a step's summary; GitHub refuses longer ones whole

_SLOWEST = 5  # steps that are shown
_WORTH_SHOWING = 1.0  # seconds of a step
_FENCE = "```"
_CUT = "\n\nThe rest is left out here: this summary has reached its limit of 1 MiB.\n"
_ACTIVE = re.compile(r"([\\`*_\[\]<>#|~&@$])")


def summary_markdown(report: Report) -> str:
    """Give the summary, at most LIMIT bytes, ending with a whole line."""
    sections = (
        (f"## {text(report.project)} {text(report.name)}: {report.result}",),
        _failure(report),
        (_facts(report),),
        _images(report),
        _targets(report),
        _slowest(report),
        _bullets("Tests", [text(line) for line in trial_lines(report)]),
        _left_out(report),
        _removed(report),
        _bullets("Attached", [text(line) for line in statement_lines(report)]),
        _verify(report),
        _bullets("Warnings", [text(warning) for warning in report.warnings]),
        _run(report),
    )
    blocks = ("\n".join(section) for section in sections)
    return cut("\n\n".join(block for block in blocks if block) + "\n")


def cut(markdown: str, limit: int = LIMIT) -> str:
    r"""Give the whole lines that fit into `limit` bytes, and say so when some are left out.

    >>> cut("short\n")
    'short\n'
    """
    data = markdown.encode("utf-8", "replace")
    if len(data) <= limit:
        return markdown
    room = limit - len(_CUT) - len(_FENCE) - 1
    if room < 0:
        return ""
    whole = data[: data.rfind(b"\n", 0, room) + 1].decode().rstrip("\n")
    is_open = sum(line.startswith(_FENCE) for line in whole.split("\n")) % 2
    return f"{whole}\n{_FENCE}{_CUT}" if is_open else whole + _CUT


def text(value: str) -> str:
    r"""Give text that Markdown shows as it is, on one line.

    >>> text("a|b <c>\n*d*")
    'a\\|b \\<c\\> \\*d\\*'
    """
    return _ACTIVE.sub(r"\\\1", one_line(value))


def code(value: str) -> str:
    """Give text as code, also inside a table.

    >>> code("a`b|c")
    "`a'b¦c`"
    """
    plain = one_line(value).replace("`", "'").replace("|", "¦")
    return f"`{plain}`" if plain else ""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Give the lines of a table; cells are Markdown already. No row, no lines."""
    if not rows:
        return
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _facts(report: Report) -> str:
    found = [
        f"commit {code(report.commit[:12])}",
        f"{duration(report.seconds)}",
        f"{size(report.bytes_sent)} sent",
        f"requests: {report.requests}" if report.requests else "",
        f"retries: {report.retries}" if report.retries else "",
        f"previous {code(report.previous_tag)}" if report.previous_tag else "",
        "work tree not clean" if report.dirty else "",
        text(report.engine),
    ]
    return " · ".join(part for part in found if part)


def _failure(report: Report) -> tuple[str, ...]:
    failure = report.failure
    if failure is None:
        return ()
    lines = [f"**{text(failure.message)}** (exit code {failure.exit_code})"]
    if failure.hint:
        lines += ["", f"hint: {text(failure.hint)}"]
    if _moved_nothing(report):
        lines += ["", "No tag was moved."]
    return tuple(lines)


def _moved_nothing(report: Report) -> bool:
    """Tell whether a failed release has left all of its tags as they were."""
    outcomes = {tag.outcome for target in report.targets for tag in target.tags}
    touched = {TagOutcome.MOVED, TagOutcome.UNDONE, TagOutcome.UNCERTAIN}
    return report.result is ReleaseResult.FAILED and bool(outcomes) and not outcomes & touched


def _images(report: Report) -> tuple[str, ...]:
    rows = []
    for image in report.images:
        for part in image.platforms:
            cost = report.metrics.get(Job(image.name, part.platform))
            change = report.changes.get(Job(image.name, part.platform))
            cached = _cached(cost) if cost and cost.steps else ""
            rows.append(
                (
                    text(image.name),
                    text(str(part.platform)),
                    code(str(part.digest)),
                    size(part.size),
                    text(str(change)) if change else "",
                    size(change.update) if change else "",
                    duration(part.seconds) if part.origin is Origin.BUILT else "",
                    cached,
                    text(f"{part.origin}{': ' if part.reason else ''}{part.reason}"),
                )
            )
    header = ("image", "platform", "digest", "size", "growth", "update", "time", "cached", "origin")
    left = () if report.changes else ("growth", "update")
    lists = [_index(image) for image in report.images if image.is_index and image.digest]
    return (*table(*_without(left, header, rows)), *(("", *lists) if lists else ()))


def _without(
    names: Collection[str], header: Sequence[str], rows: Iterable[Sequence[str]]
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Leave out columns."""
    kept = [place for place, name in enumerate(header) if name not in names]
    return [header[place] for place in kept], [tuple(row[p] for p in kept) for row in rows]


def _cached(cost: Metrics) -> str:
    pulled = f" ({cost.pulled_steps} pulled)" if cost.pulled_steps else ""
    return f"{cost.cached_steps}/{cost.steps}{pulled}"


def _index(image: ImageReport) -> str:
    return f"- {text(image.name)}: index {code(str(image.digest))}"


def _slowest(report: Report) -> tuple[str, ...]:
    """Show the steps that took longest, of those that ran."""
    ran = [
        (each, job)
        for job, cost in report.metrics.items()
        for each in cost.times
        if not each.cached and each.seconds >= _WORTH_SHOWING
    ]
    rows = [
        (
            text(str(job)),
            str(each.line or ""),
            code(shortened(one_line(each.text))),
            duration(each.seconds),
        )
        for each, job in sorted(ran, key=lambda pair: -pair[0].seconds)[:_SLOWEST]
    ]
    lines = tuple(table(("image", "line", "step", "time"), rows))
    return ("### Slowest steps", "", *lines) if lines else ()


def _targets(report: Report) -> tuple[str, ...]:
    rows = [
        (
            text(target.registry),
            code(target.repository),
            ", ".join(code(str(tag.tag)) for tag in target.live),
            text(target.error),
        )
        for target in report.targets
    ]
    return tuple(table(("registry", "repository", "tags", "trouble"), rows))


def _left_out(report: Report) -> tuple[str, ...]:
    items = [
        f"{code(tag.reference)} {tag.outcome}{': ' if tag.reason else ''}{text(tag.reason)}"
        for _, tag in report.left_out
    ]
    return _bullets("Tags that were not moved", items)


def _removed(report: Report) -> tuple[str, ...]:
    rows = [
        (code(gone.repository), code(gone.what), text(gone.outcome.value), text(gone.reason))
        for gone in report.removed
    ]
    lines = tuple(table(("repository", "superseded", "outcome", "reason"), rows))
    return ("### Cleanup", "", *lines) if lines else ()


def _bullets(title: str, items: Sequence[str]) -> tuple[str, ...]:
    return (f"### {title}", "", *(f"- {item}" for item in items)) if items else ()


def _verify(report: Report) -> tuple[str, ...]:
    if not report.statements or not report.verify:
        return ()
    head = f"**Verify**: {text(report.attest)}"
    return (head, "", f"{_FENCE}sh", *map(one_line, report.verify), _FENCE)


def _run(report: Report) -> tuple[str, ...]:
    first = [target.live[0] for target in report.targets if target.live]
    pulls = [f"podman pull {shlex.quote(tag.reference)}" for tag in first]
    line = run_line(report)
    return (f"{_FENCE}sh", line, *sorted(pulls), _FENCE) if line else ()
