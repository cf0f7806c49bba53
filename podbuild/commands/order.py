"""`podbuild check --order`: what the order of steps costs a commit, and what would save most."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from statistics import median

from podbuild.build.inputs.containerfile import read_containerfile
from podbuild.build.inputs.ignore import Matcher
from podbuild.build.inputs.lint import Finding, Level, Subject
from podbuild.build.inputs.order import (
    FEWEST,
    Advice,
    Churn,
    OrderQuestion,
    StepOrder,
    order_of,
)
from podbuild.build.inputs.readings import ignored_of_context
from podbuild.config.choices import Rule
from podbuild.config.image import Image
from podbuild.config.model import Config
from podbuild.config.output import ReportFile
from podbuild.config.template import VERSION_NAMES
from podbuild.config.toml import read_source, shown
from podbuild.errors import PodbuildError
from podbuild.plan.git.churn import COMMITS, recent_changes
from podbuild.system.console.text import duration
from podbuild.system.process import Runner
from podbuild.system.records import json_in

_CHANGING = VERSION_NAMES | {"sha", "branch"}


def check_order(config: Config, runner: Runner) -> tuple[Finding, ...]:
    """Give what the order of steps costs each image, with the seconds of its last build.

    Files are never rewritten. What is wrong with a Containerfile `check_project` says.
    """
    changes = recent_changes(runner, config.root)
    if len(changes) < FEWEST:
        return (
            Finding(
                level=Level.NOTE,
                file=shown(config.path),
                message=f"{len(changes)} commits are known here, too few to say what the order of "
                f"steps costs (at least {FEWEST})",
                hint=f"git fetch --depth {COMMITS}" if changes else "a git repository has them",
            ),
        )
    times = step_seconds(config.output / ReportFile.METRICS)
    found: list[Finding] = []
    for image in config.images:
        with suppress(PodbuildError):
            found += _of_image(config, image, changes, times.get(image.name, {}))
    return tuple(dict.fromkeys(found))


def step_seconds(metrics: Path) -> Mapping[str, Mapping[str, float]]:
    """Give how long each step took when it ran, by image and the step's text; medians (seconds)."""
    value = json_in(metrics)
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    jobs = value.get("jobs") if isinstance(value, dict) else None
    for job in jobs if isinstance(jobs, list) else ():
        match job:
            case {"image": str(image), "step_times": list(steps)}:
                for step in steps:
                    match step:
                        case {"text": str(text), "seconds": int() | float() as s, "cached": False}:
                            found[image][text].append(float(s))
                        case _:
                            pass
            case _:
                pass
    return {
        image: {text: median(times) for text, times in steps.items()}
        for image, steps in found.items()
    }


def _of_image(
    config: Config,
    image: Image,
    changes: tuple[frozenset[Path], ...],
    seconds: Mapping[str, float],
) -> Iterator[Finding]:
    file = shown(image.containerfile)
    containerfile = read_containerfile(read_source(image.containerfile), where=file)
    subject = Subject(config=config, image=image, containerfile=containerfile, file=file)
    churn = Churn(
        context=image.context.resolve(),
        matcher=Matcher(ignored_of_context(image)),
        changes=changes,
    )
    order = order_of(
        OrderQuestion(
            containerfile=containerfile,
            target=image.target,
            variables=subject.variables,
            churn=churn,
            seconds=seconds,
            changing=frozenset(
                name for name, text in image.build_args.items() if text.names & _CHANGING
            ),
        )
    )
    if order.expected is not None and order.whole is not None:
        yield Finding(
            level=Level.NOTE,
            file=file,
            message=f"{image.name}: a commit costs about {duration(order.expected)} of its "
            f"{duration(order.whole)} (by the last {order.commits} commits)",
        )
    for each in order.advice:
        yield _advice(image, file, order, each)


def _advice(image: Image, file: str, order: StepOrder, each: Advice) -> Finding:
    saved = "" if each.seconds is None else f", some {duration(each.seconds)} a commit"
    first = f"COPY {' '.join(each.first)} ./ first, then " if each.first else ""
    needs = "needs no more than its own files" if each.first else "needs nothing of it"
    return Finding(
        level=Level.NOTE,
        file=file,
        line=each.run.line,
        message=f"{image.name}: in {each.share:.0%} of {order.commits} commits this runs again for "
        f"what line {each.above.line} copies, and it {needs}{saved}",
        hint=f"{first}this RUN above line {each.above.line}",
        rule=Rule.COPY_BEFORE_INSTALL,
        text=str(each.run),
    )
