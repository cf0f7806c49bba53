"""What watches over slow answers costs nothing while answers come in time."""

from __future__ import annotations

import socket
import threading
from contextlib import closing

import pytest

from podbuild.errors import PublishError
from podbuild.oci.delete.rest import RestClient
from podbuild.oci.transport import problem
from podbuild.oci.transport.endpoint import Conduct, Timeouts, WayOut
from podbuild.oci.transport.problem import Watch
from podbuild.system.retry import Retry
from tests.counting import arguments
from tests.fakes.answering import Answer, answering

MANY = 200


def test_an_answer_may_take_as_long_to_begin_as_reading_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not as connecting may, whose time the socket still has then."""
    waits: list[float] = []

    def never(_sock: socket.socket, seconds: float) -> bool:
        waits.append(seconds)
        return False

    monkeypatch.setattr(problem, "wait_for_read", never)
    way = WayOut(timeouts=Timeouts(connect=300.0, read=7200.0))
    with answering(lambda _asked: Answer()) as server:
        client = RestClient(
            f"http://{server.host}", conduct=Conduct(retry=Retry(attempts=1)), network=way
        )
        with pytest.raises(PublishError, match="timed out"):
            client.request("GET", "/")
    assert waits == [7200.0]


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
