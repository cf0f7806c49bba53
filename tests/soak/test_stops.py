"""A stop, a second one and a timeout while a tag moves: tags go back, and the end is told.

The first moving tag is held: once the last one has moved there is nothing to take back.
"""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tests.faults import Delay, Fault, fault_proxy
from tests.registries import Server
from tests.soak.conftest import Undisturbed
from tests.soak.trials import OLD, Trial

pytestmark = pytest.mark.integration
MOVING = ("1.2", "1", "latest")


@dataclass
class HeldBack:
    """Holds the first request that moves a tag, until the test lets it go."""

    tag: str
    arrived: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def choose(self, method: str, path: str) -> Fault | None:
        if method != "PUT" or not path.endswith(f"/web/manifests/{self.tag}"):
            return None
        if self.arrived.is_set():
            return None
        self.arrived.set()
        return Delay(self.go)


@dataclass
class Held:
    """A release that waits in the middle of moving a tag."""

    trial: Trial
    gate: HeldBack
    process: subprocess.Popen[str]

    def let_go(self) -> None:
        self.gate.go.set()


@pytest.fixture
def hold(
    servers: tuple[Server, Server], make_trial: Callable[..., Trial]
) -> Iterator[Callable[..., Held]]:
    started: list[Held] = []
    gate = HeldBack("1.2")

    with fault_proxy(servers[1].host, gate) as proxy:

        def start(*options: str) -> Held:
            trial = make_trial(two=proxy.host)
            held = Held(trial, gate, trial.start(*options))
            started.append(held)
            assert gate.arrived.wait(120), trial.finish(held.process).said
            return held

        yield start
        gate.go.set()
        for held in started:
            with held.process as process:
                process.kill()


def moving_tags_are_back(trial: Trial) -> bool:
    """Tell whether the moving tags name what the version tag of the last release names."""
    return all(tags[tag] == tags[OLD[0]] for tags in trial.tags().values() for tag in MOVING)


def finish_again(trial: Trial, undisturbed: Undisturbed) -> None:
    ended = trial.release()
    assert ended.code == 0, ended.said
    assert trial.check_finished() == undisturbed.digests
    trial.check_nothing_left()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stop_while_a_tag_moves_puts_moving_tags_back(
    hold: Callable[..., Held], undisturbed: Undisturbed, number: int, code: int
) -> None:
    held = hold()
    held.process.send_signal(number)
    assert held.process.stdout is not None
    while "once more leaves at once" not in (line := held.process.stdout.readline()):
        assert line, "it ended without a word"
    held.let_go()
    ended = held.trial.finish(held.process)
    assert ended.code == code, ended.said
    assert "live now" in ended.said
    assert moving_tags_are_back(held.trial), ended.said
    finish_again(held.trial, undisturbed)


def test_second_stop_leaves_at_once(hold: Callable[..., Held], undisturbed: Undisturbed) -> None:
    held = hold()
    held.process.send_signal(signal.SIGTERM)
    assert held.process.stdout is not None
    while "once more leaves at once" not in (line := held.process.stdout.readline()):
        assert line, "it ended without a word"
    held.process.send_signal(signal.SIGTERM)
    assert held.trial.finish(held.process).code == 143  # while the request still waits
    held.let_go()
    held.trial.check_nothing_partial()
    finish_again(held.trial, undisturbed)


@pytest.mark.soak
def test_time_that_is_over_while_a_tag_moves_puts_moving_tags_back(
    hold: Callable[..., Held], undisturbed: Undisturbed
) -> None:
    held = hold("--timeout", "60s")
    with pytest.raises(subprocess.TimeoutExpired):
        held.process.wait(60)
    held.let_go()
    ended = held.trial.finish(held.process)
    assert ended.code == 8, ended.said
    assert moving_tags_are_back(held.trial), ended.said
    finish_again(held.trial, undisturbed)
