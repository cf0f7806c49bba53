"""What lasts between runs: the engine's layers and cache mounts, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from podbuild.build.model import Built
from podbuild.build.toolchain.model import EngineKind
from podbuild.plan.model import Job
from podbuild.system.cancel import Cancel
from tests.builds import NATIVE, Bench, new_bench, opened, remove_bench

pytestmark = pytest.mark.integration

WEB = """\
FROM base
RUN --mount=type=cache,target=/kept <<EOF
echo {word} >> /kept/words
cp /kept/words /words
EOF
RUN --mount=type=secret,id=key cat /run/secrets/key > /tmp/gone && rm /tmp/gone
"""
SECRET = "a-secret-that-must-not-last"


@pytest.fixture(params=list(EngineKind))
def bench(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    found = new_bench(tmp_path_factory.mktemp("cache"), request.param)
    found.environment = {"KEY": SECRET}
    yield found
    remove_bench(found)


def build(bench: Bench, word: str) -> tuple[Built, bytes]:
    """Build in a run of its own; give what was built and the words in the image."""
    toml = f'[defaults]\nplatforms = ["{NATIVE}"]\n' + bench.write_base(NATIVE)
    toml += '[images.web]\ncontext = "web"\ncontexts = { base = "image:base" }\n'
    toml += 'secrets = [{ id = "key", env = "KEY" }]\n'
    bench.write("web/Containerfile", WEB.format(word=word))
    with opened(bench) as place:
        built = place.build(toml)
        web = built.images[Job("web", NATIVE)].manifest
        return built, place.files("web", web)["words"]


def test_layers_and_cache_mounts_last_and_an_edited_heredoc_is_seen(bench: Bench) -> None:
    first, words = build(bench, "one")
    assert words == b"one\n"
    again, words = build(bench, "one")
    assert words == b"one\n"
    assert again.images[Job("web", NATIVE)].metrics.cached_steps >= 2
    assert {job: image.manifest.digest for job, image in again.images.items()} == {
        job: image.manifest.digest for job, image in first.images.items()
    }
    edited, words = build(bench, "two")
    assert words == b"one\ntwo\n"
    assert edited.images[Job("base", NATIVE)].metrics.cached_steps > 0
    kept = [path for path in (bench.folders.cache / "mounts").rglob("*") if path.is_file()]
    assert [path.name for path in kept if path.name == "words"]
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]


def test_two_runs_share_storages_at_the_same_time(bench: Bench) -> None:
    build(bench, "one")
    results: list[bytes] = []
    failures: list[BaseException] = []

    def other(word: str) -> None:
        project = replace(bench, folder=bench.folder / word, cancel=Cancel())
        project.project.mkdir(parents=True)
        try:
            results.append(build(project, word)[1])
        except BaseException as error:  # noqa: BLE001  # told below
            failures.append(error)

    threads = [threading.Thread(target=other, args=(word,)) for word in ("two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sorted(results) == [b"three\n", b"two\n"]


def test_an_image_that_the_storage_holds_whole_is_delivered_again(bench: Bench) -> None:
    """buildah fails to commit directly what is wholly cached."""
    first, _ = build(bench, "one")
    toml = f'[defaults]\nplatforms = ["{NATIVE}"]\n' + bench.write_base(NATIVE)
    with opened(bench) as place:
        again = place.build(toml.replace("publish = false\n", ""))
    base = Job("base", NATIVE)
    assert again.images[base].manifest.digest == first.images[base].manifest.digest
    metrics = again.images[base].metrics
    assert (metrics.cached_steps > 0, metrics.retries) == (True, 0)
