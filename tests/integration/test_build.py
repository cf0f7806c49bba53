"""Real engines, both of them: from Containerfiles to staged images and their indexes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pytest

from podbuild.build.jobs import build_all
from podbuild.build.model import Built, Known
from podbuild.build.toolchain.emulation import native_architecture
from podbuild.build.toolchain.model import EngineKind
from podbuild.oci.manifest import Manifest, MediaType
from podbuild.oci.names import Platform
from podbuild.plan.labels import BASE_DIGEST, BASE_NAME, REVISION, VERSION
from podbuild.plan.model import Job, Plan
from tests.builds import COMMIT, NATIVE, Bench, Open, new_bench, opened, remove_bench

pytestmark = pytest.mark.integration

FOREIGN = Platform("linux", "arm64" if native_architecture() == "amd64" else "amd64")
BOTH = tuple(sorted((NATIVE, FOREIGN)))
MACHINES = {"amd64": b"x86_64\n", "arm64": b"aarch64\n"}
SECRET = "correct-horse-battery-staple"
TOML = f"""
[defaults]
platforms = ["{BOTH[0]}", "{BOTH[1]}"]

[images.web]
context = "web"
contexts = {{ base = "image:base" }}
target = "runtime"
build-args = {{ FLAVOR = "slim" }}
secrets = [{{ id = "npm", env = "NPM_TOKEN" }}]
[images.web.labels]
"com.example.team" = "a b=c"

[images.worker]
context = "worker"
contexts = {{ base = "image:base" }}
format = "docker"
layers = false

[images.tool]
context = "tool"
contexts = {{ base = "image:base" }}
compression = "zstd"
platforms = ["{NATIVE}"]
"""
WEB = """\
FROM base AS build
ARG FLAVOR
RUN --mount=type=secret,id=npm <<EOF
uname -m > /machine
echo $FLAVOR > /flavor
wc -c < /run/secrets/npm > /length
EOF
FROM base AS runtime
COPY --from=build /machine /flavor /length /made/
COPY . /context/
COPY <<END /said
from a heredoc
END
FROM runtime AS unwanted
RUN false
"""
WORKER = """\
FROM base
RUN uname -m > /machine
HEALTHCHECK CMD true
"""


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A project that was built and assembled once, for tests that only look."""

    bench: Bench
    place: Open
    plan: Plan
    built: Built
    published: Mapping[str, Manifest]

    def child(self, image: str, platform: Platform = NATIVE) -> Manifest:
        return self.built.images[Job(image, platform)].manifest


def write_shop(bench: Bench) -> str:
    """Write the project and give its configuration."""
    table = bench.write_base(*BOTH)
    bench.write("web/Containerfile", WEB)
    bench.write("web/kept.txt", "kept")
    bench.write("web/left/out.txt", "left out")
    bench.write("web/.containerignore", "left\n")
    bench.write(
        "worker/Containerfile", "FROM base\nRUN uname -m > /machine\nHEALTHCHECK CMD true\n"
    )
    bench.write("tool/Containerfile", "FROM base\nRUN echo tool > /tool\n")
    bench.environment = {"NPM_TOKEN": SECRET}
    return TOML + table


@pytest.fixture(scope="module", params=list(EngineKind))
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    bench = new_bench(tmp_path_factory.mktemp("shop"), request.param)
    plan = bench.plan(write_shop(bench))
    with opened(bench, *BOTH) as place:
        built = build_all(place.work(plan))
        built.check()
        published = place.assemble(plan, built)
        yield Shop(
            bench=bench,
            place=place,
            plan=plan,
            built=built,
            published=published,
        )
    remove_bench(bench)


@pytest.mark.parametrize("platform", BOTH, ids=str)
def test_a_heredoc_runs_a_program_of_the_target_architecture(
    shop: Shop, platform: Platform
) -> None:
    for image, path in (("web", "made/machine"), ("worker", "machine")):
        files = shop.place.files(image, shop.child(image, platform))
        assert files[path] == MACHINES[platform.architecture]


def test_target_build_argument_and_ignore_file_hold(shop: Shop) -> None:
    files = shop.place.files("web", shop.child("web"))
    assert files["made/flavor"] == b"slim\n"
    assert files["said"] == b"from a heredoc\n"
    assert "context/kept.txt" in files
    assert not [name for name in files if "left" in name]


def test_a_secret_is_there_during_the_build_and_nowhere_after(shop: Shop) -> None:
    files = shop.place.files("web", shop.child("web"))
    assert files["made/length"].strip() == str(len(SECRET)).encode()
    assert not [name for name, content in files.items() if SECRET.encode() in content]
    kept = (shop.bench.project, shop.bench.folders.runtime, shop.bench.folders.cache / "runs")
    files_here = [path for folder in kept for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in files_here if SECRET.encode() in path.read_bytes()]
    assert SECRET not in shop.bench.text


def test_a_base_of_the_project_is_named_by_nothing_that_only_this_machine_knows(
    shop: Shop,
) -> None:
    web = shop.child("web")
    assert not {BASE_NAME, BASE_DIGEST} & web.annotations.keys()
    said = str(shop.place.config("web", web)) + str(web.content)
    assert "localhost" not in said
    assert "127.0.0.1" not in said


def test_a_base_is_compressed_once_for_all_that_build_on_it(shop: Shop) -> None:
    base = shop.child("base")
    digests = [layer.digest for layer in base.layers]
    assert digests
    assert [layer.digest for layer in shop.child("web").layers[: len(digests)]] == digests


def test_records_of_known_blobs_are_podbuilds_own_and_apart_by_compression(shop: Shop) -> None:
    """For root, engines would keep one record for all in /var/lib/containers."""
    found = shop.place.workplace.storages.glob("blobs-*/containers/cache/blob-info-cache-*")
    assert {path.parents[2].name for path in found} == {"blobs-gzip", "blobs-zstd"}


def test_labels_are_stable_and_annotations_follow_the_format(shop: Shop) -> None:
    web = shop.place.config("web", shop.child("web"))["config"]
    assert isinstance(web, dict)
    assert web["Labels"] == {
        "com.example.team": "a b=c",
        "org.opencontainers.image.title": "web",
    }
    assert shop.child("web").annotations["org.opencontainers.image.title"] == "web"
    assert not shop.child("worker").annotations


def test_docker_format_keeps_its_healthcheck_also_in_an_index(shop: Shop) -> None:
    worker = shop.child("worker")
    assert worker.media_type == MediaType.DOCKER_MANIFEST
    config = shop.place.config("worker", worker)["config"]
    assert isinstance(config, dict)
    assert config["Healthcheck"] == {"Test": ["CMD-SHELL", "true"]}
    assert worker.digest in {child.digest for child in shop.published["worker"].children}


def test_without_layers_an_image_adds_one_layer_to_its_base(shop: Shop) -> None:
    assert len(shop.child("worker").layers) == len(shop.child("base").layers) + 1


def test_zstd_is_a_choice(shop: Shop) -> None:
    def endings(image: str) -> set[str]:
        return {layer.media_type.rpartition("+")[2] for layer in shop.child(image).layers}

    assert endings("tool") == {"zstd"}
    assert endings("web") == {"gzip"}


@pytest.mark.parametrize("image", ["web", "worker"])
def test_an_index_lists_every_platform_unchanged_and_sorted(shop: Shop, image: str) -> None:
    index = shop.published[image]
    assert index.media_type == MediaType.OCI_INDEX
    assert [(child.platform, child.digest) for child in index.children] == [
        (platform, shop.child(image, platform).digest) for platform in BOTH
    ]
    assert index.annotations[VERSION] == "1.2.3"
    assert index.annotations[REVISION] == COMMIT


def test_the_same_index_is_made_again(shop: Shop) -> None:
    again = shop.place.assemble(shop.plan, shop.built)
    assert {name: found.digest for name, found in again.items()} == {
        name: found.digest for name, found in shop.published.items()
    }


def test_one_platform_is_published_as_itself_with_the_releases_texts(shop: Shop) -> None:
    tool, child = shop.published["tool"], shop.child("tool")
    assert tool.layers == child.layers
    config = shop.place.config("tool", tool)
    labels = config["config"]
    assert isinstance(labels, dict)
    assert isinstance(labels["Labels"], dict)
    assert labels["Labels"][REVISION] == COMMIT
    assert tool.annotations[VERSION] == "1.2.3"
    assert config["rootfs"] == shop.place.config("tool", child)["rootfs"]


def test_each_job_says_what_it_cost_and_has_a_log(shop: Shop) -> None:
    web = shop.built.images[Job("web", NATIVE)].metrics
    assert web.seconds > 0
    assert web.cpu_seconds > 0
    assert web.peak_memory > 1_000_000
    assert web.context_bytes >= len("kept")
    assert web.layer_bytes == sum(layer.size for layer in shop.child("web").layers)
    log = (shop.bench.project / "dist" / "logs" / f"web-{NATIVE.slug}.log").read_text()
    assert "COPY --from=build" in log


def test_what_is_known_is_not_built_again_and_its_dependants_are(shop: Shop) -> None:
    base = Job("base", NATIVE)
    plan = shop.bench.plan(write_shop(shop.bench).replace("slim", "fat"))
    work = shop.place.work(plan)
    recipes = {job: work.recipes[job] for job in (base, Job("web", NATIVE))}
    known = {base: Known(manifest=shop.child("base"), reason="it was built before")}
    again = build_all(replace(work, recipes=recipes, known=known.get))
    again.check()
    assert again.images[base].reason == "it was built before"
    files = shop.place.files("web", again.images[Job("web", NATIVE)].manifest)
    assert files["made/flavor"] == b"fat\n"


def test_a_clean_machine_gives_the_same_digests(
    shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bench = new_bench(tmp_path_factory.mktemp("other"), shop.bench.toolchain.engine.kind)
    plan = bench.plan(write_shop(bench))
    for path in bench.project.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    with opened(bench) as place:
        work = place.work(plan)
        native = {job: found for job, found in work.recipes.items() if job.platform == NATIVE}
        built = build_all(replace(work, recipes=native))
    remove_bench(bench)
    built.check()
    assert {job: image.manifest.digest for job, image in built.images.items()} == {
        job: shop.child(job.image).digest for job in native
    }
