"""Where a plan publishes: one image on one registry, opened."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from podbuild.errors import PodbuildError
from podbuild.oci.store import Store
from podbuild.plan.model import Plan
from podbuild.workspace import Opener

ASKED_AT_ONCE = 8

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Destination:
    """One image on one registry, with the open store behind it."""

    image: str
    registry: str
    required: bool
    store: Store = field(compare=False, repr=False)

    @property
    def key(self) -> str:
        """Give the name that the journal and the reports use."""
        return f"{self.registry}/{self.image}"

    def __str__(self) -> str:
        return self.store.name


def open_destinations(opener: Opener, plan: Plan) -> tuple[Destination, ...]:
    """Open the store of every target of a plan, in the plan's order."""
    return tuple(
        Destination(
            image=target.image,
            registry=target.registry.name,
            required=target.registry.required,
            store=opener.open(target.registry, target.place),
        )
        for target in plan.targets
    )


@dataclass(frozen=True)
class Replies(Generic[T]):
    """What each destination said, or why it said nothing, in the order in which they were named."""

    found: Mapping[Destination, T]
    failed: Mapping[Destination, PodbuildError]


def ask_all(destinations: Iterable[Destination], ask: Callable[[Destination], T]) -> Replies[T]:
    """Ask every destination, several at once. A stop is nobody's silence: it is raised."""
    asked = tuple(destinations)
    found: dict[Destination, T] = {}
    failed: dict[Destination, PodbuildError] = {}
    with ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="ask") as pool:
        futures = [(each, pool.submit(ask, each)) for each in asked]
        for destination, future in futures:
            try:
                found[destination] = future.result()
            except PodbuildError as error:
                failed[destination] = error
    for why in failed.values():
        if why.is_stop:
            raise why
    return Replies(found, failed)


def everywhere(destinations: Iterable[Destination], ask: Callable[[Destination], T]) -> Replies[T]:
    """Ask every destination; only optional ones may fail.

    Raises a stop, and the first of what required destinations raise.
    """
    answers = ask_all(destinations, ask)
    for destination, error in answers.failed.items():
        if destination.required:
            raise error
    return answers
