"""What others wrote where a release is about to write."""

from __future__ import annotations

from collections.abc import Iterator

from podbuild.config.model import Config
from podbuild.config.output import OUTPUT_NAMES, foreign_names, own_logs
from podbuild.config.template import Template
from podbuild.config.toml import shown
from podbuild.errors import ConfigError
from podbuild.plan.git.worktree import tracked_files
from podbuild.system.process import Runner


def output_refusal(config: Config, runner: Runner) -> ConfigError | None:
    """Give why a release may not write into the output folder; None where it may.

    Only names that it is about to write count: a file beside its logs is nobody's business.
    """
    written = [*_about_to_be_written(config)]
    foreign = {*foreign_names(config.output)}
    if (config.output / "logs").is_dir():
        foreign.discard("logs")
    taken = [name for name in written if name in foreign]
    tracked = tracked_files(runner, config.root, [config.output / name for name in written])
    if not taken and not tracked:
        return None
    what = (
        f"{shown(config.output / taken[0])} was not written by podbuild"
        if taken
        else f"{shown(tracked[0])} is tracked by git"
    )
    return ConfigError(
        f"{what}, and would be written over",
        hint=f'[project] output = "{config.output.name}/podbuild", or another folder of its own',
    )


def _about_to_be_written(config: Config) -> Iterator[str]:
    to_registry = any(_is_below(config, registry.path) for registry in config.registries)
    for name in OUTPUT_NAMES:
        if not (config.output / name).exists() or name == "relocation.json":
            continue
        if name == "logs" and (config.output / name).is_dir():
            yield from own_logs(config.output)
        elif name != "registry" or to_registry:
            yield name


def _is_below(config: Config, path: Template | None) -> bool:
    """Tell whether a layout registry lies in the output folder's own `registry`."""
    fixed = path.text.partition("{")[0] if path else ""
    return bool(path) and (config.root / fixed).is_relative_to(config.output / "registry")
