"""The layer cache in a registry, from one runner to another: `[cache]` as users meet it."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from podbuild.build.cache.job import JobCache
from podbuild.build.cache.mounts import mounts_tag
from podbuild.build.cache.remote import CachedRepository, CacheRemote, Tellers, cached_name
from podbuild.build.cache.uses import read_uses, write_uses
from podbuild.build.jobs import Work, build_all
from podbuild.build.toolchain.model import EngineKind
from podbuild.config.choices import Compression
from podbuild.oci.layout import LayoutStore
from podbuild.oci.manifest import Manifest
from podbuild.oci.names import Tag
from podbuild.oci.store import BytesBlob, Store, put_artifact
from podbuild.plan.model import Job
from podbuild.system.cancel import Cancel
from tests.builds import NATIVE, Open, busybox, new_bench, opened, remove_bench
from tests.images import blob_of, make_image
from tests.registries import NOBODY, Server, registry_server
from tests.shops import BASE, Done, Shop, environment

pytestmark = pytest.mark.integration

HEAD = f"""\
[project]
name = "shop"

[defaults]
platforms = ["{NATIVE}"]

[images.base]
context = "base"
publish = false

[images.app]
context = "app"
contexts = {{ base = "image:base" }}
"""
DOCKER = """
[images.old]
context = "app"
contexts = { base = "image:base" }
format = "docker"
"""
APP = """\
FROM base
RUN <<EOF
echo "made in a heredoc" > /heredoc
EOF
COPY <<EOF /greeting
hello from the shop
EOF
CMD ["cat", "/greeting", "/heredoc"]
"""
EDITED = APP.replace("made in a heredoc", "made in another heredoc")
KEEPING = """\
FROM base
RUN --mount=type=cache,target=/kept <<EOF
stat -c "found %u %a" /kept/words > /said
echo {word} >> /kept/words
chown 1234 /kept/words && chmod 600 /kept/words
cat /kept/words >> /said
EOF
"""


@pytest.fixture
def server() -> Iterator[Server]:
    with registry_server() as found:
        yield found


def cached(host: str, *lines: str) -> str:
    """Give a configuration with a cache in a registry, which publishes elsewhere."""
    return "\n".join(
        (
            "[registries.here]",
            'kind = "layout"',
            'path = "dist/registry/{image}"',
            "[registries.there]",  # lends the cache what it says of its host
            f'repository = "{host}/acme/{{image}}"',
            "insecure = true",
            "[cache]",
            f'repository = "{host}/acme/cache/{{image}}"',
            *lines,
            "",
        )
    )


def runner(folder: Path, name: str, configuration: str, app: str = APP) -> Shop:
    """Give a fresh machine with a clone of the project."""
    shop = Shop(root=folder / name / "shop", environment=environment(folder / name))
    shop.write("podbuild.toml", HEAD + configuration)
    shop.write(".gitignore", "/dist/\n")
    shop.write("base/Containerfile", BASE)
    shop.write("app/Containerfile", app)
    binary = f"busybox-{NATIVE.architecture}"
    shutil.copyfile(busybox(NATIVE.architecture), shop.root / "base" / binary)
    shop.git("init", "-q", "-b", "main")
    shop.commit("v1.2.3")
    return shop


def build(shop: Shop) -> Done:
    """Build everything anew, as far as caches let it."""
    done = shop("build", "--no-reuse", "--json")
    assert done.code == 0, done.text
    return done


def digests(done: Done) -> dict[str, str]:
    """Give each image's digest."""
    images = json.loads(done.out)["images"]
    return {name: image["platforms"][str(NATIVE)]["digest"] for name, image in images.items()}


def counted(shop: Shop, what: str) -> dict[str, int]:
    """Give one of the numbers in metrics.json, by image."""
    metrics = json.loads((shop.root / "dist/metrics.json").read_text())
    return {job["image"]: job[what] for job in metrics["jobs"]}


def pulled(shop: Shop) -> tuple[int, int]:
    """Give the steps pulled for the base, and for what is built on it: twins share theirs."""
    found = counted(shop, "pulled_steps")
    return found["base"], max(found["app"], found["old"])


def said(shop: Shop) -> str:
    """Give the file /said of the app; what a RUN prints at its end may get lost in the engine."""
    staging = LayoutStore(shop.root / "dist/staging")
    app = staging.manifest(Tag(f"app-{NATIVE.slug}"))
    assert app
    with staging.blob(app.layers[-1]) as blob:
        data = io.BytesIO(b"".join(blob.chunks()))
    with tarfile.open(fileobj=data) as archive:
        file = archive.extractfile("said")
        assert file
        return file.read().decode()


def test_another_runner_takes_each_step_from_the_registry_and_makes_the_same_images(
    server: Server, tmp_path: Path
) -> None:
    configuration = cached(server.host) + DOCKER
    first = runner(tmp_path, "first", configuration)
    cold = build(first)
    assert counted(first, "pulled_steps") == {"base": 0, "app": 0, "old": 0}
    assert counted(first, "pushed_steps") == {"base": 3, "app": 3, "old": 3}
    second = runner(tmp_path, "second", configuration)
    warm = build(second)
    assert pulled(second) == (3, 3)
    assert counted(second, "pushed_steps") == {"base": 0, "app": 0, "old": 0}
    assert (second.root / "dist/summary.md").read_text().count("3/4 (3 pulled)") >= 2
    without = runner(tmp_path, "without", DOCKER)
    assert digests(cold) == digests(warm) == digests(build(without))


def test_what_is_built_on_pulled_steps_is_what_a_cold_build_makes(
    server: Server, tmp_path: Path
) -> None:
    configuration = cached(server.host) + DOCKER
    build(runner(tmp_path, "first", configuration))
    longer = APP + "RUN echo less > /less\nRUN echo end > /end\n"
    second = runner(tmp_path, "second", configuration, longer)
    warm = build(second)
    assert pulled(second) == (3, 3)
    third = runner(tmp_path, "third", configuration, longer)
    again = build(third)
    assert pulled(third) == (3, 5)
    plain = build(runner(tmp_path, "plain", DOCKER, longer))
    assert digests(warm) == digests(again) == digests(plain)


def test_a_cache_that_is_only_read_gives_steps_and_gets_none(
    server: Server, tmp_path: Path
) -> None:
    build(runner(tmp_path, "first", cached(server.host)))
    tags = server.store("acme/cache/app").tags()
    longer = APP + "RUN echo more > /more\n"
    second = runner(tmp_path, "second", cached(server.host, "write = false"), longer)
    warm = build(second)
    assert counted(second, "pulled_steps") == {"base": 3, "app": 3}
    assert server.store("acme/cache/app").tags() == tags
    third = runner(tmp_path, "third", cached(server.host, "write = false"))
    build(third)  # wholly cached: the engine's own direct commit of that fails
    assert counted(third, "pulled_steps") == {"base": 3, "app": 3}
    assert digests(warm) == digests(build(runner(tmp_path, "plain", "", longer)))


def test_a_registry_that_is_down_costs_one_warning(tmp_path: Path) -> None:
    shop = runner(tmp_path, "shop", cached(NOBODY))
    done = build(shop)
    assert done.err.count("built without the layer cache") == 1
    assert counted(shop, "pushed_steps") == {"base": 0, "app": 0}


def test_prune_deletes_what_no_build_used_for_long_and_nothing_else(
    server: Server, tmp_path: Path
) -> None:
    shop = runner(tmp_path, "first", cached(server.host))
    build(shop)
    app = server.store("acme/cache/app")
    (record,) = (tag for tag in app.tags() if tag.text.startswith("used-"))
    uses = read_uses(app, record)
    entries = set(app.tags()) - {record}
    assert set(uses) == entries
    gone, *stay = sorted(entries)
    long_ago = datetime.now(UTC) - timedelta(days=15)
    write_uses(app, record, {**uses, gone: long_ago})
    released = server.store("acme/app")
    image = make_image(released, b"released")
    released.put_manifest(image, Tag(gone.text))  # looks like an entry, in another repository
    plan = shop("prune")
    assert f" ({gone}): " in plan.out
    assert set(app.tags()) == {*entries, record}
    applied = shop("prune", "--apply")
    assert applied.code == 0, applied.text
    assert set(app.tags()) == {*stay, record}
    assert released.head(Tag(gone.text))
    after = runner(tmp_path, "second", cached(server.host))
    build(after)
    assert counted(after, "pulled_steps")["base"] == 3
    assert set(app.tags()) >= entries  # it was missed, and is there again


def test_a_login_is_found_by_the_host_and_a_wrong_one_costs_a_warning(tmp_path: Path) -> None:
    with registry_server(login=("ann", "of green gables")) as server:
        configuration = cached(server.host)
        shop = runner(tmp_path, "first", configuration)
        right = shop.having(PODBUILD_THERE_USERNAME="ann", PODBUILD_THERE_TOKEN="of green gables")
        build(right)
        assert counted(shop, "pushed_steps")["app"] == 3
        assert server.store("acme/cache/app").tags()
        wrong = runner(tmp_path, "second", configuration).having(
            PODBUILD_THERE_USERNAME="ann", PODBUILD_THERE_TOKEN="of the island"
        )
        done = build(wrong)
        assert counted(wrong, "pulled_steps")["app"] == 0
        assert done.err.count("layer cache") == 1
        none = runner(tmp_path, "third", configuration)
        done = build(none)
        assert done.err.count("layer cache") == 1
        assert counted(none, "pulled_steps")["app"] == 0


def test_cache_mounts_go_from_runner_to_runner_with_their_owners(
    server: Server, tmp_path: Path
) -> None:
    configuration = cached(server.host, "mounts = true")
    found = []
    for word in ("one", "two", "three"):
        shop = runner(tmp_path, word, configuration, KEEPING.format(word=word))
        assert build(shop).err.count("warning") == 0
        found.append(said(shop))
    assert found[-1] == "found 1234 600\none\ntwo\nthree\n"
    (tag,) = (t for t in server.store("acme/cache/app").tags() if t.text.startswith("mounts-"))
    assert not [t for t in server.store("acme/cache/base").tags() if "mounts" in t.text]
    manifest = server.store("acme/cache/app").manifest(tag)
    assert manifest
    assert manifest.content["artifactType"] == "application/vnd.podbuild.cache.mounts.v1"
    without = runner(tmp_path, "without", cached(server.host), KEEPING.format(word="four"))
    build(without)
    assert said(without) == "four\n"


def test_layers_that_the_registry_lost_are_made_again(server: Server, tmp_path: Path) -> None:
    first = build(runner(tmp_path, "first", cached(server.host)))
    for data in server.storage.rglob("blobs/sha256/*/*/data"):
        if not data.read_bytes().startswith(b"{"):  # manifests and configs stay
            data.unlink()
    shop = runner(tmp_path, "second", cached(server.host))
    second = build(shop)
    assert second.err.count("built without the layer cache") == 1
    assert digests(first) == digests(second)


@pytest.mark.parametrize("compression", list(Compression))
def test_podman_makes_the_same_images_from_the_cache(
    compression: Compression, server: Server, tmp_path: Path
) -> None:
    found = []
    for name, steps in (("cold", EDITED), ("first", APP), ("second", EDITED), ("third", EDITED)):
        bench = new_bench(tmp_path / name, EngineKind.PODMAN)
        toml = f'[defaults]\nplatforms = ["{NATIVE}"]\ncompression = "{compression}"\n'
        toml += bench.write_base(NATIVE) + '[images.app]\ncontexts = { base = "image:base" }\n'
        bench.write("Containerfile", steps)
        with opened(bench) as place:
            work = place.work(bench.plan(toml))
            caches = {} if name == "cold" else served(place, work, server)
            built = build_all(replace(work, site=replace(work.site, caches=caches)))
            built.check()
            for cache in caches.values():
                cache.cached.remote.close()
        found.append({job: each for job, each in built.images.items() if job.image == "app"})
        remove_bench(bench)
    cold, _, second, third = ([each.manifest.digest for each in one.values()] for one in found)
    assert cold == second == third
    assert [each.metrics.pulled_steps for each in found[-1].values()] == [3]


@pytest.mark.parametrize("kind", list(EngineKind))
def test_an_engine_that_fails_for_its_cache_builds_again_without(
    kind: EngineKind, server: Server, tmp_path: Path
) -> None:
    bench = new_bench(tmp_path / "bench", kind)
    toml = f'[defaults]\nplatforms = ["{NATIVE}"]\n' + bench.write_base(NATIVE)
    with opened(bench) as place:
        work = place.work(bench.plan(toml.replace("publish = false\n", "")))
        broken = {
            job: replace(cache, reference=f"{NOBODY}/podbuild-cache/x")
            for job, cache in served(place, work, server).items()
        }
        built = build_all(replace(work, site=replace(work.site, caches=broken)))
    remove_bench(bench)
    built.check()
    assert bench.text.count("built again without the layer cache: failed pushing cache") == 1


@pytest.mark.parametrize("kind", list(EngineKind))
def test_cache_mounts_that_reach_outside_or_are_too_large_stay_behind(
    kind: EngineKind, server: Server, tmp_path: Path
) -> None:
    """The entry of the mount's id is a link to a folder of the host."""
    bench = new_bench(tmp_path / "bench", kind)
    host = tmp_path / "host"
    host.mkdir()
    (host / "private").write_text("of the host")
    toml = f'[defaults]\nplatforms = ["{NATIVE}"]\n' + bench.write_base(NATIVE)
    toml += '[images.app]\ncontexts = { base = "image:base" }\n'
    large = "truncate -s 3G /kept/sparse && ls -a /kept && echo changed > /kept/private\n"
    bench.write("Containerfile", f"FROM base\nRUN --mount=type=cache,id=x,target=/kept {large}")
    store, tag = server.store("acme/app"), mounts_tag("app", NATIVE.slug)
    mount = "4e39aaf3cdef5140"  # as both engines name the folder of the id x
    evil = put_archive(store, tag, mount, str(host))
    with opened(bench) as place:
        work = place.work(bench.plan(toml))
        caches = served(place, work, server)
        app = Job("app", NATIVE)
        caches[app] = replace(caches[app], mounts=tag)
        built = build_all(replace(work, site=replace(work.site, caches=caches)))
        caches[app].cached.remote.close()
    used = [path for path in (bench.folders.cache / "mounts").rglob(mount) if path.is_dir()]
    remove_bench(bench)
    built.check()
    assert used  # so the link would have been found
    assert (host / "private").read_text() == "of the host"
    assert "its cache mounts were not fetched" in bench.text
    assert "its cache mounts are not carried on: 3072 MiB, and 2048 MiB is the most" in bench.text
    assert store.manifest(tag) == evil


def put_archive(store: Store, tag: Tag, name: str, target: str) -> Manifest:
    """Put an archive with one link where cache mounts are carried."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = tarfile.SYMTYPE, target
        archive.addfile(entry)
    kind = "application/vnd.podbuild.cache.mounts.v1"
    layer = blob_of(data.getvalue(), f"{kind}.tar+gzip")
    store.put_blob(layer, BytesBlob(data.getvalue()))
    return put_artifact(store, kind, layer, tag)


def served(place: Open, work: Work, server: Server) -> dict[Job, JobCache]:
    """Put a registry behind the cache of every job."""
    caches = {}
    for job in work.recipes:
        remote = CacheRemote(
            server.store(f"acme/{job.image}"), Tellers(), Cancel(), reads=True, writes=True
        )
        remote.open()
        name = cached_name(job.image, job.platform.slug)
        local = place.registry.staging.repository(name)
        cached = CachedRepository(remote=remote, prefix="x-", local=local)
        place.registry.staging.back(name, cached)
        reference = f"{place.registry.login.host}/{name}"
        caches[job] = JobCache(reference=reference, cached=cached, reads=True, writes=True)
    return caches
