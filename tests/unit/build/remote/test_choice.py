"""Which builder a job is given to, and when two engines count as the same."""

from __future__ import annotations

import pytest

from podbuild.build.remote.places import choose, engine_of
from podbuild.build.remote.ssh import BuilderFacts, UnfitBuilderError

NAMES = ("local", "one", "two")
ALL = dict.fromkeys(NAMES, 1)


@pytest.mark.parametrize(
    ("free", "known", "chosen"),
    [
        (ALL, None, "local"),  # in the order of the configuration where nothing is known
        (ALL, {"last": "two", "seconds": {"one": 1.0, "two": 9.0}}, "two"),  # its cache is warm
        (ALL, {"last": "gone", "seconds": {"one": 3.0, "two": 2.0}}, "two"),  # the fastest
        (ALL, {"last": "gone", "seconds": {"two": 2}}, "two"),
        ({"one": 1, "two": 0}, {"last": "two", "seconds": {"two": 1.0}}, "one"),  # a free slot
        ({"one": 0, "local": 0}, {"last": "one", "seconds": {}}, None),
        (ALL, {"last": 5, "seconds": ["odd"]}, "local"),  # a record that nobody wrote
        (ALL, "odd", "local"),
    ],
)
def test_a_free_slot_then_who_built_it_last_then_the_fastest(
    free: dict[str, int], known: object, chosen: str | None
) -> None:
    assert choose(NAMES, free, known) == chosen  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("own", "engine"),
    [
        ("buildah-1.43.2", "buildah-1.43.2"),  # what podman 5.8.6 has in it
        ("podman-5.8.6", "podman-5.8.6"),
        ("buildah-1.42.0", "buildah-1.43.2"),  # other bytes may come of it, so another input
        ("podman-5.8.5", "buildah-1.43.2"),
    ],
)
def test_an_engine_is_this_machines_where_the_version_is(own: str, engine: str) -> None:
    facts = BuilderFacts.parse("5.8.6 overlay 1.43.2 amd64 2")
    assert engine_of(facts, own) == engine


@pytest.mark.parametrize("line", ["", "5.8.6", "5.8.6 overlay 1.43.2 amd64 many", "a b c d e f"])
def test_facts_that_are_none_make_a_builder_unfit(line: str) -> None:
    with pytest.raises(UnfitBuilderError):
        BuilderFacts.parse(line)
