"""Run a graph of jobs on N workers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(frozen=True)
class Ran(Generic[K, T]):
    """What became of each job: a result, an error, or not started because of another's error."""

    done: Mapping[K, T]
    failed: Mapping[K, Exception]
    skipped: frozenset[K]


def run_all(
    needs: Mapping[K, Collection[K]],
    work: Callable[[K], T],
    *,
    workers: int,
    first: Callable[[K], float] = lambda _job: 0.0,
    apart: Callable[[K], Hashable | None] = lambda _job: None,
    go_on: Callable[[], bool] = lambda: True,
) -> Ran[K, T]:
    """Run each job when all it needs is done; of the ready ones, the highest `first` first.

    Jobs of which `apart` says the same, None apart, never run at once. A failure keeps what depends
    on it from starting; the others go on while `go_on` says so.
    Raises graphlib.CycleError for a circle.
    """
    graph = TopologicalSorter(needs)
    graph.prepare()
    done, failed = dict[K, T](), dict[K, Exception]()
    ready: list[K] = []
    running: dict[Future[T], K] = {}

    def next_ready() -> K | None:
        busy = {apart(job) for job in running.values()} - {None}
        free = [at for at, job in enumerate(ready) if apart(job) not in busy]
        return ready.pop(free[-1]) if free else None

    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="job") as pool:
        while True:
            ready = sorted((*ready, *graph.get_ready()), key=first)
            while len(running) < workers and go_on() and (job := next_ready()) is not None:
                running[pool.submit(work, job)] = job
            if not running:
                return Ran(done, failed, frozenset(needs) - done.keys() - failed.keys())
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                try:
                    done[job] = future.result()
                    graph.done(job)
                except Exception as error:  # noqa: BLE001  # whatever it is, the others go on
                    failed[job] = error
