"""What pruning did, for people and for programs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from podbuild.publish.retention import cleanup
from podbuild.system.console import text

if TYPE_CHECKING:
    from podbuild.commands.history import Tidied
    from podbuild.commands.prune import Pruned
    from podbuild.oci.delete import Removal
    from podbuild.publish.retention.plan import RemovalItem
    from podbuild.system.console import Ui
    from podbuild.system.records import JSONValue


_FEW = 3  # items with the same reason that get a line each
_SHOWN = 12  # of those that share one; the JSON holds all
_EVERY = 500  # manifests between two lines of progress


def prune_text(found: tuple[Pruned, ...], width: int | None = None) -> str:
    """Give one block per repository, what has one reason together, and what it comes to in all."""
    blocks = ["\n".join(_lines(each, width)) for each in found]
    if len(found) > 1:
        blocks.append(_sum(found))
    return "\n\n".join(blocks) or "no repository is published to"


def _sum(found: tuple[Pruned, ...]) -> str:
    plans = [each.planned.plan for each in found if each.planned]
    goes = sum(len(plan.removed) for plan in plans)
    stays = sum(len(plan.kept) for plan in plans)
    ended = [each.cleaned for each in found if each.cleaned]
    what = f"{sum(len(each.removed) for each in ended)} deleted" if ended else f"{goes} to delete"
    unread = len(found) - len(plans)
    more = f", {unread} could not be read" if unread else ""
    return f"in all {len(found)} repositories: {what}, {stays} stay{more}"


def prune_json(found: tuple[Pruned, ...], tidied: tuple[Tidied, ...] = ()) -> JSONValue:
    """Give everything, kept manifests included."""
    history: list[JSONValue] = [
        {
            "place": each.place,
            "folded": dict(each.folded),
            "dropped": [*each.dropped],
            "error": each.error,
        }
        for each in tidied
    ]
    return {"schema": 1, "repositories": [_json(each) for each in found], "history": history}


def tidy_text(tidied: Iterable[Tidied]) -> str:
    """Say what becomes of the history, where something does."""
    lines = []
    for each in tidied:
        if each.error:
            lines.append(f"history in {each.place}: {each.error}")
        runs = sum(each.folded.values())
        if runs or each.dropped:
            months = ", ".join(f"{month[:4]}-{month[4:]}" for month in each.folded)
            folded = f"{runs} runs of {months} become one entry each month" if runs else ""
            gone = f"{len(each.dropped)} that are too old go" if each.dropped else ""
            lines.append(f"history in {each.place}: {', '.join(filter(None, (folded, gone)))}")
    return "\n".join(lines)


def hearing(ui: Ui) -> Callable[[str], cleanup.CleanupProgress]:
    """Give who says how far a repository is: every few hundred manifests, and every deletion."""

    def hear(name: str) -> cleanup.CleanupProgress:
        return cleanup.CleanupProgress(
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


def _lines(each: Pruned, width: int | None) -> Iterator[str]:
    for line in _whole_lines(each):
        yield from text.fold(line, width, "    ")


def _whole_lines(each: Pruned) -> Iterator[str]:
    if each.planned is None:
        why = each.error.message.removeprefix(f"{each.target}: ") if each.error else "not planned"
        yield f"{each.target}: {why}"
        return
    plan, cleaned = each.planned.plan, each.cleaned
    name = each.planned.place.store.name
    requests = f"{each.requests} request{'' if each.requests == 1 else 's'}"
    if cleaned is None:
        yield f"{name}: {len(plan.removed)} to delete, {len(plan.kept)} stay ({requests})"
        yield from _alike("delete", ((item, item.reason) for item in plan.removed))
    else:
        yield f"{name}: {len(cleaned.removed)} deleted, {len(plan.kept)} stay ({requests})"
        yield from _alike("deleted", ((item, item.reason) for item in cleaned.removed))
        yield from _alike("gone already", ((item, "") for item in cleaned.gone))
        yield from _alike("kept", cleaned.kept)
    yield from _alike("keep", ((item, item.reason) for item in plan.kept if item.tag))


def _alike(word: str, items: Iterable[tuple[RemovalItem, str]]) -> Iterator[str]:
    """Give a line for each item, or one for all that have the same reason, if they are many."""
    reasons: dict[str, list[str]] = {}
    for item, reason in items:
        reasons.setdefault(reason, []).append(_shown(item))
    for reason, names in reasons.items():
        why = f": {reason}" if reason else ""
        if len(names) <= _FEW:
            yield from (f"  {word} {name}{why}" for name in names)
            continue
        more = len(names) - _SHOWN
        rest = f" and {more} more (--json lists all)" if more > 0 else ""
        some = ", ".join(map(_brief, names[:_SHOWN]))
        yield f"  {word} {len(names)}{why}: {some}{rest}"


def _brief(name: str) -> str:
    """Shorten the tags of statements and signatures, which the JSON has whole."""
    return re.sub(r"\b(sha256-[0-9a-f]{12})[0-9a-f]{52}", r"\1...", name)


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
