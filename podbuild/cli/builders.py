"""`podbuild builders`."""

from __future__ import annotations

import click

from podbuild.cli.options import Common, common_options
from podbuild.cli.session import open_session


@click.command(
    epilog="\b\nExamples:\n  podbuild builders\n  podbuild builders --json | jq .builders"
)
@common_options
def command(common: Common) -> int:
    """Connect to the builders of the configuration and print their state.

    Says of each whether it can be used, with which engine, for which platforms, and how to mend
    what fails. `podbuild doctor` lets each build something too. The exit code is that of the first
    failure.
    """
    with open_session(common) as session:
        from podbuild.commands.builders import (  # noqa: PLC0415  # --help is asked often
            ask_builders,
            states_code,
            states_json,
            states_text,
        )

        with session.ui.step("connect to builders"):
            states = ask_builders(session.services())
        session.ui.give(states_text(states), states_json(states))
        return states_code(states)
