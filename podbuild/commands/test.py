"""`podbuild test`: try what is staged, and publish nothing."""

from __future__ import annotations

from podbuild.build.engines import source_of
from podbuild.build.examine.children import Judged
from podbuild.build.images import staged_before
from podbuild.commands.build import open_staged
from podbuild.commands.trials import try_images
from podbuild.errors import ConfigError
from podbuild.plan.model import Job, Request
from podbuild.report.model import Report
from podbuild.workspace import Services


def try_staged(services: Services, request: Request) -> Report:
    """Try what is staged; raises PolicyError for what fails, ConfigError where nothing is staged.

    The results are kept: a release does not try the same images again.
    """
    with open_staged(services, request) as opened:
        engines, record = opened.engines, opened.record
        staged = staged_before(engines)
        asked = {job for job in engines.plan.jobs if _is_asked(request, job)}
        images = {job: each.manifest for job, each in staged.images.items() if job in asked}
        if not images:
            raise ConfigError("nothing is staged", hint="podbuild build")
        record.staged(staged)
        source = source_of(opened.planned, engines.staging)
        with engines, record.step("test"):
            found = Judged(findings=try_images(engines, source, images, record, anew=True))
        for each in found.warnings:
            record.warn(str(each))
        found.check()
        if not record.report().tests:
            services.ui.info("these images have no tests")
        return record.report()


def _is_asked(request: Request, job: Job) -> bool:
    return (not request.images or job.image in request.images) and (
        not request.platforms or job.platform in request.platforms
    )
