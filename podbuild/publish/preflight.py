"""Before any build: may this login push everywhere? Refusals are found here, not after an hour."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from podbuild.errors import CredentialError, PodbuildError
from podbuild.oci.store import PushRight
from podbuild.plan.destination import Destination

ASKED_AT_ONCE = 8


@dataclass(frozen=True)
class PushAnswer:
    """One destination's answer: the right it proved, or why it can't be pushed to."""

    destination: Destination
    answer: PushRight | PodbuildError


@dataclass(frozen=True, kw_only=True)
class Ready:
    """Where a release can go. `unavailable` are optional registries that are left out."""

    destinations: tuple[Destination, ...]
    unknown: tuple[Destination, ...]  # the right to push shows only when pushing
    unavailable: tuple[tuple[Destination, PodbuildError], ...]


def preflight(destinations: Iterable[Destination]) -> Ready:
    """Ask every registry whether we may push.

    Raises CredentialError naming each refusal one by one, or the first other failure of a
    required registry.
    """
    every = tuple(destinations)
    if not every:
        return Ready(destinations=(), unknown=(), unavailable=())
    with ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="preflight") as pool:
        asked = tuple(pool.map(_ask, every))
    refused = [found for found in asked if _is_refused(found)]
    if refused:
        raise _summary(refused)
    return Ready(
        destinations=tuple(
            found.destination for found in asked if isinstance(found.answer, PushRight)
        ),
        unknown=tuple(found.destination for found in asked if found.answer is PushRight.UNKNOWN),
        unavailable=tuple(
            (found.destination, found.answer)
            for found in asked
            if isinstance(found.answer, PodbuildError)
        ),
    )


def _ask(destination: Destination) -> PushAnswer:
    try:
        return PushAnswer(destination, destination.store.check_push())
    except PodbuildError as error:
        return PushAnswer(destination, error)


def _is_refused(found: PushAnswer) -> bool:
    return found.destination.required and isinstance(found.answer, PodbuildError)


def _summary(refused: list[PushAnswer]) -> PodbuildError:
    """Give one error for all refusals; of several kinds, credentials are named first."""
    errors = [found.answer for found in refused if isinstance(found.answer, PodbuildError)]
    errors.sort(key=lambda error: not isinstance(error, CredentialError))
    first = errors[0]
    others = {error.message: None for error in errors[1:] if error.message != first.message}
    if not others:
        return first
    return type(first)(first.message, hint=first.hint, details=("also:", *others, *first.details))
