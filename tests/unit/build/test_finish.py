"""What becomes of an engine's delivery before anyone knows its digest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from podbuild.build.finish import finished
from podbuild.build.image import read_config
from podbuild.build.inputs.recipe import Recipe, Surroundings, make_recipe
from podbuild.config.load import parse_config
from podbuild.errors import VerificationError
from podbuild.oci.manifest import Manifest, MediaType
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Platform
from podbuild.oci.store import BytesBlob
from podbuild.plan.labels import BASE_DIGEST, BASE_NAME
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Request
from podbuild.system.records import JSONValue
from tests.images import blob_of

AMD64 = Platform("linux", "amd64")
PIN = f"docker.io/library/debian@sha256:{'1' * 64}"
TEXT = "FROM debian:trixie\nRUN true\n"
SHELLS: JSONValue = ["/bin/bash", "-o", "pipefail", "-c"]


def recipe_of(folder: Path, text: str = TEXT, image: str = "") -> Recipe:
    (folder / "Containerfile").write_text(text)
    toml = f'[project]\nname = "p"\n[images.web]\nplatforms = ["linux/amd64"]\n{image}'
    config = parse_config(toml, folder / "podbuild.toml", {})
    plan = make_plan(config, Request(), Commit(branch="main"))
    around = Surroundings(build=AMD64, output=folder / "dist", pins={"debian:trixie": PIN})
    return make_recipe(plan, plan.image("web"), AMD64, around)


def delivered(
    store: MemoryStore,
    config: dict[str, JSONValue] | None = None,
    *,
    history: JSONValue = None,
    annotations: JSONValue = None,
) -> Manifest:
    """Put what an engine delivers in docker format, with what it adds of its own."""
    whole: JSONValue = {
        "created": "2000-01-01T00:00:00Z",
        "container": "0123",
        "docker_version": "20",
        "container_config": {"Hostname": "sandbox"},
        **AMD64.to_json(),
        "config": {"Hostname": "sandbox", "Image": "", "Tty": False, **(config or {})},
        "rootfs": {"type": "layers", "diff_ids": []},
        "history": history or [],
    }
    data = json.dumps(whole).encode()
    blob = blob_of(data, MediaType.DOCKER_CONFIG)
    layer = blob_of(b"layer", "application/vnd.docker.image.rootfs.diff.tar.gzip")
    store.put_blob(blob, BytesBlob(data))
    store.put_blob(layer, BytesBlob(b"layer"))
    content: dict[str, JSONValue] = {
        "schemaVersion": 2,
        "mediaType": MediaType.DOCKER_MANIFEST,
        "config": blob.to_json(),
        "layers": [layer.to_json()],
    }
    if annotations:
        content["annotations"] = annotations
    return Manifest(MediaType.DOCKER_MANIFEST, json.dumps(content).encode())


def inner(store: MemoryStore, image: Manifest) -> dict[str, JSONValue]:
    found = read_config(store, image)["config"]
    assert isinstance(found, dict)
    return found


def test_oci_media_types_keep_what_docker_format_holds(tmp_path: Path) -> None:
    store = MemoryStore()
    kept: dict[str, JSONValue] = {
        "Healthcheck": {"Test": ["CMD-SHELL", "true"], "StartInterval": 2000000000},
        "OnBuild": ["RUN true"],
        "Shell": SHELLS,
        "StopSignal": "SIGUSR1",
        "StopTimeout": 3,
        "User": "1",
    }
    image = finished(store, delivered(store, kept), recipe_of(tmp_path))
    assert image.media_type == MediaType.OCI_MANIFEST
    assert image.config
    assert image.config.media_type == MediaType.OCI_CONFIG
    (layer,) = image.layers
    assert layer.media_type == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert layer.digest == blob_of(b"layer").digest
    assert inner(store, image) == kept | {"Labels": {"org.opencontainers.image.title": "web"}}
    config = read_config(store, image)
    assert config.keys() == {*AMD64.to_json(), "created", "config", "rootfs", "history"}


def test_docker_media_types_are_the_only_difference(tmp_path: Path) -> None:
    store = MemoryStore()
    given = delivered(store, {"Cmd": ["a"]})
    docker = finished(store, given, recipe_of(tmp_path, image='format = "docker"'))
    oci = finished(store, given, recipe_of(tmp_path))
    assert docker.media_type == MediaType.DOCKER_MANIFEST
    assert docker.config
    assert oci.config
    assert docker.config.digest == oci.config.digest
    assert not docker.annotations
    assert docker.layers[0].media_type == "application/vnd.docker.image.rootfs.diff.tar.gzip"


TEXTS = [
    "$5 off $HOME ${X}",
    "a \"quoted\" 'text'",
    "C:\\new\\table \\$",
    "two\nlines\n\tand a tab",
    "",
    " spaces  around ",
    "a=b==c",
    "Grüße, 世界 \U0001f980 \u2028",
    "#comment <<EOF `x`",
]


@pytest.mark.parametrize("text", TEXTS)
def test_labels_and_annotations_are_literal(tmp_path: Path, text: str) -> None:
    store = MemoryStore()
    value = json.dumps(text, ensure_ascii=False).replace("{", "{{").replace("}", "}}")
    toml = f"labels = {{ x = {value}, LIKE = 'mine' }}\nannotations = {{ note = {value} }}\n"
    given = delivered(store, {"Labels": {"LIKE": "theirs", "other": "kept"}})
    image = finished(store, given, recipe_of(tmp_path, image=toml))
    assert inner(store, image)["Labels"] == {
        "LIKE": "mine",
        "org.opencontainers.image.title": "web",
        "other": "kept",
        "x": text,
    }
    assert image.annotations["note"] == text


def test_annotations_are_the_recipes_alone(tmp_path: Path) -> None:
    """Not those of a base, nor of the project that made a cached step first."""
    store = MemoryStore()
    given = delivered(store, annotations={"org.opencontainers.image.vendor": "another"})
    image = finished(store, given, recipe_of(tmp_path))
    assert image.annotations == {
        "org.opencontainers.image.title": "web",
        BASE_NAME: "docker.io/library/debian:trixie",
        BASE_DIGEST: PIN.partition("@")[2],
    }


@pytest.mark.parametrize(
    "name", ["127.0.0.1:45678/podbuild-cache/web/linux-amd64:0a", "mirror.example/debian:trixie"]
)
def test_steps_do_not_say_what_storages_call_their_base(tmp_path: Path, name: str) -> None:
    store, recipe = MemoryStore(), recipe_of(tmp_path)
    step: dict[str, JSONValue] = {"created_by": "/bin/sh -c true", "empty_layer": True}
    kept: JSONValue = {"created_by": "x", "comment": "buildkit.dockerfile.v0"}
    cold = finished(store, delivered(store, history=[kept, step]), recipe)
    warm = delivered(store, history=[kept, step | {"comment": f"FROM {name}"}])
    assert finished(store, warm, recipe) == cold


SHELL = f"SHELL {json.dumps(SHELLS)}\n"
ASH = 'SHELL ["/bin/ash", "-c"]\n'


@pytest.mark.parametrize(
    ("text", "shell"),
    [
        (f"{SHELL}CMD run\n", SHELLS),
        (f"{SHELL}CMD other\n{ASH}CMD run\n{SHELL}", ["/bin/ash", "-c"]),
        (f"CMD run\n{SHELL}", ["/bin/sh", "-c"]),
        (f'{SHELL}CMD ["/bin/sh", "-c", "run"]\n', ["/bin/sh", "-c"]),
        (f"{SHELL}CMD [ not json ]\n", SHELLS),
        (f"{SHELL}FROM debian:trixie\nCMD run\n", ["/bin/sh", "-c"]),
        (f"{SHELL}CMD run\nFROM a\nRUN true\n", SHELLS),
        (f"{SHELL}FROM a\nCMD run\n", SHELLS),
    ],
)
def test_shell_holds_for_cmd_and_entrypoint(tmp_path: Path, text: str, shell: JSONValue) -> None:
    store = MemoryStore()
    for key in ("Cmd", "Entrypoint"):
        written = text.replace("CMD", key.upper())
        recipe = recipe_of(tmp_path, f"FROM debian:trixie AS a\n{written}")
        given = delivered(store, {key: ["/bin/sh", "-c", "run"]})
        assert isinstance(shell, list)
        assert inner(store, finished(store, given, recipe))[key] == [*shell, "run"]


def test_shell_of_a_base_holds_for_cmd(tmp_path: Path) -> None:
    store = MemoryStore()
    given = delivered(store, {"Cmd": ["/bin/sh", "-c", "run"], "Shell": ["/bin/ash", "-c"]})
    own = finished(store, given, recipe_of(tmp_path, f"{TEXT}CMD run\n"))
    assert inner(store, own)["Cmd"] == ["/bin/ash", "-c", "run"]
    inherited = finished(store, given, recipe_of(tmp_path, TEXT))
    assert inner(store, inherited)["Cmd"] == ["/bin/sh", "-c", "run"]


def test_a_range_of_ports_is_each_of_them(tmp_path: Path) -> None:
    store = MemoryStore()
    given = delivered(store, {"ExposedPorts": {"80/tcp": {}, "7000-7002/udp": {}, "90-91": {}}})
    ports = inner(store, finished(store, given, recipe_of(tmp_path)))["ExposedPorts"]
    assert isinstance(ports, dict)
    assert [*ports] == ["7000/udp", "7001/udp", "7002/udp", "80/tcp", "90/tcp", "91/tcp"]


def test_what_is_no_image_is_told(tmp_path: Path) -> None:
    store = MemoryStore()
    with pytest.raises(VerificationError, match="not a JSON object"):
        finished(store, delivered(store), recipe_of(tmp_path), b"[]")
    with pytest.raises(VerificationError, match="names no layers"):
        finished(store, delivered(store), recipe_of(tmp_path), b"{}")
