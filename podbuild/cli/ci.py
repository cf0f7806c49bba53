"""`podbuild ci init`, `print`, `check` and `matrix`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from podbuild.cli.options import Common, common_options, option
from podbuild.cli.session import open_session
from podbuild.commands import ci
from podbuild.commands.pipeline import model
from podbuild.config import toml

if TYPE_CHECKING:
    from podbuild.system.records import JSONValue

_SYSTEMS = ("github", "gitlab", "kubernetes", "tekton")
_system = click.argument("system", type=click.Choice(_SYSTEMS), metavar="|".join(_SYSTEMS))


@click.group(
    epilog="\b\nExamples:\n  podbuild ci init github\n  podbuild ci check\n"
    "  podbuild ci matrix --slices 4"
)
def command() -> None:
    """Write pipelines that build each platform where it is native, and release once.

    Each platform is a leg, a job of its own that pushes by digest and hands over a few KB; the
    join moves the tags when all legs are there. [ci] in podbuild.toml says who builds what.
    """


@command.command(
    epilog="\b\nExamples:\n  podbuild ci init github\n"
    "  podbuild ci init gitlab --output .gitlab/podbuild.yml"
)
@_system
@option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write this file; default: where the system looks for it.",
)
@common_options
def init(common: Common, system: str, output: Path | None) -> None:
    """Write the pipeline of this project. Never overwrites."""
    with open_session(common) as session:
        config, kind = session.config(), model.CiSystem(system)
        top = ci.repository_top(config, session.runner)
        file = session.directory / output if output else ci.pipeline_file(config, kind, top)
        ci.write_pipeline(file, ci.pipeline_text(config, kind, top))
        session.ui.give(toml.shown(file), {"schema": 1, "written": [str(file)]})
        session.ui.info("next: look at its comments, and commit it; `podbuild ci check` watches it")


@command.command(
    "print",
    epilog="\b\nExamples:\n  podbuild ci print github\n"
    "  podbuild ci print tekton | kubectl apply -f -",
)
@_system
@common_options
def print_(common: Common, system: str) -> None:
    """Print the pipeline of this project."""
    with open_session(common) as session:
        config = session.config()
        text = ci.pipeline_text(
            config, model.CiSystem(system), ci.repository_top(config, session.runner)
        )
        session.ui.give(text.rstrip("\n"), {"schema": 1, "pipeline": text})


@command.command(
    epilog="\b\nExamples:\n  podbuild ci check\n  podbuild ci check .gitlab/podbuild.yml"
)
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path))
@common_options
def check(common: Common, files: tuple[Path, ...]) -> None:
    """Say whether the pipelines that are there still fit podbuild.toml (exit 10: not)."""
    with open_session(common) as session:
        config = session.config()
        top = ci.repository_top(config, session.runner)
        named = (session.directory / each for each in files)
        fit = ci.check_pipelines(config, top, named)
        session.ui.give(
            "\n".join(f"{toml.shown(file)}: fits podbuild.toml" for file in fit),
            {"schema": 1, "fits": [str(file) for file in fit]},
        )


@command.command(
    epilog="\b\nExamples:\n  podbuild ci matrix\n  podbuild ci matrix --slices 4 >> legs.json"
)
@option(
    "--slices",
    type=click.IntRange(1),
    metavar="N",
    help="Legs for each platform, which share its images; default: [ci] slices.",
)
@option("--all", "every", is_flag=True, help="Also what has not changed since it was published.")
@option(
    "--system",
    type=click.Choice(_SYSTEMS),
    default="github",
    show_default=True,
    help="Whose runners are named.",
)
@common_options
def matrix(common: Common, slices: int | None, every: bool, system: str) -> None:
    """Print the legs of a run as JSON: platform, runner, and the images that have changed.

    The form is that of a matrix of GitHub Actions. What is left out has not changed since it
    was published, and `podbuild release --from` finds it there. There is always one leg.
    """
    with open_session(common) as session:
        services = session.services()
        legs = ci.needed_legs(
            services,
            model.CiSystem(system),
            slices=slices or services.config.ci.slices,
            every=every,
        )
        found: list[JSONValue] = [each.to_json() for each in legs]
        session.ui.give(json.dumps({"include": found}), {"schema": 1, "legs": found})
