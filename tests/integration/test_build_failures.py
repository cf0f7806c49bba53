"""What goes wrong in a build, with real engines, and what is left of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from podbuild.build.containers import container_ids
from podbuild.build.inputs.secrets import find_secrets
from podbuild.build.jobs import build_all
from podbuild.build.toolchain.model import EngineKind
from podbuild.errors import BuildError, CredentialError, DeadlineError, InterruptedBySignal
from podbuild.plan.model import Job
from podbuild.system.cancel import Cancel
from tests.builds import (
    LASTING,
    NATIVE,
    WAITS,
    Bench,
    busybox,
    heard,
    new_bench,
    opened,
    remove_bench,
)

pytestmark = pytest.mark.integration

SHELL = """\
FROM scratch
COPY busybox /bin/sh
SHELL ["/bin/sh", "-c"]
"""


@pytest.fixture(scope="module", params=list(EngineKind))
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    bench = new_bench(tmp_path_factory.mktemp("failures"), request.param)
    yield bench
    remove_bench(bench)


@pytest.fixture
def bench(shared: Bench) -> Bench:
    return replace(shared, cancel=Cancel())


def table(bench: Bench, image: str, containerfile: str, *keys: str) -> str:
    """Write an image that has a shell, for this machine's platform, and give its table."""
    (bench.project / image).mkdir(exist_ok=True)
    shell = bench.project / image / "busybox"
    shell.unlink(missing_ok=True)
    shell.write_bytes(busybox(NATIVE.architecture).read_bytes())
    shell.chmod(0o755)
    bench.write(f"{image}/Containerfile", containerfile)
    lines = (f"[images.{image}]", f'context = "{image}"', f'platforms = ["{NATIVE}"]', *keys)
    return "\n".join(lines) + "\n"


def left_behind(bench: Bench) -> list[str]:
    """Give what only a run that goes on may have."""
    found = [str(path) for path in (bench.folders.cache / "runs").iterdir() if path.is_dir()]
    found += [str(path) for path in (bench.folders.runtime / "runs").iterdir() if path.is_dir()]
    for graph in bench.folders.cache.glob("engines/*/*/graph"):
        found += container_ids(graph)
    return found


def stop_when_begun(bench: Bench, log: Path) -> None:
    """Ask for a stop as soon as the RUN has said that it began."""
    while not log.exists() or "begun\n" not in log.read_text():
        bench.cancel.sleep(0.05)
    bench.cancel.request(signal.SIGINT)


def test_a_failing_run_gives_its_own_code_and_its_last_words(bench: Bench) -> None:
    said = WAITS.format("echo my last words")
    toml = table(bench, "bad", f"{SHELL}RUN {LASTING} <<END\n{said}\nexit 7\nEND\n")
    toml += table(bench, "good", f"{SHELL}RUN echo fine\n")
    log = bench.project / f"dist/logs/bad-{NATIVE.slug}.log"
    with opened(bench) as place, heard("my last words", log, bench.folders.cache / "mounts"):
        built = build_all(place.work(bench.plan(toml)))
    assert built.images.keys() == {Job("good", NATIVE)}
    with pytest.raises(
        BuildError, match=rf"Containerfile:4: bad {NATIVE}: RUN .* ended with code 7"
    ) as raised:
        built.check()
    assert raised.value.run_code == 7
    assert "my last words" in "\n".join(raised.value.details)
    assert not left_behind(bench)


def test_what_depends_on_a_failure_is_not_built(bench: Bench) -> None:
    toml = table(bench, "bad", f"{SHELL}RUN exit 3\n")
    toml += table(bench, "web", "FROM base\n", 'contexts = { base = "image:bad" }')
    with opened(bench) as place:
        built = build_all(place.work(bench.plan(toml)))
    assert built.failed.keys() == {Job("bad", NATIVE)}
    assert built.skipped == {Job("web", NATIVE)}


def test_a_file_that_is_not_there_is_named(bench: Bench) -> None:
    toml = table(bench, "bad", "FROM scratch\nCOPY missing.txt /\n")
    with opened(bench) as place, pytest.raises(BuildError, match=r"missing\.txt") as raised:
        place.build(toml)
    assert raised.value.run_code is None


def test_a_secret_that_is_not_set_is_an_error_before_any_build(bench: Bench) -> None:
    toml = table(bench, "web", "FROM scratch\n", 'secrets = [{ id = "npm", env = "NPM_TOKEN" }]')
    with pytest.raises(CredentialError, match="'npm' of image 'web': NPM_TOKEN is not set"):
        find_secrets(bench.plan(toml).images, {}, on_value=lambda _value: None)


def test_a_secret_from_a_file_with_any_bytes_reaches_run(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"one\0two\xff\n")
    toml = table(
        bench,
        "web",
        f"{SHELL}RUN --mount=type=secret,id=key /bin/sh -c 'read a < /run/secrets/key; [ $a ]'\n",
        f'secrets = [{{ id = "key", file = "{path}" }}]',
    )
    with opened(bench) as place:
        place.build(toml)


def test_an_image_that_takes_too_long_is_stopped(bench: Bench) -> None:
    toml = table(bench, "slow", f"{SHELL}RUN while :; do :; done\n", 'timeout = "2s"')
    with opened(bench) as place, pytest.raises(DeadlineError, match=f"slow {NATIVE}"):
        place.build(toml)
    assert not left_behind(bench)


def test_a_stop_ends_the_whole_tree_and_leaves_nothing(bench: Bench) -> None:
    toml = table(bench, "slow", f"{SHELL}RUN echo begun; while :; do :; done\n")
    with opened(bench) as place:
        work = place.work(bench.plan(toml))
        log = bench.project / "dist" / "logs" / f"slow-{NATIVE.slug}.log"
        log.unlink(missing_ok=True)
        threading.Thread(target=stop_when_begun, args=(bench, log), daemon=True).start()
        with pytest.raises(InterruptedBySignal):
            build_all(work)
    assert not left_behind(bench)
