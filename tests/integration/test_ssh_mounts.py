"""RUN --mount=type=ssh with real engines: sockets under long names, and no agent at all."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from podbuild.build.toolchain.model import EngineKind
from tests.builds import NATIVE, busybox
from tests.shops import Shop, environment

pytestmark = pytest.mark.integration

LONG = "a-name-that-leaves-no-room-for-the-path-of-a-socket"
TOML = f"""\
[project]
name = "shop"

[images.{LONG}]
platforms = ["{NATIVE}"]
ssh = ["default"]
"""
CONTAINERFILE = """\
FROM scratch
COPY --chmod=755 busybox /bin/sh
RUN --mount=type=ssh,required=true --mount=type=cache,target=/kept <<EOF
set -e
[ -S "$SSH_AUTH_SOCK" ]
echo kept >> /kept/file
EOF
COPY <<EOF /file
from a heredoc
EOF
"""


@pytest.fixture(scope="module", params=list(EngineKind))
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("ssh")
    kind: EngineKind = request.param
    shop = Shop(root=folder / "shop", environment=environment(folder / LONG / LONG))
    shop = shop.having(PODBUILD_ENGINE=kind, XDG_RUNTIME_DIR=str(folder / LONG))
    (folder / LONG).mkdir(mode=0o700)
    shop.write("podbuild.toml", TOML)
    shop.write("Containerfile", CONTAINERFILE)
    (shop.root / "busybox").write_bytes(busybox(NATIVE.architecture).read_bytes())
    shop.git("init", "-q", "-b", "main")
    shop.write(".gitignore", "/dist/\n")
    shop.commit("v1.0.0")
    yield shop
    shop("clean", "--keep", "0")


def test_no_agent_is_said_before_anything_is_built(shop: Shop) -> None:
    done = shop("release")
    assert (done.code, "SSH_AUTH_SOCK is not set" in done.err) == (4, True), done.text
    assert not list((shop.root / "dist").glob("logs/*.log"))


def test_an_agent_is_reached_whatever_the_names(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind("agent")
        agent.listen()
        done = shop.having(SSH_AUTH_SOCK=str(tmp_path / "agent"))("build")
    assert done.code == 0, done.text
