"""What runs leave: a page, numbers and a trace, and an entry for each, here and where all find it.

Nothing here is needed by a release: what fails is a note, but where the configuration says that
a regression fails.
"""

from __future__ import annotations

import os
import secrets
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from podbuild.build import cache as layer_cache
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.commands import notify
from podbuild.config.following import OnRegression
from podbuild.config.model import Config
from podbuild.config.output import ReportFile
from podbuild.config.template import Placeholders
from podbuild.config.toml import shown
from podbuild.errors import PodbuildError, PolicyError, best_effort
from podbuild.oci import delete
from podbuild.oci.names import Repository
from podbuild.plan.git.history import ci_facts
from podbuild.publish import retention
from podbuild.publish.history import (
    FolderHistory,
    HistoryPlace,
    RegistryHistory,
    fold,
    read_all,
)
from podbuild.report import metrics_text, page
from podbuild.report.model import ReleaseResult, Report
from podbuild.report.runs import (
    MONTH_NAME,
    RUN_NAME,
    Machine,
    Regression,
    Run,
    is_whole,
    merged,
    packed,
    regressions,
    run_of,
    unpacked,
)
from podbuild.system.files import write_atomically
from podbuild.workspace import Services

if TYPE_CHECKING:
    from podbuild.oci.store import Store
    from podbuild.publish.retention.removers import Removers

LOOKED_AT = 60  # runs that a release compares with and that its page shows


@dataclass(frozen=True, kw_only=True)
class HistoryPlaces:
    """Where entries lie: this machine's own folder, and what all machines share, if anything."""

    own: FolderHistory
    shared: HistoryPlace | None


def history_repository(config: Config) -> Repository | None:
    """Give the repository of the history; None where there is none.

    Raises ConfigError for a variable that is not set and for what is no repository.
    """
    template = config.history.repository
    if template is None and config.history.folder is None:
        template = config.cache.repository
        if template is not None and "image" in template.names:
            return None
    if template is None:
        return None
    values = Placeholders(project=config.project.name, env=config.env)
    return Repository.parse(template.expand(values).lower())


def _own_place(services: Services) -> FolderHistory:
    folder = services.folders.of_project("history", services.config.root)
    return FolderHistory(folder, "podbuild's own folder")


def open_places(services: Services) -> HistoryPlaces:
    """Open the places of this project's history; raises ConfigError, CredentialError."""
    config = services.config
    own = _own_place(services)
    if config.history.folder is not None:
        folder = config.history.folder
        return HistoryPlaces(own=own, shared=FolderHistory(folder, shown(folder)))
    repository = history_repository(config)
    if repository is None:
        return HistoryPlaces(own=own, shared=None)
    registries = services.opener.registries
    store: Store = layer_cache.open.open_cache_store(config, registries, repository)

    def remover() -> delete.Remover:
        removers: Removers = retention.removers.Removers(registries)
        return removers.open(layer_cache.open.cache_registry(config, repository), store)

    return HistoryPlaces(own=own, shared=RegistryHistory(store, remover))


def read_runs(
    services: Services, places: HistoryPlaces, last: int | None = None
) -> tuple[Run, ...]:
    """Give the runs that are remembered, the oldest first; `last` reads no more than so many.

    Entries never change, so those of a registry that were read once are kept on this machine.
    What a place refuses is a note.
    """
    own = _read(services, places.own, last, frozenset())
    if places.shared is None:
        return own[-last:] if last else own
    known = {run.name for run in own}
    found = _read(services, places.shared, last, known)
    for run in found:
        if run.name not in known and isinstance(places.shared, RegistryHistory):
            _keep(services, places.own, run)
    every = merged(own, found)
    return every[-last:] if last else every


def _read(
    services: Services, place: HistoryPlace, last: int | None, known: Collection[str]
) -> tuple[Run, ...]:
    lacking = f"the history in {place.shown} can't be read"
    note = services.ui.note

    def unread(name: str) -> None:
        note(f"{name} in {place.shown} is no entry that this podbuild can read")

    return best_effort(lambda: _runs(place, last, known, unread), note, lacking, ())


def _runs(
    place: HistoryPlace, last: int | None, known: Collection[str], unread: Callable[[str], None]
) -> tuple[Run, ...]:
    """Read entries, and the months before as far as they are needed; `unread` is told of others."""

    def entries(name: str, data: bytes) -> tuple[Run, ...]:
        if not is_whole(data):
            unread(name)
        return unpacked(data)

    names = place.names()
    single = sorted(name for name in names if RUN_NAME.fullmatch(name))
    months = sorted(name for name in names if MONTH_NAME.fullmatch(name))
    wanted = single[-last:] if last else single
    found = [
        run
        for name, data in read_all(place, (each for each in wanted if each not in known)).items()
        for run in entries(name, data)
    ]
    left = None if last is None else last - len(wanted)
    for month in reversed(months):
        if left is not None and left <= 0:
            break
        folded = entries(month, place.read(month) or b"[]")
        found += folded
        left = None if left is None else left - len(folded)
    return merged(found)


def _keep(services: Services, place: HistoryPlace, run: Run) -> None:
    lacking = f"this run is not remembered in {place.shown}"
    data = packed([run])[1:-1]  # the entry alone, without the list
    best_effort(lambda: place.write(run.name, data), services.ui.note, lacking, None)


def runner_facts(environment: Mapping[str, str]) -> Machine:
    """Give what kind of machine this is; nothing that tells which one."""
    cpus = len(os.sched_getaffinity(0))
    return Machine(cpus=cpus, arch=native_architecture(), ci=ci_facts(environment).system)


def entry_of(services: Services, clean: Report) -> Run:
    """Give the entry of a run that has just ended, from a report from which secrets were cut."""
    mark = secrets.token_hex(2)
    return run_of(clean, runner_facts(services.environment), datetime.now(UTC), mark)


def remember(services: Services, run: Run) -> None:
    """Keep an entry on this machine and where all machines find it. What fails is a note."""

    def keep() -> None:
        places = open_places(services)
        _keep(services, places.own, run)
        if places.shared is not None:
            _keep(services, places.shared, run)

    best_effort(keep, services.ui.note, "this run is not remembered", None)


def remember_here(services: Services, run: Run) -> None:
    """Keep an entry on this machine alone. What fails is a note."""
    _keep(services, _own_place(services), run)


def earlier_runs(services: Services) -> tuple[Run, ...]:
    """Give the runs that a release is compared with; none where they can't be had."""
    return best_effort(
        lambda: read_runs(services, open_places(services), LOOKED_AT),
        services.ui.note,
        "no earlier run is compared with",
        (),
    )


def what_grew(earlier: Iterable[Run], run: Run) -> tuple[Regression, ...]:
    """Give what is slower than usual, the second time in a row."""
    return regressions(merged(earlier), run)


@dataclass(frozen=True, kw_only=True)
class Tidied:
    """What pruning did with the history of one place, or would do."""

    place: str
    folded: Mapping[str, int]  # by month, yyyymm: how many entries
    dropped: tuple[str, ...]  # names of months and entries
    error: str = ""


def tidy(services: Services, *, apply: bool, now: datetime | None = None) -> tuple[Tidied, ...]:
    """Fold months that are over, and drop what is older than [history] keep.

    Without `apply` it only says what it would do. A place that fails is told in `error`.
    """
    moment = now or datetime.now(UTC)
    oldest = moment - timedelta(seconds=services.config.history.keep)
    places = open_places(services)
    every: list[HistoryPlace] = [places.own, *([places.shared] if places.shared else [])]
    return tuple(_tidied(place, moment, oldest, apply=apply) for place in every)


def _tidied(place: HistoryPlace, now: datetime, oldest: datetime, *, apply: bool) -> Tidied:
    try:
        months, dropped = _over(place.names(), now, oldest)
        folded = {month: len(names) for month, names in months.items()}
        if apply:
            for month, names in months.items():
                folded[month] = fold(place, month, names, _pack, is_whole)
            for name in dropped:
                place.remove(name)
    except PodbuildError as error:
        if error.is_stop:
            raise
        return Tidied(place=place.shown, folded={}, dropped=(), error=error.message)
    done = {month: count for month, count in folded.items() if count}
    return Tidied(place=place.shown, folded=done, dropped=dropped)


def _over(
    names: Iterable[str], now: datetime, oldest: datetime
) -> tuple[Mapping[str, list[str]], tuple[str, ...]]:
    """Give the entries of months that are over, by month, and the names of what is too old."""
    months: dict[str, list[str]] = defaultdict(list)
    dropped = []
    for name in sorted(names):
        single, month = RUN_NAME.fullmatch(name), MONTH_NAME.fullmatch(name)
        if (month and month[1] < f"{oldest:%Y%m}") or (
            single and single[1] < f"{oldest:%Y%m%dT%H%M%SZ}"
        ):
            dropped.append(name)
        elif single and single[1][:6] < f"{now:%Y%m}":
            months[single[1][:6]].append(name)
    return months, tuple(dropped)


def _pack(several: Iterable[bytes]) -> bytes:
    return packed(run for data in several for run in unpacked(data))


_TRACES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def leave(services: Services, report: Report) -> PolicyError | None:
    """Write, keep and tell what a run leaves that was to publish all that is configured.

    Gives the failure where a regression is one.
    """
    clean = services.ui.redactor.cut_value(report)
    run, earlier = entry_of(services, clean), earlier_runs(services)
    grown = what_grew(earlier, run) if report.result is ReleaseResult.PUBLISHED else ()
    for each in grown:
        services.ui.warn(each.text)
    clean = replace(clean, warnings=(*clean.warnings, *(each.text for each in grown)))
    _write(services, clean, run, earlier)
    remember(services, run)
    if services.config.notify.command or services.config.notify.webhook_env:
        notify.tell(services, clean, grown)
    if grown and services.config.history.on is OnRegression.FAIL:
        return PolicyError(
            f"the release is out; {grown[0].text}",
            hint='`podbuild history` shows the runs before; [history] on = "warn" only warns',
            details=tuple(each.text for each in grown[1:]),
        )
    return None


def leave_unpublished(services: Services, report: Report) -> None:
    """Write what a run leaves that publishes nothing, or a part, and keep it on this machine.

    Nobody is told: such is a pull request's job, and its file names who and by which command.
    """
    clean = services.ui.redactor.cut_value(report)
    run = entry_of(services, clean)
    _write(services, clean, run, ())
    remember_here(services, run)


def _write(services: Services, clean: Report, run: Run, earlier: Sequence[Run]) -> None:
    """Write the page, the numbers and the trace of a report from which secrets were cut."""
    texts = {
        ReportFile.PAGE: page.release_page(clean, merged(earlier, (run,)), services.config.cost),
        ReportFile.NUMBERS: metrics_text.metrics_text(clean),
        ReportFile.TRACE: metrics_text.trace_json(clean),
    }
    for name, text in texts.items():
        data, path = text.encode("utf-8", "replace"), services.config.output / name
        write = partial(write_atomically, path, data)
        best_effort(write, services.ui.warn, f"{name} can't be written", None)
    if any(map(services.environment.get, _TRACES)):
        notify.send_trace(services, clean, run.name)
