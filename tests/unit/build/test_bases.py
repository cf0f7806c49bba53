"""What a base hands on, from its config: asked for once per digest."""

from __future__ import annotations

import json
from pathlib import Path

from podbuild.build.bases import Bases
from podbuild.build.engine.registries_conf import Mirror, RegistriesConf
from podbuild.build.inputs.wanted import BaseFacts
from podbuild.oci.manifest import Manifest, MediaType
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Platform
from podbuild.oci.store import BytesBlob, Store
from podbuild.system.records import JSONValue, Records
from tests.images import blob_of, make_index

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
CONFIG: JSONValue = {"config": {"Env": ["A=1", "B=x=y"], "OnBuild": ["COPY . /app"], "User": "me"}}


def base_with(store: Store, config: JSONValue) -> str:
    data = json.dumps(config).encode()
    part = blob_of(data, MediaType.OCI_CONFIG)
    store.put_blob(part, BytesBlob(data))
    content = {"schemaVersion": 2, "config": part.to_json(), "layers": []}
    manifest = Manifest(MediaType.OCI_MANIFEST, json.dumps(content).encode())
    store.put_manifest(manifest)
    return f"registry.test/base@{make_index(store, amd64=manifest).digest}"


def test_a_base_is_asked_once_for_what_it_hands_on(tmp_path: Path) -> None:
    store = MemoryStore()
    pin = base_with(store, CONFIG)
    asked: list[Mirror] = []

    def open_store(mirror: Mirror) -> Store:
        asked.append(mirror)
        return store

    def bases() -> Bases:
        return Bases(conf=RegistriesConf(), open_store=open_store, records=Records(tmp_path))

    expected = BaseFacts({"A": "1", "B": "x=y"}, ("COPY . /app",), user="me")
    assert bases().facts(pin, AMD64) == expected
    assert bases().facts(pin, AMD64) == expected
    assert len(asked) == 1
    assert bases().facts(pin, ARM64) is None  # it is not there for this platform
    key = f"{pin.rpartition('@')[2]} {AMD64}"
    older: dict[str, JSONValue] = {key: {"Env": None, "OnBuild": None}}
    Records(tmp_path).write("bases.json", older)  # of a version that kept less
    assert bases().facts(pin, AMD64) == expected


def test_a_base_without_anything_to_hand_on_is_known_too(tmp_path: Path) -> None:
    store = MemoryStore()
    pin = base_with(store, {})
    found = Bases(conf=RegistriesConf(), open_store=lambda _: store, records=Records(tmp_path))
    assert found.facts(pin, AMD64) == BaseFacts()
