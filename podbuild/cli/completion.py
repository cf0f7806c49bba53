"""`podbuild completion SHELL`."""

from __future__ import annotations

import os

import click
from click.shell_completion import get_completion_class

from podbuild.cli import cli
from podbuild.cli.options import Common, common_options
from podbuild.cli.session import make_ui


@click.command(epilog='\b\nExample:\n  eval "$(podbuild completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common_options
def command(common: Common, shell: str) -> None:
    """Print the completion script for a shell."""
    kind = get_completion_class(shell)
    if kind is None:  # pragma: no cover  # the choices are click's own
        raise click.UsageError(f"no completion for {shell}")
    script = kind(cli, {}, "podbuild", "_PODBUILD_COMPLETE").source()
    make_ui(common, os.environ).answer(script)
