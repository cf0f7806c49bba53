"""What watches over slow answers costs nothing while answers come in time."""

from __future__ import annotations

import socket
import threading
from contextlib import closing

from podbuild.oci.transport.problem import Watch
from tests.counting import arguments

MANY = 200


def test_who_looks_by_itself_is_not_woken_for_every_answer() -> None:
    watch = Watch()
    here, there = socket.socketpair()

    def answers() -> None:
        for _ in range(MANY):
            with watch.over(here, 60.0):
                pass

    with closing(here), closing(there):
        woken = arguments(threading.Condition.notify, "n", answers)
    assert woken.total() < MANY / 2  # at most one for each look, and these are half a second apart


def test_an_answer_that_is_late_ends_after_times_without_any() -> None:
    watch = Watch()
    for _ in range(3):
        here, there = socket.socketpair()
        with closing(here), closing(there):
            with watch.over(here, 0.0) as entry:
                assert here.recv(1) == b""
            assert entry.expired
        while not watch._sleeps:  # it has nothing to look at
            threading.Event().wait(0.01)
