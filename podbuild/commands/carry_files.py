"""Which reader a file of another tool is for."""

from __future__ import annotations

import posixpath
from pathlib import Path

from podbuild.commands.carry import Carried
from podbuild.commands.carry_bake import read_bake
from podbuild.commands.carry_compose import read_compose
from podbuild.commands.carry_workflow import is_workflow, read_workflow
from podbuild.errors import ConfigError


def carry_over(folder: Path, file: str) -> Carried:
    """Give what a file, named from a project's folder on, says of images.

    Raises ConfigError for a file that is none of those, ToolError where its reader is missing.
    """
    path = folder / file
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ConfigError(f"{file} is no plain file", hint="--from names a file")
    try:
        if path.suffix in (".hcl", ".json"):
            return read_bake(path, file)
        if path.suffix in (".yaml", ".yml"):
            if is_workflow(path, file):
                return read_workflow(path, file)
            here = posixpath.dirname(posixpath.normpath(path.absolute().as_posix()))
            return read_compose(path, file, posixpath.relpath(here, folder.absolute().as_posix()))
    except UnicodeDecodeError:
        raise ConfigError(
            f"{file} is no text", hint="--from names a bake or a compose file, or a workflow"
        ) from None
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}", hint="--from names a file") from None
    if not path.is_file():
        raise ConfigError(f"{file}: No such file or directory", hint="--from names a file")
    raise ConfigError(
        f"{file}: neither a bake file nor a compose file nor a workflow",
        hint="docker-bake.hcl, docker-bake.json, compose.yaml or .github/workflows/X.yml",
    )
