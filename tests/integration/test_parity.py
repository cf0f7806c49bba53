"""What podbuild makes of the cases in tests/parity is what BuildKit made of them, as recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from podbuild.build.jobs import build_all
from podbuild.build.toolchain.model import EngineKind
from podbuild.errors import PodbuildError
from podbuild.plan.model import Job
from podbuild.system.records import JSONValue
from tests.builds import NATIVE, busybox, new_bench, opened, remove_bench
from tests.parity.cases import BASE, RECORDS, Case, read_cases
from tests.parity.listing import config_keys, listing

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("parity")]

CASES = {case.name: case for case in read_cases()}
RECORDED = json.loads(RECORDS.read_text())["cases"]


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Mapping[str, Mapping[str, JSONValue] | PodbuildError]]:
    """Build every case in one run; give what is in each image, or why there is none."""
    bench = new_bench(tmp_path_factory.mktemp("parity"), EngineKind.BUILDAH)
    bench = replace(bench, environment={k: v for c in CASES.values() for k, v in c.secrets.items()})
    bench.write("base/Containerfile", BASE)
    shell = bench.project / "base/busybox"
    shell.write_bytes(busybox(NATIVE.architecture).read_bytes())
    toml = f'[defaults]\nplatforms = ["{NATIVE}"]\n[images.base]\ncontext = "base"\n'
    toml += "".join(_table(case, bench.project / case.name) for case in CASES.values())
    found: dict[str, Mapping[str, JSONValue] | PodbuildError] = {}
    with opened(bench) as place:
        built = build_all(place.work(bench.plan(toml)))
        found |= {job.image: error for job, error in built.failed.items()}
        for job, image in built.images.items():
            store = place.store(job.image)
            blobs = []
            for layer in image.manifest.layers:
                with store.blob(layer) as blob:
                    blobs.append(b"".join(blob.chunks()))
            config = place.config(job.image, image.manifest)
            found[job.image] = {"files": listing(blobs), "config": config_keys(config)}
        assert Job("base", NATIVE) in built.images
    yield found
    remove_bench(bench)


def _table(case: Case, folder: Path) -> str:
    case.write(folder)
    lines = [f"[images.{case.name}]", f'context = "{case.name}"']
    lines += ['contexts = { base = "image:base" }', f"build-args = {_inline(case.args)}"]
    secrets = (f'{{ id = "{name}", env = "{name}" }}' for name in case.secrets)
    lines += [f"secrets = [{', '.join(secrets)}]"]
    lines += [f'target = "{case.target}"'] if case.target else []
    return "\n".join(lines) + "\n"


def _inline(values: Mapping[str, str]) -> str:
    pairs = ", ".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
    return f"{{ {pairs} }}"


def test_every_case_is_recorded() -> None:
    assert RECORDED.keys() == CASES.keys(), "make parity"


@pytest.mark.parametrize("name", CASES)
def test_podbuild_makes_what_buildkit_made(
    name: str, made: Mapping[str, Mapping[str, JSONValue] | PodbuildError]
) -> None:
    found = made[name]
    assert not isinstance(found, PodbuildError), (str(found), found.details)
    for part in ("files", "config"):
        assert found[part] == RECORDED[name][part]
