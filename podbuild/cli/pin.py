"""`podbuild pin [VERSION] [FILE...]`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from podbuild.cli.options import (
    Common,
    Typed,
    common_options,
    completes,
    option,
    scope,
)
from podbuild.cli.session import Session, open_session
from podbuild.commands import borders, pin
from podbuild.config import toml
from podbuild.errors import PolicyError
from podbuild.report import json as report_json
from podbuild.report import lists

if TYPE_CHECKING:
    from podbuild.config.following import Deployment
    from podbuild.oci.names import Tag
    from podbuild.plan.model import Request
    from podbuild.semver import Version
    from podbuild.workspace import Services


@click.command(
    epilog="\b\nExamples:\n  podbuild pin v1.2.3 compose.yaml\n"
    "  podbuild pin v1.2.2 --deploy production     # back to 1.2.2\n"
    "  podbuild pin --check\n  podbuild pin v1.2.3 --format env > images.env"
)
@click.argument(
    "arguments", nargs=-1, metavar="[VERSION] [FILE]...", shell_complete=completes("version")
)
@option("--check", is_flag=True, help="Change nothing; exit 10 where something is stale.")
@option(
    "--deploy",
    "deployments",
    multiple=True,
    metavar="NAME",
    shell_complete=completes("deployment"),
    help="Only [deploy.NAME]; repeatable.",
)
@option(
    "--format",
    "form",
    type=click.Choice(["env", "compose", "helm", "kustomize"]),
    help="Print the images in this form instead.",
)
@scope
@common_options
def command(
    common: Common,
    typed: Typed,
    arguments: tuple[str, ...],
    check: bool,
    deployments: tuple[str, ...],
    form: str | None,
) -> None:
    """Have deployment files name the images of VERSION by tag and digest.

    FILEs are YAML, JSON, TOML, HCL or lists of variables (default: those of [deploy]); only
    references to this project's images change, in place, and each keeps its registry (--format
    prints the names of --registry). VERSION
    may be another tag, too; left out it is what [deploy] follows, else the version at HEAD.
    Nothing is committed or applied.
    """
    with open_session(common) as session:
        services = session.services()
        wanted, files = pin.split_arguments(services, arguments, session.directory)
        chosen = pin.chosen_deployments(services, deployments)
        request = session.request(typed)
        if form:
            _list(services, chosen, wanted, request=request, form=form)
            return
        tasks = pin.pin_tasks(services, wanted, files, chosen, _borders(session, services))
        found = pin.pin_files(services, tasks, request)
        if not check:
            pin.write_pins(found)
        _answer(services, found, _again(common, request, arguments, deployments), check=check)


def _again(
    common: Common, request: Request, arguments: tuple[str, ...], deployments: tuple[str, ...]
) -> str:
    """Give the command that pins what was checked."""
    options = {
        "--directory": [common.directory] if common.directory else [],
        "--file": [common.file] if common.file else [],
        "--allow-outside": common.allow_outside,
        "--image": request.images,
        "--registry": request.registries,
        "--deploy": deployments,
    }
    said = (f"{name}={each}" for name, several in options.items() for each in several)
    return shlex.join(("podbuild", "pin", *arguments, *said))


def _borders(session: Session, services: Services) -> borders.Borders:
    return borders.Borders.around(services.config.root, session.allowed)


def _list(
    services: Services,
    chosen: tuple[Deployment, ...],
    wanted: Version | Tag | None,
    *,
    request: Request,
    form: str,
) -> None:
    only = chosen[0] if len(chosen) == 1 else None
    lock = pin.lock_for(services, pin.wanted_of(services, only, wanted), request)
    own = (only.registry,) if only and only.registry else ()
    found = pin.image_list(services, lock, request.registries or own, only.services if only else {})
    services.ui.give(lists.listed(found, lists.PinFormat(form)), report_json.lock_value(lock))


def _answer(services: Services, found: list[pin.PinnedFile], again: str, *, check: bool) -> None:
    stale = [each for each in found if each.is_stale]
    lines = [
        f"{toml.shown(each.path)}:{change.line}: {change.before or 'nothing'} -> {change.after}"
        for each in stale
        for change in each.pinned.changes
    ]
    services.ui.give(
        "\n".join(lines) or "nothing to do: every reference is as it should be",
        {
            "schema": 1,
            "stale": bool(stale) and check,
            "changes": [
                {
                    "file": toml.shown(each.path),
                    "line": change.line,
                    "before": change.before,
                    "after": change.after,
                }
                for each in stale
                for change in each.pinned.changes
            ],
        },
    )
    files = list(dict.fromkeys(toml.shown(each.path) for each in stale))
    if check and stale:
        raise PolicyError(f"stale: {', '.join(files)}", hint=f"`{again}` pins them")
    if stale:
        names = sorted({each.wanted for each in stale})
        message = shlex.quote(f"Deploy {', '.join(names)}")
        services.ui.info(f"next: git commit -m {message} -- {shlex.join(files)}")
