"""Which engine a command uses, and where podbuild's own folders are for it."""

from __future__ import annotations

from pathlib import Path

from podbuild.build.toolchain.find import find_chosen
from podbuild.build.toolchain.model import Toolchain
from podbuild.cli.session import Session
from podbuild.errors import ConfigError
from podbuild.system.folders import Folders


def find_toolchain(session: Session, folders: Folders) -> Toolchain:
    """Give the toolchain that the environment asks for; raises as `find_chosen` does."""
    return find_chosen(session.runner, folders, session.environment)


def own_folders(session: Session) -> Folders:
    """Give podbuild's own folders, also where there is no configuration (yet)."""
    return session.folders(_output(session))


def _output(session: Session) -> Path:
    from podbuild.commands.borders import Borders, refuse_links  # noqa: PLC0415

    try:
        return session.config().output
    except ConfigError:
        output = session.directory / "dist"
        refuse_links(output, Borders.around(session.directory, session.allowed), own=True)
        return output
