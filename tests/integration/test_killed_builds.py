"""What kill -9 leaves of a build: the next run removes it, and so does `clean`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from podbuild.build.containers import container_ids
from podbuild.build.toolchain.model import EngineKind
from tests.builds import NATIVE, busybox
from tests.shops import Shop, environment

pytestmark = pytest.mark.integration

TOML = f"""\
[project]
name = "shop"

[defaults]
platforms = ["{NATIVE}"]

[images.small]
context = "small"

[images.slow]
context = "slow"
"""
SLOW = """\
FROM scratch AS shell
COPY --chmod=755 busybox /bin/sh
FROM shell
RUN echo begun; while :; do :; done
"""


@pytest.fixture(scope="module", params=list(EngineKind))
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("killed")
    kind: EngineKind = request.param
    shop = Shop(root=folder / "shop", environment=environment(folder))
    shop = shop.having(PODBUILD_ENGINE=kind)
    shop.root.mkdir()
    shop.write("podbuild.toml", TOML)
    shop.write("small/Containerfile", "FROM scratch\nCOPY Containerfile /\n")
    shop.write("slow/Containerfile", SLOW)
    (shop.root / "slow/busybox").write_bytes(busybox(NATIVE.architecture).read_bytes())
    assert shop("build", "small").code == 0
    yield shop
    shop("clean", "--keep", "0")


def containers(shop: Shop) -> list[str]:
    engines = Path(shop.environment["XDG_CACHE_HOME"], "podbuild", "engines")
    return [each for graph in engines.glob("*/*/graph") for each in container_ids(graph)]


def kill_a_build(shop: Shop) -> None:
    """Kill podbuild in the middle of a RUN."""
    log = shop.root / "dist/logs" / f"slow-{NATIVE.slug}.log"
    log.unlink(missing_ok=True)
    process = shop.start("build", "slow")
    while not log.exists() or "begun\n" not in log.read_text():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert containers(shop), "the kill left nothing: this test tests nothing"


def test_the_next_run_removes_them_though_it_builds_nothing(shop: Shop) -> None:
    kill_a_build(shop)
    done = shop("build", "small")
    assert (done.code, "unchanged" in done.text or "built before" in done.text) == (0, True)
    assert not containers(shop)


def test_clean_removes_them_and_keeps_the_storage(shop: Shop) -> None:
    kill_a_build(shop)
    kill_a_build(shop)  # the second run removes what the first left
    assert shop("clean", "--dry-run").code == 0
    assert containers(shop)
    assert shop("clean").code == 0
    assert not containers(shop)
