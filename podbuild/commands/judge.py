"""Between assemble and publish: what is not fit to be published gets no tag."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from podbuild.build.attest import catalog
from podbuild.build.engines import Engines, source_of
from podbuild.build.examine import anatomy, hidden
from podbuild.build.examine.budget import over_budget
from podbuild.build.examine.children import Examination, Ignored
from podbuild.build.examine.growth import grown_too_much, size_changes, sizes_before
from podbuild.build.examine.programs import ANALYSES
from podbuild.build.inputs.lint import Finding
from podbuild.build.model import Staged
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.commands import checks, trials
from podbuild.commands.record import Recorder
from podbuild.config.attest import SbomSource
from podbuild.config.model import Config
from podbuild.config.toml import line_of, parse_toml, read_config, shown
from podbuild.oci.examine import LayerAnalysis
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Platform
from podbuild.plan.destination import Planned
from podbuild.plan.model import Job


def examination_of(engines: Engines) -> Examination:
    """Give what examines images as soon as they are staged."""
    services = engines.services
    return Examination(
        plan=engines.plan,
        staging=engines.staging,
        cache=services.folders.cache,
        build=Platform("linux", native_architecture()),
        ignored=Ignored(rules=frozenset(services.config.audit.ignore)),
        questions=questions_of(services.config),
        cancel=services.cancel,
    )


def questions_of(config: Config) -> tuple[LayerAnalysis, ...]:
    """Give all that a release asks of layers, an SBOM's too, so that each is read once."""
    if any(each.budget.hidden is not None for each in config.images):
        return anatomy.QUESTIONS
    if config.attest is None or config.attest.sbom is not SbomSource.AUTO:
        return ANALYSES
    return (*ANALYSES, catalog.PACKAGES)


def judge_images(
    engines: Engines,
    planned: Planned,
    staged: Staged,
    record: Recorder,
    examination: Examination,
) -> None:
    """Judge the image of every platform, all of them before any verdict.

    Raises PolicyError for one that can't start there, fails a test or is over its budget: no tag
    moves then.
    """
    services = engines.services
    images = {job: each.manifest for job, each in staged.images.items()}
    with record.step("examine"):
        sound = examination.judge(images)
        place = partial(_place, services.config)
        judged = sound.with_more(over_budget(engines.plan, images, partial(place, key="size")))
        judged = judged.with_more(_grown(engines, planned, images, record, place))
        judged = judged.with_more(_hidden(engines, images, examination, place))
        fit = {job: each for job, each in images.items() if job not in sound.faults}
        tests = (*_tried(engines, planned, fit, record), *_asked(engines, planned, fit, record))
        record.judged(judged.faults, judged.unread)
        record.weighed(examination.layers(images))
        judged = judged.with_more(tests)
        for each in judged.warnings:
            record.warn(str(each))
    judged.check()


def _grown(
    engines: Engines,
    planned: Planned,
    images: Mapping[Job, Manifest],
    record: Recorder,
    place: Callable[[str, str], tuple[str, int]],
) -> tuple[Finding, ...]:
    """Compare sizes with the version before; the report has them, whatever budgets say."""
    before = sizes_before(planned, engines.staging, record.warn)
    changes = size_changes(before, images)
    record.compared(changes)
    for image in planned.plan.images:
        if image.published and image.image.budget.growth and image.name not in before:
            engines.services.ui.info(f"{image.name}: nothing to compare its size with yet")
    return tuple(grown_too_much(planned, changes, place))


def _hidden(
    engines: Engines,
    images: Mapping[Job, Manifest],
    examination: Examination,
    place: Callable[[str, str], tuple[str, int]],
) -> tuple[Finding, ...]:
    if all(each.image.budget.hidden is None for each in engines.plan.images):
        return ()
    return tuple(hidden.over_hidden(examination, images, lambda name: place(name, "hidden")))


def _tried(
    engines: Engines, planned: Planned, images: Mapping[Job, Manifest], record: Recorder
) -> tuple[Finding, ...]:
    return trials.try_images(engines, source_of(planned, engines.staging), images, record)


def _asked(
    engines: Engines, planned: Planned, images: Mapping[Job, Manifest], record: Recorder
) -> tuple[Finding, ...]:
    if not engines.services.config.checks:
        return ()
    published = {
        job: each for job, each in images.items() if planned.plan.image(job.image).published
    }
    source = source_of(planned, engines.staging)
    return checks.ask_commands(engines.services, source, published, record)


def _place(config: Config, image: str, key: str) -> tuple[str, int]:
    """Give where a key of an image's budget is written: its own table, or [defaults]."""
    text = read_config(config.path)
    ways = (("images", image, "budget", key), ("defaults", "budget", key))
    way = ways[0] if _has(parse_toml(text, config.path), ways[0]) else ways[1]
    return shown(config.path), line_of(text, way)


def _has(document: object, way: tuple[str, ...]) -> bool:
    for step in way:
        if not isinstance(document, dict) or step not in document:
            return False
        document = document[step]
    return True
