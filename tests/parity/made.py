"""What podbuild makes of cases: what is in each image, or why there is none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from podbuild.build.jobs import build_all
from podbuild.build.toolchain.model import EngineKind
from podbuild.errors import PodbuildError
from podbuild.plan.model import Job
from podbuild.system.records import JSONValue
from tests.builds import NATIVE, busybox, new_bench, opened, remove_bench
from tests.parity.cases import BASE, RECORDS, Case
from tests.parity.listing import config_keys, listing

RECORDED = json.loads(RECORDS.read_text())["cases"]


def made_of(
    folder: Path, engine: EngineKind, cases: Iterable[Case]
) -> Mapping[str, Mapping[str, JSONValue] | PodbuildError]:
    """Build cases in one run."""
    cases = tuple(cases)
    bench = new_bench(folder, engine)
    bench = replace(bench, environment={k: v for case in cases for k, v in case.secrets.items()})
    bench.write("base/Containerfile", BASE)
    shutil.copyfile(busybox(NATIVE.architecture), bench.project / "base/busybox")
    toml = f'[defaults]\nplatforms = ["{NATIVE}"]\n[images.base]\ncontext = "base"\n'
    toml += "".join(_table(case, bench.project / case.name) for case in cases)
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
    remove_bench(bench)
    return found


def check(name: str, made: Mapping[str, Mapping[str, JSONValue] | PodbuildError]) -> None:
    """Compare one case with what is recorded of it."""
    found = made[name]
    assert not isinstance(found, PodbuildError), (str(found), found.details)
    for part in ("files", "config"):
        assert found[part] == RECORDED[name][part]


def _table(case: Case, folder: Path) -> str:
    case.write(folder)
    lines = [f"[images.{case.name}]", f'context = "{case.name}"']
    lines += ['contexts = { base = "image:base" }', f"build-args = {_inline(case.args)}"]
    secrets = (f'{{ id = "{name}", env = "{name}" }}' for name in case.secrets)
    lines += [f"secrets = [{', '.join(secrets)}]"]
    lines += [f'target = "{case.target}"'] if case.target else []
    lines += [] if case.layers else ["layers = false"]
    return "\n".join(lines) + "\n"


def _inline(values: Mapping[str, str]) -> str:
    pairs = ", ".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
    return f"{{ {pairs} }}"
