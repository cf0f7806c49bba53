"""Where a plan publishes: one image on one registry, opened."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import field
from typing import Generic, TypeVar

from podbuild.errors import PodbuildError
from podbuild.oci.store import Store
from podbuild.plan.model import Plan
from podbuild.system.cancel import Cancel
from podbuild.system.later import dataclass
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


def own_failure(error: PodbuildError, cancel: Cancel) -> PodbuildError:
    """Give an error that is a registry's own; raises the stop that it comes from.

    What a stop breaks off may fail in any way: a login's helper that the same ^C has ended.
    """
    if error.is_stop:
        raise error
    cancel.check()
    return error


def failures(
    work: Mapping[Future[T], Destination], cancel: Cancel
) -> dict[Destination, PodbuildError]:
    """Wait for work at destinations, and give what failed there; raises a stop."""
    failed: dict[Destination, PodbuildError] = {}
    stops = []
    for future, destination in work.items():
        try:
            future.result()
        except PodbuildError as error:
            failed.setdefault(destination, error)
            stops += [error] if error.is_stop else []
    for each in (*stops, *failed.values()):
        own_failure(each, cancel)
    return failed


@dataclass(frozen=True)
class Replies(Generic[T]):
    """What each destination said, or why it said nothing, in the order in which they were named."""

    found: Mapping[Destination, T]
    failed: Mapping[Destination, PodbuildError]


def ask_all(
    destinations: Iterable[Destination],
    ask: Callable[[Destination], T],
    cancel: Cancel,
    *,
    at_once: int = ASKED_AT_ONCE,
) -> Replies[T]:
    """Ask every destination, several at once. A stop is nobody's silence: it is raised."""

    def one(destination: Destination) -> T:
        cancel.check()
        return ask(destination)

    asked = cancel.passing_on(one)  # what finishes after a stop is asked after it too
    with ThreadPoolExecutor(at_once, thread_name_prefix="ask") as pool:
        work = {pool.submit(asked, each): each for each in destinations}
        failed = failures(work, cancel)
    found = {each: future.result() for future, each in work.items() if each not in failed}
    return Replies(found, failed)


def everywhere(
    destinations: Iterable[Destination],
    ask: Callable[[Destination], T],
    cancel: Cancel,
    *,
    at_once: int = ASKED_AT_ONCE,
) -> Replies[T]:
    """Ask every destination; only optional ones may fail.

    Raises a stop, and the first of what required destinations raise.
    """
    answers = ask_all(destinations, ask, cancel, at_once=at_once)
    for destination, error in answers.failed.items():
        if destination.required:
            raise error
    return answers
