"""Which engine a command uses, and where podbuild's own folders are for it."""

from __future__ import annotations

from pathlib import Path

from podbuild.cli.session import Session
from podbuild.errors import ConfigError
from podbuild.folders import Folders
from podbuild.toolchain import Toolchain
from podbuild.toolchain.chosen import find_chosen


def find_toolchain(session: Session, folders: Folders) -> Toolchain:
    """Give the toolchain that the environment asks for; raises as `find_chosen` does."""
    return find_chosen(session.runner, folders, session.environment)


def own_folders(session: Session) -> Folders:
    """Give podbuild's own folders, also where there is no configuration (yet)."""
    return session.folders(_output(session))


def _output(session: Session) -> Path:
    try:
        return session.config().output
    except ConfigError:
        return session.directory / "dist"
