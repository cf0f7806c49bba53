"""Before any build: may this login push everywhere? Refusals are found here, not after an hour."""

from __future__ import annotations

from collections.abc import Iterable

from podbuild.errors import CredentialError, PodbuildError
from podbuild.oci.store import PushRight
from podbuild.plan.destination import Destination, ask_all
from podbuild.system.cancel import Cancel
from podbuild.system.later import dataclass


@dataclass(frozen=True, kw_only=True)
class Ready:
    """Where a release can go. `unavailable` are optional registries that are left out."""

    destinations: tuple[Destination, ...]
    unknown: tuple[Destination, ...]  # the right to push shows only when pushing
    unavailable: tuple[tuple[Destination, PodbuildError], ...]


def preflight(destinations: Iterable[Destination], cancel: Cancel) -> Ready:
    """Ask every registry whether we may push.

    Raises a stop, CredentialError naming each refusal one by one, or the first other failure of a
    required registry.
    """
    answers = ask_all(destinations, lambda each: each.store.check_push(), cancel)
    refused = [error for each, error in answers.failed.items() if each.required]
    if refused:
        raise _summary(refused)
    rights = answers.found.items()
    return Ready(
        destinations=tuple(answers.found),
        unknown=tuple(each for each, right in rights if right is PushRight.UNKNOWN),
        unavailable=tuple(answers.failed.items()),
    )


def _summary(refused: list[PodbuildError]) -> PodbuildError:
    """Give one error for all refusals; of several kinds, credentials are named first."""
    errors = sorted(refused, key=lambda error: not isinstance(error, CredentialError))
    first = errors[0]
    others = {error.message: None for error in errors[1:] if error.message != first.message}
    if not others:
        return first
    return type(first)(first.message, hint=first.hint, details=("also:", *others, *first.details))
