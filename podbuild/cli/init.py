"""`podbuild init`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from podbuild.cli.options import Common, common_options, option
from podbuild.cli.session import Session, open_session
from podbuild.commands import carry_files, init
from podbuild.errors import ConfigError, PodbuildError
from podbuild.plan.git import worktree

if TYPE_CHECKING:
    from pathlib import Path

    from podbuild.commands.carry import LeftOut
    from podbuild.system.records import JSONValue


@click.command(
    epilog="\b\nExamples:\n  podbuild init && podbuild check\n  podbuild init -C ../other-project\n"
    "  podbuild init --from docker-bake.hcl\n  podbuild init --from .github/workflows/release.yml"
)
@option(
    "--from",
    "origins",
    multiple=True,  # as every --from
    metavar="FILE",
    help="Carry over what a bake file (.hcl, .json), a compose file or a workflow says.",
)
@common_options
def command(common: Common, origins: tuple[str, ...]) -> None:
    """Write a first podbuild.toml and Containerfile.

    What is there is guessed from (Containerfiles, the git remote) and never overwritten; the
    output folder is added to .gitignore. With --from, what could not be carried over is listed
    with its lines, and stands in podbuild.toml as comments.
    """
    with open_session(common) as session:
        if session.file is not None:
            raise ConfigError(
                "init writes podbuild.toml and takes no --file", hint="-C names the folder"
            )
        if len(origins) > 1:
            raise ConfigError("init carries over one file", hint="--from once")
        origin = next(iter(origins), "")
        remote = _git(session, "config", "--get", "remote.origin.url").strip()
        tags = tuple(_git(session, "tag", "--list").split())
        seen = init.look(session.directory, remote=remote, tags=tags)
        carried = carry_files.carry_over(session.directory, origin) if origin else None
        files = init.carried_files(seen, carried, origin) if carried else init.initial_files(seen)
        try:
            written = init.write_files(session.directory, files)
        except OSError as error:
            raise ConfigError(
                f"can't write {error.filename}: {error.strerror}",
                hint="-C names a folder that you may write to",
            ) from None
        left_out = carried.left_out if carried else ()
        for each in left_out:
            session.ui.warn(
                f"not carried over: {each.what} (hint: {each.hint})", file=origin, line=each.line
            )
        session.ui.give("\n".join(map(str, written)), _json(written, left_out))
        session.ui.info(f"next: `podbuild check`, then `podbuild plan {init.first_tag(seen)}`")


def _git(session: Session, *words: str) -> str:
    """Give what git says; empty where it knows nothing, or is not there."""
    git = worktree.git_runner(session.runner, session.directory)
    try:
        return git("git", *words, timeout=30).out
    except PodbuildError:
        session.cancel.check()
        return ""


def _json(written: tuple[Path, ...], left_out: tuple[LeftOut, ...]) -> JSONValue:
    return {
        "schema": 1,
        "written": [str(path) for path in written],
        "left-out": [
            {"line": each.line, "what": each.what, "hint": each.hint} for each in left_out
        ],
    }
