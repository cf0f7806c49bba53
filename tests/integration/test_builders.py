"""Builds on another machine: an sshd on loopback, real engines on both sides."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builds import NATIVE, busybox
from tests.machines import Machine, machine
from tests.shops import Shop, environment

pytestmark = pytest.mark.integration

SECRET = "a-secret-that-nothing-keeps"
TOML = f"""\
[project]
name = "shop"

[defaults]
platforms = ["{NATIVE}"]

[images.base]
context = "base"
publish = false

[images.app]
context = "app"
containerfile = "app.Containerfile"
contexts = {{ base = "image:base", more = "more" }}
secrets = [{{ id = "token", env = "TOKEN" }}]

[images.small]
context = "app"
containerfile = "small.Containerfile"
compression = "zstd"
layers = false
contexts = {{ base = "image:base" }}

[builders.b1]
host = "builder"
"""
BASE = """\
FROM scratch
COPY --chmod=755 busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox --install -s /bin && mkdir /tmp"]
SHELL ["/bin/sh", "-ec"]
"""
APP = """\
FROM base
ARG WHAT=nothing
ENV WHAT=$WHAT
RUN <<EOF
echo "$WHAT" > /made
EOF
COPY --chmod=640 . /app/
COPY --from=more . /more/
COPY <<EOF /text
a text with $WHAT
EOF
RUN --mount=type=secret,id=token,env=TOKEN --mount=type=cache,target=/kept \\
    [ -n "$TOKEN" ] && echo kept >> /kept/file
RUN --mount=type=bind,target=/context ls -lR /context | grep -c . > /seen
HEALTHCHECK CMD ["/bin/true"]
CMD ["sh"]
"""


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine(tmp_path_factory.mktemp("machine") / "m") as found:
        yield found


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, builder: Machine) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("builders")
    found = Shop(root=folder / "shop", environment=environment(folder / "own"))
    path = f"{builder.path}:{found.environment['PATH']}"
    found = found.having(PATH=path, TOKEN=SECRET)
    found.write("podbuild.toml", TOML)
    found.write("base/Containerfile", BASE)
    (found.root / "base/busybox").write_bytes(busybox(NATIVE.architecture).read_bytes())
    found.write("app.Containerfile", APP)
    found.write("app/.containerignore", "left-out\n")
    found.write("app/left-out/file", "not for builds")
    found.write("app/dir/program", "#!/bin/sh\n").chmod(0o755)
    (found.root / "app/link").symlink_to("dir/program")
    (found.root / "app/empty").mkdir()
    found.write("more/file", "more")
    found.write("small.Containerfile", "FROM base\nCOPY dir /dir\nRUN echo small > /made\n")
    found.git("init", "-q", "-b", "main")
    found.write(".gitignore", "/dist/\n")
    found.commit("v1.0.0")
    yield found
    found("clean", "--keep", "0")


def digests(shop: Shop) -> dict[str, str]:
    built = json.loads((shop.root / "dist/state.json").read_text())["built"]
    return {job: record["digest"] for job, record in built.items()}


def holding(text: str, *folders: Path) -> list[str]:
    argv = ("grep", "-rlsaF", "--", text, *map(str, folders))
    return subprocess.run(argv, check=False, capture_output=True, text=True).stdout.split()


def test_a_builder_gives_what_this_machine_gives(shop: Shop, builder: Machine) -> None:
    done = shop("build", "--no-builders", "--no-reuse")
    assert done.code == 0, done.text
    here = digests(shop)
    done = shop("build", "--no-reuse", "--builder", "b1")
    assert done.code == 0, done.text
    assert (digests(shop), "on b1" in done.text) == (here, True), done.text
    assert builder.left == []
    assert builder.processes() == []
    assert holding(SECRET, builder.home, shop.root / "dist") == []


def test_a_killed_run_leaves_nothing_there(shop: Shop, builder: Machine) -> None:
    lasting = "RUN --mount=type=secret,id=token setsid sleep 98761 & sleep 98762\n"
    shop.write("app.Containerfile", f"{APP}{lasting}")
    process = shop.start("build", "app", "--builder", "b1")
    while not all(map(running, ("98761", "98762"))):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.kill()
    process.communicate()
    while builder.left or builder.processes() or running("98761") or running("98762"):
        time.sleep(0.1)
    shop.write("app.Containerfile", APP)
    assert holding(SECRET, builder.home, shop.root / "dist") == []


def running(number: str) -> bool:
    argv = ("pgrep", "-f", f"^sleep {number}")
    return subprocess.run(argv, check=False, stdout=subprocess.PIPE).returncode == 0
