"""The toolchain that PODBUILD_TOOLCHAIN and PODBUILD_ENGINE ask for."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from podbuild.errors import ConfigError
from podbuild.folders import Folders
from podbuild.run import Runner
from podbuild.toolchain.find import Choice, find
from podbuild.toolchain.model import EngineKind, Toolchain

CHOICE = "PODBUILD_TOOLCHAIN"
ENGINE = "PODBUILD_ENGINE"

E = TypeVar("E", bound=StrEnum)


def find_chosen(runner: Runner, folders: Folders, environment: Mapping[str, str]) -> Toolchain:
    """Give the toolchain that the environment asks for.

    Raises ToolError when there is no good one, ConfigError for a value that is no choice.
    """
    choice = _chosen(environment, CHOICE, Choice) or Choice.AUTO
    return find(runner, folders, choice=choice, kind=_chosen(environment, ENGINE, EngineKind))


def _chosen(environment: Mapping[str, str], name: str, choices: type[E]) -> E | None:
    value = environment.get(name, "")
    if not value:
        return None
    try:
        return choices(value)
    except ValueError:
        raise ConfigError(
            f"{name}={value}: no such choice", hint=f"one of {', '.join(choices)}"
        ) from None
