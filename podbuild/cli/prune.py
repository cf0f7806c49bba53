"""`podbuild prune`.

Print the plan of `podbuild prune`, and what became of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from podbuild.cli.options import Common, common_options, only_image, only_registry, option
from podbuild.cli.session import open_session
from podbuild.commands.prune import Pruned
from podbuild.oci.delete import Removal
from podbuild.publish.retention.cleanup import CleanupProgress
from podbuild.publish.retention.plan import RemovalItem
from podbuild.system.console import Ui
from podbuild.system.records import JSONValue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from podbuild.commands.prune import Pruned
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
@only_image
@only_registry
@common_options
def command(
    common: Common,
    apply: bool,
    most: int | None,
    images: tuple[str, ...],
    registries: tuple[str, ...],
) -> None:
    """Delete what [retention] lets go; shows the plan first.

    Reads each repository completely: tags, manifest lists with all their children, attestations
    and signatures. What any kept tag can reach stays. With --apply every tag is asked again right
    before it goes, and afterwards every kept image is proved complete.
    """
    with open_session(common) as session:
        from podbuild.commands.prune import Pruner  # noqa: PLC0415  # --help is asked often
        from podbuild.commands.relocate import Selection  # noqa: PLC0415  # --help is asked often
        from podbuild.publish.retention.policy import MOST  # noqa: PLC0415

        services = session.services()
        pruner = Pruner(
            services=services,
            scope=Selection(images=images, registries=registries),
            most=MOST if most is None else most,
            hear=hearing(services.ui),
        )
        found = tuple(pruner.plans())
        if apply:
            services.ui.info(prune_text(found))
            done = {each.target.key: each for each in pruner.prune(found)}
            found = tuple(done.get(each.target.key, each) for each in found)
        services.ui.give(prune_text(found), prune_json(found))
        if not apply and any(each.planned and each.planned.plan.removed for each in found):
            services.ui.note("nothing was deleted; pass --apply to delete")
        raise_failures(services.ui, found)


def raise_failures(ui: Ui, found: Iterable[Pruned]) -> None:
    """Raise the first failure of a required registry; those of optional ones are warnings."""
    failed = [each for each in found if each.error]
    for each in failed:
        if each.error and not each.target.registry.required:
            ui.warn(f"{each.target}: {each.error.message}")
    required = [each.error for each in failed if each.error and each.target.registry.required]
    for error in required[1:]:
        ui.warn(error.message)
    if required:
        raise required[0]


_SHOWN = 40  # kept tags per repository in the text; the JSON holds all


_EVERY = 500  # manifests between two lines of progress


def prune_text(found: tuple[Pruned, ...]) -> str:
    """Give one block per repository: each item with its reason."""
    return "\n\n".join("\n".join(_lines(each)) for each in found) or "no repository is published to"


def prune_json(found: tuple[Pruned, ...]) -> JSONValue:
    """Give everything, kept manifests included."""
    return {"schema": 1, "repositories": [_json(each) for each in found]}


def hearing(ui: Ui) -> Callable[[str], CleanupProgress]:
    """Give who says how far a repository is: every few hundred manifests, and every deletion."""

    def hear(name: str) -> CleanupProgress:
        return CleanupProgress(
            listed=_counter(ui, f"{name}: {{}} listed"),
            read=_counter(ui, f"{name}: {{}} manifests read"),
            removed=lambda item, removal: ui.detail(f"{name}: {_ended(item, removal)}"),
            checked=_counter(ui, f"{name}: {{}} checked"),
        )

    return hear


def _counter(ui: Ui, text: str) -> Callable[[int], None]:
    total = [0]

    def count(more: int) -> None:
        before = total[0]
        total[0] += more
        if total[0] // _EVERY != before // _EVERY:
            ui.info(text.format(total[0]))

    return count


def _ended(item: RemovalItem, removal: Removal) -> str:
    return f"{item} {removal.kind.value}{f': {removal.reason}' if removal.reason else ''}"


def _lines(each: Pruned) -> Iterator[str]:
    if each.planned is None:
        yield f"{each.target}: {each.error.message if each.error else 'not planned'}"
        return
    plan, cleaned = each.planned.plan, each.cleaned
    name = each.planned.place.store.name
    requests = f"{each.requests} request{'' if each.requests == 1 else 's'}"
    if cleaned is None:
        yield f"{name}: {len(plan.removed)} to delete, {len(plan.kept)} stay ({requests})"
        yield from (f"  delete {_shown(item)}: {item.reason}" for item in plan.removed)
    else:
        yield f"{name}: {len(cleaned.removed)} deleted, {len(plan.kept)} stay ({requests})"
        yield from (f"  deleted {_shown(item)}: {item.reason}" for item in cleaned.removed)
        yield from (f"  gone already {_shown(item)}" for item in cleaned.gone)
        yield from (f"  kept {_shown(item)}: {reason}" for item, reason in cleaned.kept)
    tags = [item for item in plan.kept if item.tag]
    yield from (f"  keep {item.tag}: {item.reason}" for item in tags[:_SHOWN])
    if len(tags) > _SHOWN:
        yield f"  keep {len(tags) - _SHOWN} more tags (--json lists all)"


def _shown(item: RemovalItem) -> str:
    tags = ", ".join(map(str, sorted(item.tags)))
    return f"{item.tag}" if item.tag else f"{item.digest}{f' ({tags})' if tags else ''}"


def _json(each: Pruned) -> JSONValue:
    found: dict[str, JSONValue] = {
        "registry": each.target.registry.name,
        "repository": each.target.place,
        "requests": each.requests,
        "error": each.error.message if each.error else None,
    }
    if each.planned:
        plan = each.planned.plan
        found["delete"] = [item.to_json() for item in plan.removed]
        found["keep"] = [item.to_json() for item in plan.kept]
    if each.cleaned:
        cleaned = each.cleaned
        found["deleted"] = [item.to_json() for item in cleaned.removed]
        found["gone"] = [item.to_json() for item in cleaned.gone]
        found["kept"] = [{**item.to_json(), "reason": reason} for item, reason in cleaned.kept]
        found["restored"] = [str(digest) for digest in cleaned.restored]
    return found
