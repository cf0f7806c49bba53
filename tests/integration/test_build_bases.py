"""Bases from outside with real engines and a real registry: pinned by digest, mirrors first."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from podbuild.build.engine.registries_conf import RegistriesConf, RegistryEntry, with_own
from podbuild.build.inputs.readings import Readings
from podbuild.build.inputs.recipe import outside_images
from podbuild.build.jobs import build_all
from podbuild.build.model import BuiltImage
from podbuild.build.toolchain.model import EngineKind
from podbuild.oci.manifest import Manifest, MediaType
from podbuild.oci.store import BytesBlob, Store
from podbuild.plan.labels import BASE_NAME
from podbuild.plan.model import Job
from podbuild.system.records import JSONValue
from tests.builds import NATIVE, Bench, Open, busybox, new_bench, opened, remove_bench
from tests.faults import Fault, On, Script, Status, fault_proxy
from tests.images import LAYER, blob_of
from tests.registries import Server, registry_server

pytestmark = pytest.mark.integration

FILES = """\
ARG FLAVOR=slim
ARG BASE=example.com/base:${FLAVOR}
FROM example.com/base:1 AS one
FROM ${BASE}
COPY --from=one /marker /from-one
COPY --from=example.com/base:2 /marker /from-two
"""
TOML = f'[images.web]\ncontext = "web"\nplatforms = ["{NATIVE}"]\n'


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with registry_server() as found:
        yield found


@pytest.fixture(params=list(EngineKind))
def kind(request: pytest.FixtureRequest) -> EngineKind:
    return EngineKind(request.param)


@pytest.fixture
def bench(kind: EngineKind, tmp_path: Path) -> Iterator[Bench]:
    found = new_bench(tmp_path / "bench", kind)
    found.write("web/Containerfile", FILES)
    yield found
    remove_bench(found)


def put_base(store: Store, marker: str, note: str = "") -> Manifest:
    """Put an index over one image that holds /marker; the note changes the index alone."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("marker")
        entry.size = len(marker)
        tar.addfile(entry, io.BytesIO(marker.encode()))
    plain = archive.getvalue()
    config: dict[str, JSONValue] = {
        **NATIVE.to_json(),
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(plain).hexdigest()}"]},
    }
    layer, said = gzip.compress(plain, mtime=0), json.dumps(config).encode()
    parts = (blob_of(said, MediaType.OCI_CONFIG), blob_of(layer, LAYER))
    for part, data in zip(parts, (said, layer), strict=True):
        store.put_blob(part, BytesBlob(data))
    image = put(
        store,
        MediaType.OCI_MANIFEST,
        {"config": parts[0].to_json(), "layers": [parts[1].to_json()]},
    )
    listed: JSONValue = {**image.descriptor.to_json(), "platform": NATIVE.to_json()}
    notes: JSONValue = {"note": note} if note else {}
    return put(store, MediaType.OCI_INDEX, {"manifests": [listed], "annotations": notes})


def put(store: Store, media_type: str, content: Mapping[str, JSONValue]) -> Manifest:
    whole = {"schemaVersion": 2, "mediaType": media_type, **content}
    manifest = Manifest(media_type, json.dumps(whole).encode())
    store.put_manifest(manifest)
    return manifest


def mirrored(server: Server) -> RegistriesConf:
    """Give a configuration in which example.com, which does not exist, comes from the server."""
    return with_own(
        RegistriesConf(), mirrors={"example.com": [server.host]}, insecure=[server.host]
    )


def build(place: Open, pins: Mapping[str, Manifest]) -> BuiltImage:
    plan = place.bench.plan(TOML)
    pinned = {name: f"example.com/base@{index.digest}" for name, index in pins.items()}
    assert set(pinned) == set(outside_images(plan, plan.image("web"), NATIVE, Readings()))
    built = build_all(place.work(plan, pins=pinned))
    built.check()
    return built.images[Job("web", NATIVE)]


def test_every_kind_of_reference_is_pinned_as_it_is_written(bench: Bench, server: Server) -> None:
    store = server.store("base")
    pins = {f"example.com/base:{tag}": put_base(store, tag) for tag in ("slim", "1", "2")}
    with opened(bench, registries=mirrored(server)) as place:
        image = build(place, pins)
        files = place.files("web", image.manifest)
        assert files == {"marker": b"slim", "from-one": b"1", "from-two": b"2"}
        base = image.manifest.annotations[BASE_NAME]
        assert base == "example.com/base:slim"
        assert server.host not in str(place.config("web", image.manifest))


def test_no_run_sees_a_network_under_chroot(bench: Bench, server: Server) -> None:
    name = "example.com/base:1"
    pins = {name: f"example.com/base@{put_base(server.store('base'), 'one').digest}"}
    shutil.copyfile(busybox(NATIVE.architecture), bench.project / "web/busybox")
    run = 'RUN --network=none ["/busybox", "sh", "-c", "/busybox cat /proc/net/dev > /seen"]\n'
    bench.write("web/Containerfile", f"FROM {name}\nCOPY --chmod=755 busybox /\n{run}")
    with opened(bench, registries=mirrored(server)) as place:
        built = build_all(place.work(bench.plan(TOML), pins=pins))
        built.check()
        image = built.images[Job("web", NATIVE)]
        seen = place.files("web", image.manifest)["seen"].decode()
    assert [line.split(":")[0].strip() for line in seen.splitlines()[2:]] == ["lo"]


def test_an_image_of_the_project_may_be_named_by_an_argument(bench: Bench) -> None:
    base = bench.write_base(NATIVE)
    bench.write("extra/note", "from the folder")
    bench.write(
        "named/Containerfile",
        "ARG BASE=base\nFROM ${BASE:-nothing}\nARG FROM=extra\nCOPY --from=$FROM note /note\n"
        "RUN --mount=type=bind,from=$FROM,target=/m cp /m/note /mounted\n",
    )
    toml = f'[defaults]\nplatforms = ["{NATIVE}"]\n{base}[images.named]\ncontext = "named"\n'
    toml += 'contexts = { base = "image:base", extra = "extra" }\n'
    with opened(bench) as place:
        image = place.build(toml).images[Job("named", NATIVE)]
        files = place.files("named", image.manifest)
    assert files["note"] == files["mounted"] == b"from the folder"


def test_a_base_that_other_lists_name_too_gives_the_same_image(
    bench: Bench, server: Server, kind: EngineKind, tmp_path: Path
) -> None:
    """The engine knows the base already, under another list that holds the same image."""
    store = server.store("base")
    old, new = put_base(store, "same", "old"), put_base(store, "same", "new")
    names = [f"example.com/base:{tag}" for tag in ("slim", "1", "2")]
    with opened(bench, registries=mirrored(server)) as place:
        first = build(place, dict.fromkeys(names, old))
        warm = build(place, dict.fromkeys(names, new))
        older = build(place, dict.fromkeys(names, old))
    other = new_bench(tmp_path / "other", kind)
    other.write("web/Containerfile", FILES)
    with opened(other, registries=mirrored(server)) as place:
        cold = build(place, dict.fromkeys(names, new))
    remove_bench(other)
    assert warm.manifest.digest == cold.manifest.digest
    assert older.manifest.digest == first.manifest.digest
    assert first.manifest.digest != cold.manifest.digest


@pytest.mark.parametrize(
    ("path", "fault"),
    [("/blobs/", Status(503)), ("/manifests/", Status(502))],
    ids=str,
)
def test_a_base_that_comes_at_the_second_try_is_no_failure(
    bench: Bench, server: Server, path: str, fault: Fault
) -> None:
    store = server.store("base")
    pins = {f"example.com/base:{tag}": put_base(store, tag) for tag in ("slim", "1", "2")}
    with fault_proxy(server.host, Script(On("GET", path, fault=fault))) as proxy:
        entry = RegistryEntry(prefix="example.com", location=proxy.host, insecure=True)
        with opened(bench, registries=RegistriesConf(entries=(entry,))) as place:
            image = build(place, pins)
    assert image.metrics.retries == 1
    assert image.metrics.steps == len(("FROM", "FROM", "COPY", "COPY"))
