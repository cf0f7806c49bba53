"""Threads that run one at a time, in an order that a seed decides: every race can be repeated."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


class TurnFuture(Future[T]):
    """Lets the others go on while somebody waits for it."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self._turns = turns

    def result(self, timeout: float | None = None) -> T:
        """Give the result, as soon as there is one."""
        self._turns.until(self.done)
        return super().result(timeout)


class Turns:
    """Hands the one turn from thread to thread. `watch` is called at every change.

    Each actor, with all threads it starts, is quick for a while and then slow: where all go at
    one pace, no request ever comes much later than the one it was meant to follow.
    """

    def __init__(self, seed: int, watch: Callable[[], None] = lambda: None) -> None:
        self.taken = 0
        self._random = random.Random(seed)
        self._watch = watch
        self._waiting: list[_Turn] = []
        self._mine = threading.local()
        self._pace: dict[int, float] = {}
        self._change = 0

    def run(self, *actors: Callable[[], object]) -> None:
        """Run actors to their end, one request of one of them at a time."""
        self._mine.turn = _Turn(0)
        begun = [self.start(actor, number) for number, actor in enumerate(actors, start=1)]
        for ended in begun:
            ended.result()

    def start(self, action: Callable[[], T], actor: int | None = None) -> Future[T]:
        """Begin something on a thread of its own; it waits for its turn."""
        future: Future[T] = TurnFuture(self)
        mine: _Turn = self._mine.turn
        turn = _Turn(mine.actor if actor is None else actor)
        self._waiting.append(turn)

        def work() -> None:
            turn.gate.acquire()
            self._mine.turn = turn
            try:
                future.set_result(action())
            except BaseException as error:  # noqa: BLE001  # raised again by whoever asks
                future.set_exception(error)
            self._hand_on()

        threading.Thread(target=work, daemon=True).start()
        return future

    def until(self, reached: Callable[[], bool]) -> None:
        """Let the others go on until something has happened."""
        while not reached():
            self.pass_on()

    def pass_on(self, *_: object) -> None:
        """Give the turn away, perhaps to oneself."""
        self._watch()
        mine: _Turn = self._mine.turn
        self._waiting.append(mine)
        self._hand_on()
        mine.gate.acquire()

    def _hand_on(self) -> None:
        self.taken += 1
        if self.taken >= self._change:
            self._change = self.taken + self._random.randrange(1, 60)
            self._pace = {actor: 10 ** self._random.uniform(-3, 0) for actor in range(16)}
        weights = [self._pace[turn.actor] for turn in self._waiting]
        chosen = self._random.choices(range(len(weights)), weights)[0]
        self._waiting.pop(chosen).gate.release()


@dataclass
class _Turn:
    """A thread's place in the queue, and on whose behalf it runs."""

    actor: int
    gate: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))


class TurnPool:
    """Stands in for a ThreadPoolExecutor; its threads take turns with all others."""

    turns: Turns

    def __init__(self, *_: object, **__: object) -> None:
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def map(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Give the results in the order of the items."""
        futures = [self.turns.start(partial(work, item)) for item in items]
        self.turns.until(lambda: all(future.done() for future in futures))
        return iter([future.result() for future in futures])

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Begin something."""
        return self.turns.start(partial(work, *args, **kwargs))

    def shutdown(self, **_: object) -> None:
        """Let what was begun come to its end by itself."""
