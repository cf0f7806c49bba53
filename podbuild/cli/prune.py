"""`podbuild prune`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from podbuild.cli.options import Common, Typed, common_options, option, scope
from podbuild.cli.session import open_session
from podbuild.cli.show_prune import hearing, prune_json, prune_text, tidy_text
from podbuild.commands import history, prune
from podbuild.publish.retention import policy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from podbuild.system.console import Ui


@click.command(
    epilog="\b\nExamples:\n  podbuild prune\n  podbuild prune --registry ghcr --apply\n"
    "  podbuild prune --json"
)
@option("--apply", is_flag=True, help="Delete what the plan says; without it nothing is deleted.")
@option(
    "--most",
    type=click.IntRange(0),
    metavar="N",
    help="Delete at most N images of a repository in this run, the oldest; default: 1000.",
)
@scope
@common_options
def command(common: Common, typed: Typed, apply: bool, most: int | None) -> None:
    """Delete what [retention] lets go; shows the plan first.

    Reads each repository completely: tags, manifest lists with all their children, attestations
    and signatures. What any kept tag can reach stays. With --apply every tag is asked again right
    before it goes, and afterwards every kept image is proved complete.
    """
    with open_session(common) as session:
        services, request = session.services(), session.request(typed)
        pruner = prune.Pruner(
            services=services,
            request=request,
            most=policy.MOST if most is None else most,
            hear=hearing(services.ui),
        )
        found = tuple(pruner.plans())
        if apply:
            services.ui.info(prune_text(found))
            done = {each.target.key: each for each in pruner.prune(found)}
            found = tuple(done.get(each.target.key, each) for each in found)
        tidied = () if request.images or request.registries else history.tidy(services, apply=apply)
        text = "\n".join(filter(None, (prune_text(found, services.ui.width), tidy_text(tidied))))
        services.ui.give(text, prune_json(found, tidied))
        if not apply and any(each.planned and each.planned.plan.removed for each in found):
            services.ui.note("nothing was deleted; pass --apply to delete")
        raise_failures(services.ui, found)


def raise_failures(ui: Ui, found: Iterable[prune.Pruned]) -> None:
    """Raise the first failure of a required registry; those of optional ones are warnings."""
    failed = [each for each in found if each.error]
    for each in failed:
        if each.error and not each.target.registry.required:
            said = each.error.message
            ui.warn(said if said.startswith(f"{each.target}: ") else f"{each.target}: {said}")
    required = [each.error for each in failed if each.error and each.target.registry.required]
    for error in required[1:]:
        ui.warn(error.message)
    if required:
        raise required[0]
