from __future__ import annotations

import graphlib
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbuild.errors import BuildError
from podbuild.system.parallel import Ran, run_all


def failing(*names: str) -> Callable[[str], str]:
    def work(name: str) -> str:
        if name in names:
            raise BuildError(name)
        return name.upper()

    return work


def test_results_come_by_job() -> None:
    found = run_all({"a": (), "b": ("a",)}, failing(), workers=2)
    assert found == Ran({"a": "A", "b": "B"}, {}, frozenset())


def test_nothing_to_do_is_done() -> None:
    empty: dict[str, tuple[str, ...]] = {}
    assert run_all(empty, failing(), workers=1) == Ran({}, {}, frozenset())


def test_what_depends_on_a_failure_does_not_start_and_the_others_go_on() -> None:
    needs = {"base": (), "web": ("base",), "api": ("web",), "tool": (), "cli": ("tool",)}
    found = run_all(needs, failing("base"), workers=2)
    assert set(found.failed) == {"base"}
    assert found.skipped == {"web", "api"}
    assert found.done == {"tool": "TOOL", "cli": "CLI"}


def test_nothing_new_starts_when_work_must_not_go_on() -> None:
    started: list[str] = []

    def work(name: str) -> str:
        started.append(name)
        return name

    found = run_all(
        {"a": (), "b": ("a",), "c": ()}, work, workers=1, go_on=lambda: len(started) < 1
    )
    assert len(started) == 1
    assert len(found.done) == 1
    assert len(found.skipped) == 2


def test_fail_fast_lets_running_jobs_end() -> None:
    failed = threading.Event()
    both = threading.Barrier(2)

    def work(name: str) -> str:
        if name == "later":
            return name
        both.wait(60)
        if name == "bad":
            failed.set()
            raise BuildError(name)
        failed.wait(60)
        return name

    found = run_all(
        {"bad": (), "good": (), "later": ("good",)},
        work,
        workers=2,
        go_on=lambda: not failed.is_set(),
    )
    assert set(found.done) == {"good"}
    assert set(found.failed) == {"bad"}
    assert found.skipped == {"later"}


def test_of_the_ready_jobs_the_most_important_is_first() -> None:
    weights = {"a": 1.0, "b": 3.0, "c": 2.0}
    order: list[str] = []
    run_all(dict.fromkeys(weights, ()), order.append, workers=1, first=weights.__getitem__)
    assert order == ["b", "c", "a"]


def test_job_that_becomes_ready_later_can_go_first() -> None:
    order: list[str] = []
    needs: dict[str, tuple[str, ...]] = {"base": (), "slow": ("base",), "x": (), "y": ()}
    weights = {"base": 9.0, "slow": 8.0, "x": 1.0, "y": 0.0}
    run_all(needs, order.append, workers=1, first=weights.__getitem__)
    assert order == ["base", "slow", "x", "y"]


def test_no_worker_stands_idle_while_jobs_are_ready() -> None:
    together = threading.Barrier(3)

    def work(name: str) -> None:
        if name != "root":
            together.wait(60)  # breaks unless three run at once

    run_all({"root": (), "a": ("root",), "b": ("root",), "c": ("root",)}, work, workers=3)
    assert not together.broken


def test_jobs_that_must_be_apart_wait_for_each_other_and_others_do_not() -> None:
    inside: list[str] = []
    both = threading.Barrier(2)

    def work(name: str) -> None:
        if name.startswith("send"):
            assert not inside
            inside.append(name)
        if name in ("send 1", "other"):
            both.wait(60)  # breaks unless these two run at once
        if name.startswith("send"):
            inside.remove(name)

    weights = {"send 1": 4.0, "send 2": 3.0, "send 3": 2.0, "other": 1.0}
    found = run_all(
        dict.fromkeys(weights, ()),
        work,
        workers=4,
        first=weights.__getitem__,
        apart=lambda name: name.partition(" ")[0] if name != "other" else None,
    )
    assert not found.failed
    assert found.done.keys() == weights.keys()


def test_circle_is_refused_before_anything_starts() -> None:
    started: list[str] = []
    with pytest.raises(graphlib.CycleError):
        run_all({"a": ("b",), "b": ("a",), "c": ()}, started.append, workers=1)
    assert started == []


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_is_no_failure_of_a_job_ends_everything(kind: type[BaseException]) -> None:
    def work(_name: str) -> None:
        raise kind

    with pytest.raises(kind):
        run_all({"a": (), "b": ("a",)}, work, workers=1)


@st.composite
def graphs(draw: st.DrawFn) -> dict[int, tuple[int, ...]]:
    size = draw(st.integers(0, 8))
    return {
        node: tuple(draw(st.sets(st.integers(0, node - 1), max_size=3))) if node else ()
        for node in range(size)
    }


@given(graphs(), st.sets(st.integers(0, 7), max_size=3), st.integers(1, 4), st.integers(1, 3))
def test_every_job_is_done_failed_or_skipped_for_a_reason(
    needs: dict[int, tuple[int, ...]], bad: set[int], workers: int, groups: int
) -> None:
    ended: list[int] = []

    def work(node: int) -> int:
        assert all(other in ended for other in needs[node])
        if node in bad:
            raise BuildError(str(node))
        ended.append(node)
        return node

    found = run_all(
        needs, work, workers=workers, apart=lambda node: node % groups if node % 2 else None
    )
    assert found.done.keys() | found.failed.keys() | found.skipped == needs.keys()
    assert found.failed.keys() <= bad
    for node, needed in needs.items():
        reachable = all(other in found.done for other in needed)
        assert (node in found.skipped) == (not reachable)
