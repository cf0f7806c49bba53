"""A job whose builder gets lost: another builder, then the same again, then an end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from podbuild.build.remote.job import Remotely
from podbuild.build.remote.spread import Spread
from podbuild.build.remote.ssh import FullBuilderError, LostBuilderError, UnfitBuilderError
from podbuild.oci.names import Platform
from podbuild.plan.model import Job
from podbuild.system.cancel import Cancel

JOB = Job("app", Platform.parse("linux/arm64"))


@dataclass
class Places:
    """Gives builders in their order, and those where the job got lost when no other is left."""

    names: Sequence[str]
    supplies: object = ()
    tried: list[str] = field(default_factory=list)

    @contextmanager
    def taken(self, _recipe: object, *, without: Sequence[str], first: float) -> Iterator[Any]:
        assert first == 1.0
        name = next((each for each in self.names if each not in without), self.names[0])
        self.tried.append(name)
        yield SimpleNamespace(name=name, builder=SimpleNamespace(name=name))


def spread(places: Places) -> Spread:
    recipe = SimpleNamespace(job=JOB, inner=SimpleNamespace(here={}, across={}))
    ui = SimpleNamespace(warn=lambda _text: None)
    known: Mapping[str, Any] = {
        "site": SimpleNamespace(cancel=Cancel(), ui=ui),
        "places": places,
        "recipes": {JOB: recipe},
    }
    return Spread(bases=frozenset(), image=lambda _job: None, first=lambda _job: 1.0, **known)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("kind", [LostBuilderError, UnfitBuilderError, FullBuilderError])
@pytest.mark.parametrize(
    ("names", "tried"),
    [(["one"], ["one"] * 3), (["one", "two"], ["one", "two", "one"]), ("abcd", ["a", "b", "c"])],
)
def test_a_job_is_given_up_after_three_builders(
    monkeypatch: pytest.MonkeyPatch, names: Sequence[str], tried: list[str], kind: type[Exception]
) -> None:
    def lost(_asked: Remotely) -> None:
        raise kind("gone")

    monkeypatch.setattr(Remotely, "build", lost)
    places = Places(names)
    with pytest.raises(LostBuilderError) as caught:
        spread(places).build(JOB)
    assert (places.tried, caught.value.exit_code) == (tried, 5)
    assert caught.value.message == "app linux/arm64: gone"
