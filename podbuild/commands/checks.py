"""Commands of the user's that judge images: asked for before anything is built, and between."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from podbuild.build.examine.commands import Checks, refused_images
from podbuild.build.inputs.lint import Finding
from podbuild.commands.record import Recorder
from podbuild.config.secrecy import secret_variables
from podbuild.config.toml import line_of, read_config, shown
from podbuild.oci.manifest import Manifest
from podbuild.oci.store import Store
from podbuild.plan.model import Job
from podbuild.workspace import Services


def checks_of(services: Services) -> Checks:
    """Give the commands of a project, ready to be run."""
    config = services.config
    return Checks(
        commands=config.checks,
        root=config.root,
        output=config.output,
        cache=services.folders.cache,
        runner=services.runner,
        environment=services.environment,
        secrets=secret_variables(config),
        redactor=services.ui.redactor,
    )


def ask_commands(
    services: Services,
    source: Callable[[str], Store],
    images: Mapping[Job, Manifest],
    record: Recorder,
) -> tuple[Finding, ...]:
    """Give what the commands find in some images; the recorder hears of each."""
    config = services.config
    results = checks_of(services).carry_out(images, source)
    record.tried(results)
    for each in results:
        if each.why:
            services.ui.block(f"{each.job}: {each.name}: {each.why}", each.tail, failed=True)
        else:
            services.ui.info(f"{each.job}: {each.name}: passed, {each.log} has what it said")

    def place(number: int) -> tuple[str, int]:
        return shown(config.path), line_of(read_config(config.path), ("checks", number))

    return tuple(refused_images(results, config.output, place))
