"""Ask every registry what it holds already: all tags, and what those say that the plan writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from podbuild.errors import PodbuildError
from podbuild.model import Tag
from podbuild.plan import Held, Plan, Target
from podbuild.steps import Destination
from podbuild.steps.remote import remote_tag
from podbuild.tags import RemoteTag

ASKED_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What each target holds, by its key; optional registries that could not be asked apart."""

    facts: Mapping[str, Held]
    silent: Mapping[Destination, PodbuildError]


def survey(plan: Plan, destinations: Iterable[Destination]) -> Survey:
    """Give what the targets of a plan hold. Raises what a required registry raises."""
    by_key = {target.key: target for target in (*plan.targets, *plan.beside)}
    asked = tuple((each, by_key[each.key]) for each in destinations)
    facts: dict[str, Held] = {}
    silent: dict[Destination, PodbuildError] = {}
    with ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="survey") as pool:
        futures = [(each, pool.submit(_ask, each, target)) for each, target in asked]
        for destination, future in futures:
            try:
                facts[destination.key] = future.result()
            except PodbuildError as error:
                if destination.required:
                    raise
                silent[destination] = error
    return Survey(facts=facts, silent=silent)


def _ask(destination: Destination, target: Target) -> Held:
    held = destination.store.tags()
    found = (_said(destination, move.named.tag) for move in target.tags if move.named.tag in held)
    return Held(tags=held, found={remote.tag: remote for remote in found if remote})


def _said(destination: Destination, tag: Tag) -> RemoteTag | None:
    return remote_tag(destination.store, tag)
