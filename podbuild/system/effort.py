"""Steps that nothing depends on: what fails is told, and what called goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from podbuild.errors import PodbuildError

T = TypeVar("T")


def best_effort(
    step: Callable[[], T], tell: Callable[[str], None], lacking: str, otherwise: T
) -> T:
    """Give what a step gives; where it fails, tell what is `lacking` and why, and give `otherwise`.

    A stop is no failure: it is raised.
    """
    try:
        return step()
    except PodbuildError as error:
        if error.is_stop:
            raise
        tell(f"{lacking}: {error.message}{f' ({error.hint})' if error.hint else ''}")
    except OSError as error:
        tell(f"{lacking}: {error}")
    return otherwise
