"""Try images before they get a tag: what is shown, recorded and found of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from podbuild.build.engines import Engines
from podbuild.build.examine.trying import Tries, failures, slow_starts
from podbuild.build.inputs.lint import Finding, Level
from podbuild.build.model import TrialOutcome, TrialResult
from podbuild.commands.record import Recorder
from podbuild.config.model import Config
from podbuild.config.toml import line_of, read_config, shown
from podbuild.config.trials import OverBudget
from podbuild.oci.manifest import Manifest
from podbuild.oci.store import Store
from podbuild.plan.model import Job
from podbuild.system.console import Ui
from podbuild.system.console.text import duration


def try_images(
    engines: Engines,
    source: Callable[[str], Store],
    images: Mapping[Job, Manifest],
    record: Recorder,
    *,
    anew: bool = False,
) -> tuple[Finding, ...]:
    """Give what the tests of some images find, all of them tried; the recorder hears of each."""
    ui = engines.services.ui
    tries = Tries(engines=engines, source=source, anew=anew, hear=lambda each: _show(ui, each))
    results = tries.carry_out(images)
    record.tried(results)
    for each in results:
        if each.outcome is TrialOutcome.SKIPPED and not each.earlier:
            ui.info(f"{each.job}: {each.name} says nothing: {each.why}")
    earlier = sum(each.earlier for each in results)
    if earlier:
        ui.info(f"{earlier} of {len(results)} tests were passed by the same images before")
    config = engines.services.config
    return (
        *failures(results, config.output, lambda each: _place(config, _way(each))),
        *slow_starts(results, dict(_limits(config, {each.job.image for each in results}))),
    )


def _show(ui: Ui, result: TrialResult) -> None:
    ready = f", ready after {duration(result.ready)}" if result.ready is not None else ""
    if result.outcome is TrialOutcome.PASSED:
        ui.info(f"{result.job}: {result.name}: passed in {duration(result.seconds)}{ready}")
    elif result.outcome is TrialOutcome.FAILED:
        ui.block(f"{result.job}: {result.name}: {result.why}", result.tail, failed=True)


def _way(result: TrialResult) -> tuple[str | int, ...]:
    way = ("images", result.job.image)
    return (*way, "healthcheck") if result.test is None else (*way, "tests", result.test)


def _place(config: Config, way: tuple[str | int, ...]) -> tuple[str, int]:
    return shown(config.path), line_of(read_config(config.path), way)


def _limits(
    config: Config, names: Iterable[str]
) -> Iterator[tuple[str, tuple[float, Level, str, int]]]:
    for name in names:
        budget = config.image(name).budget
        if budget.ready is not None:
            level = Level.WARNING if budget.on is OverBudget.WARN else Level.ERROR
            way = ("images", name, "budget", "ready")
            yield name, (budget.ready, level, *_place(config, way))
