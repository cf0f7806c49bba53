"""`podbuild init`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from podbuild.cli.options import Common, common_options
from podbuild.cli.session import Session, open_session

if TYPE_CHECKING:
    from pathlib import Path

    from podbuild.system.records import JSONValue


@click.command(
    epilog="\b\nExamples:\n  podbuild init && podbuild check\n  podbuild init -C ../other-project"
)
@common_options
def command(common: Common) -> None:
    """Write a first podbuild.toml and Containerfile.

    What is there is guessed from (Containerfiles, the git remote) and never overwritten; the
    output folder is added to .gitignore.
    """
    with open_session(common) as session:
        from podbuild.commands.init import first_tag, initial_files, look, write_files  # noqa: PLC0415
        from podbuild.errors import ConfigError  # noqa: PLC0415  # --help is asked often

        if session.file is not None:
            raise ConfigError(
                "init writes podbuild.toml and takes no --file", hint="-C names the folder"
            )
        remote = _git(session, "config", "--get", "remote.origin.url").strip()
        tags = tuple(_git(session, "tag", "--list").split())
        seen = look(session.directory, remote=remote, tags=tags)
        files = initial_files(seen)
        try:
            written = write_files(session.directory, files)
        except OSError as error:
            raise ConfigError(
                f"can't write {error.filename}: {error.strerror}",
                hint="-C names a folder that you may write to",
            ) from None
        session.ui.give("\n".join(map(str, written)), _json(written))
        session.ui.info(f"next: `podbuild check`, then `podbuild plan {first_tag(seen)}`")


def _git(session: Session, *words: str) -> str:
    """Give what git says; empty where it knows nothing, or is not there."""
    from podbuild.errors import PodbuildError  # noqa: PLC0415
    from podbuild.plan.git.command import git_runner  # noqa: PLC0415

    git = git_runner(session.runner, session.directory)
    try:
        return git("git", *words, timeout=30).out
    except PodbuildError:
        session.cancel.check()
        return ""


def _json(written: tuple[Path, ...]) -> JSONValue:
    return {"schema": 1, "written": [str(path) for path in written]}
