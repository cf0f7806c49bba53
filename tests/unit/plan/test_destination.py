"""Required and optional registries: one rule for all that ask them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from podbuild.errors import (
    CredentialError,
    DeadlineError,
    InterruptedBySignal,
    PodbuildError,
    PublishError,
)
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Tag
from podbuild.oci.store import PushRight
from podbuild.plan.destination import Destination, ask_all, everywhere
from podbuild.publish.upload import preflight
from podbuild.system.cancel import Cancel

STOPS = [InterruptedBySignal(2), InterruptedBySignal(15), DeadlineError("out of time")]


@dataclass(frozen=True, kw_only=True)
class Failing(MemoryStore):
    """A registry that answers nothing but this error."""

    error: PodbuildError

    def tags(self) -> tuple[Tag, ...]:
        raise self.error

    def check_push(self) -> PushRight:
        raise self.error


def at(registry: str, error: PodbuildError | None = None, *, required: bool = True) -> Destination:
    store = MemoryStore() if error is None else Failing(error=error)
    return Destination(image="web", registry=registry, required=required, store=store)


def tags(destination: Destination) -> tuple[Tag, ...]:
    return destination.store.tags()


@pytest.mark.parametrize("stop", STOPS)
def test_a_stop_is_no_registry_s_silence(stop: PodbuildError) -> None:
    lost = PublishError("connection reset")
    for places in (
        [at("one"), at("two", stop, required=False)],
        [at("one", lost), at("two", stop, required=False)],  # lost because of the stop
    ):
        for ask in (everywhere, ask_all):
            with pytest.raises(type(stop)):
                ask(places, tags, Cancel())
        with pytest.raises(type(stop)):
            preflight(places, Cancel())


def test_only_optional_registries_may_be_silent() -> None:
    lost, refused = PublishError("unreachable"), CredentialError("refused")
    fine, silent = at("one"), at("two", lost, required=False)
    answers = everywhere([fine, silent], tags, Cancel())
    assert answers.found == {fine: ()}
    assert answers.failed == {silent: lost}
    assert preflight([fine, silent], Cancel()).unavailable == ((silent, lost),)
    with pytest.raises(CredentialError):
        everywhere([silent, at("three", refused)], tags, Cancel())
    assert everywhere([], tags, Cancel()).found == {}
