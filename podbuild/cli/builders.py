"""`podbuild builders`."""

from __future__ import annotations

import click

from podbuild.cli.options import Common, common_options
from podbuild.cli.session import open_session
from podbuild.commands import builders


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
        with session.ui.step("connect to builders"):
            states = builders.ask_builders(session.services())
        session.ui.give(builders.states_text(states), builders.states_json(states))
        return builders.states_code(states)
