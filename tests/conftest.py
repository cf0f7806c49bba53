"""Unit tests are pure: a process or a connection off this machine is an error in them."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# A background job of a shell hands down an ignored SIGINT, which what tests start would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no failure: nothing here is judged by seconds. What decides whether a change
# lands tries the same examples each time; `make soak` tries more, and others.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("podbuild", _PATIENT, derandomize=True)
settings.register_profile("soak", _PATIENT, max_examples=500)
settings.load_profile("podbuild")

# The machine that runs the tests must not show in them: which CI it is, what the user set.
for _name in list(os.environ):
    if _name in {"CI", "NO_COLOR", "FORCE_COLOR"} or _name.startswith(
        ("PODBUILD_", "GITHUB_", "GITLAB_", "CI_", "DOCKERHUB_")
    ):
        del os.environ[_name]
os.environ["TERM"] = "xterm-256color"
for _number in (signal.SIGHUP, signal.SIGTERM):  # nohup hands on that it is ignored
    signal.signal(_number, signal.SIG_DFL)

_PROCESSES = frozenset({"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"})


class Purity:
    """An audit hook can't be taken out again, so it asks whether it is wanted."""

    wanted = False

    @classmethod
    def watch(cls, event: str, arguments: tuple[object, ...]) -> None:
        if not cls.wanted:
            return
        if event in _PROCESSES:
            raise AssertionError(f"a unit test started a process ({event}): mark it integration")
        if event == "socket.connect" and not _local(arguments[1]):
            raise AssertionError(f"a unit test left this machine: {arguments[1]}")


def _local(address: object) -> bool:
    match address:
        case (str(host), *_):
            return host in {"::1", "localhost"} or host.startswith("127.")
        case _:
            return True  # a path: AF_UNIX


sys.addaudithook(Purity.watch)


@pytest.fixture(autouse=True)
def _pure(request: pytest.FixtureRequest) -> Iterator[None]:
    Purity.wanted = request.node.get_closest_marker("integration") is None
    yield
    Purity.wanted = False


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how the runs of each kind ended that note it: kind, exit code, how many."""
    ends = Counter(
        (name, code)
        for report in terminalreporter.stats.get("passed", [])
        for name, code in report.user_properties
        if name.startswith("through ")
    )
    for (name, code), count in sorted(ends.items()):
        every = sum(number for (other, _), number in ends.items() if other == name)
        terminalreporter.write_line(f"{name}: {count} of {every} ended with {code}")
