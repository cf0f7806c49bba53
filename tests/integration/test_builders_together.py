"""Several builders: each has its platforms, and what one loses another builds."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from collections.abc import Iterator

import pytest

from tests.builds import busybox
from tests.fakes.answering import Answer, Asked, answering
from tests.machines import Machine, machine, pids_of, send
from tests.shops import BOTH, Done, Shop, environment

pytestmark = pytest.mark.integration

TOML = f"""\
[project]
name = "pair"

[images.app]
context = "app"
platforms = {json.dumps(BOTH)}

[builders.first]
host = "one"
platforms = ["linux/amd64"]

[builders.second]
host = "two"
platforms = {json.dumps(BOTH)}
"""
APP = """\
FROM scratch
ARG TARGETARCH
COPY --chmod=755 busybox-$TARGETARCH /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "uname -m > /machine; : MARK"]
"""


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, Machine]]:
    folder = tmp_path_factory.mktemp("machines")
    with (
        machine(folder / "1", "one") as one,
        machine(folder / "2", "two", beside=one) as two,
    ):
        yield one, two


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory, machines: tuple[Machine, Machine]
) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("pair")
    found = Shop(root=folder / "pair", environment=environment(folder / "own"))
    found = found.having(PATH=f"{machines[0].path}:{found.environment['PATH']}")
    found.write("podbuild.toml", TOML)
    found.write("app/Containerfile", APP)
    for name in ("amd64", "arm64"):
        shutil.copyfile(busybox(name), found.root / f"app/busybox-{name}")
    yield found
    found("clean", "--keep", "0")


def build(pair: Shop, *options: str) -> tuple[Done, dict[str, tuple[str, str]]]:
    """Build, and give each platform's builder and digest."""
    done = pair("build", "--version", "1.0.0", *options)
    assert done.code == 0, done.text
    jobs = json.loads((pair.root / "dist/metrics.json").read_text())["jobs"]
    built = json.loads((pair.root / "dist/state.json").read_text())["built"]
    return done, {
        each["platform"]: (each["builder"], built[f"app {each['platform']}"]["digest"])
        for each in jobs
    }


def test_every_platform_has_its_builder_and_the_digests_are_those_of_this_machine(
    pair: Shop,
) -> None:
    amd64, arm64 = BOTH
    done, there = build(pair, "--builder", "first", "--builder", "second")
    assert (there[amd64][0], there[arm64][0]) == ("first", "second"), done.text
    _, here = build(pair, "--no-builders", "--no-reuse")
    assert [here[each] for each in BOTH] == [("", there[each][1]) for each in BOTH]


def test_what_a_lost_builder_had_another_builds(
    pair: Shop, machines: tuple[Machine, Machine]
) -> None:
    begun, lost = threading.Event(), threading.Event()

    def answer(_asked: Asked) -> Answer:
        """Let the first RUN that asks last until its builder is lost."""
        begun.set()
        lost.wait()
        return Answer(200)

    with answering(answer) as server:
        ask = f"; wget -q -O /dev/null http://{server.host}/; :"
        pair.write("app/Containerfile", APP.replace("; :", ask))
        options = ("--platform", BOTH[0], "--builder", "first", "--builder", "second")
        process = pair.start("build", "--version", "1.0.0", *options)
        while not begun.wait(0.05):
            assert process.poll() is None, process.communicate()
        send(signal.SIGKILL, *pids_of(f"/ssh -F {machines[0].folder}/", " -- one exec"))
        machines[0].wait_until_empty()
        lost.set()
        _, said = process.communicate()
    assert process.returncode == 0, said
    assert "lost the builder first; built again" in said
    assert "on second: done" in said
    for each in machines:
        each.wait_until_empty()
