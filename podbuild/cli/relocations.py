"""What `promote` and `rollback` share: show the moves, ask, carry them out, say what was done."""

from __future__ import annotations

from collections.abc import Iterable

from podbuild.cli.confirm import confirm
from podbuild.model import JSONValue
from podbuild.relocate import Relocation, carry_out
from podbuild.services import Services
from podbuild.steps.tag import Moved


def relocate(
    services: Services, relocations: Iterable[Relocation], *, command: str, yes: bool
) -> Moved | None:
    """Carry out the relocations that change something; None where none does."""
    wanted = tuple(each for each in relocations if each.changes)
    if not wanted:
        services.ui.give("nothing to do: every tag is there already", {"schema": 1, "moved": []})
        return None
    for each in wanted:
        services.ui.info(str(each))
    count = f"{len(wanted)} tag{'s' if len(wanted) > 1 else ''}"
    confirm(services.ui, f"this moves {count}", yes=yes)
    moved = carry_out(services, wanted, command)
    services.ui.give("\n".join(_line(each) for each in wanted), _json(wanted))
    for destination, error in moved.failed.items():
        services.ui.warn(f"{destination}: {error.message}")
    return moved


def _line(each: Relocation) -> str:
    return f"{each.destination.store.reference(each.named.tag)} -> {each.manifest.digest}"


def _json(relocations: tuple[Relocation, ...]) -> JSONValue:
    return {
        "schema": 1,
        "moved": [
            {
                "image": each.destination.image,
                "registry": each.destination.registry,
                "reference": each.destination.store.reference(each.named.tag),
                "before": str(each.before) if each.before else None,
                "digest": str(each.manifest.digest),
                "reason": each.reason,
            }
            for each in relocations
        ],
    }
