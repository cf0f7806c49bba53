"""What pruning did, for people and for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from podbuild.commands.prune import Pruned
from podbuild.oci.delete import Removal
from podbuild.publish.retention.cleanup import CleanupProgress
from podbuild.publish.retention.plan import RemovalItem
from podbuild.system.console import Ui
from podbuild.system.records import JSONValue

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
