"""Which engine a command uses, and where podbuild's own folders are for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from podbuild.build.toolchain import find
from podbuild.cli.session import Session
from podbuild.commands import borders
from podbuild.errors import ConfigError

if TYPE_CHECKING:
    from podbuild.build.toolchain.model import Toolchain
    from podbuild.system.folders import Folders


def find_toolchain(session: Session, folders: Folders) -> Toolchain:
    """Give the toolchain that the environment asks for; raises as `find_chosen` does."""
    return find.find_chosen(session.runner, folders, session.environment)


def own_folders(session: Session) -> Folders:
    """Give podbuild's own folders, also where there is no configuration (yet)."""
    return session.folders(_output(session))


def _output(session: Session) -> Path:
    try:
        return session.config().output
    except ConfigError:
        output = session.directory / "dist"
        borders.refuse_links(
            output, borders.Borders.around(session.directory, session.allowed), own=True
        )
        return output
