"""Which engine a command uses, and where podbuild's own folders are for it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from podbuild.cli.session import Session
from podbuild.errors import ConfigError
from podbuild.folders import Folders
from podbuild.toolchain import Choice, EngineKind, Toolchain, find

CHOICE = "PODBUILD_TOOLCHAIN"
ENGINE = "PODBUILD_ENGINE"

E = TypeVar("E", bound=StrEnum)


def find_toolchain(session: Session, folders: Folders) -> Toolchain:
    """Give the toolchain that PODBUILD_TOOLCHAIN and PODBUILD_ENGINE ask for.

    Raises ToolError when there is no good one, ConfigError for a value that is no choice.
    """
    choice = _chosen(session.environment, CHOICE, Choice) or Choice.AUTO
    kind = _chosen(session.environment, ENGINE, EngineKind)
    return find(session.runner, folders, choice=choice, kind=kind)


def own_folders(session: Session) -> Folders:
    """Give podbuild's own folders, also where there is no configuration (yet)."""
    return session.folders(_output(session))


def _output(session: Session) -> Path:
    try:
        return session.config().output
    except ConfigError:
        return session.directory / "dist"


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
