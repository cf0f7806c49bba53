"""Show what is about to happen and ask, once, the same way for every command."""

from __future__ import annotations

import sys

import click

from podbuild.errors import ConfigError
from podbuild.ui import Ui


def confirm(ui: Ui, question: str, *, yes: bool) -> None:
    """Return if the user agrees; raises ConfigError without a terminal, click.Abort for a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("nothing was changed: there is no terminal to ask", hint="pass --yes")
    ui.info(question)
    click.confirm("Go on?", abort=True, err=True)
