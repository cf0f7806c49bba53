"""Record what BuildKit makes of every case: `make parity`, or with a docker of your own:

    python -m tests.parity.record --docker docker --busybox /bin/busybox

(where `docker buildx build` works on a daemon with containerd's image store).
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from podbuild.system.records import JSONValue
from tests.parity.cases import BASE, RECORDS, Case, drawn_cases, written_cases
from tests.parity.listing import config_keys, listing

NAME = "podbuild-parity-base"


def record(docker: Sequence[str], busybox: Path, names: Sequence[str]) -> None:
    """Write the records; with `names` only those cases anew."""
    known = json.loads(RECORDS.read_text())["cases"] if names else {}
    failed = []
    with tempfile.TemporaryDirectory() as work:
        base = Path(work, "base")
        base.mkdir()
        shutil.copyfile(busybox, base / "busybox")
        (base / "Containerfile").write_text(BASE)
        _build(docker, base, "--tag", NAME, "--load")
        for case in (*written_cases(), *drawn_cases()):
            if not names or case.name in names:
                try:
                    known[case.name] = _recorded(docker, case, Path(work, case.name))
                except subprocess.CalledProcessError:
                    failed.append(case.name)
    if failed:
        raise SystemExit(f"docker can't build: {' '.join(failed)}")
    version = subprocess.run(
        (*docker, "version", "--format", "{{.Server.Version}}"),
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    everything = {"docker": version, "cases": {name: known[name] for name in sorted(known)}}
    RECORDS.write_text(json.dumps(everything, indent=1, ensure_ascii=True) + "\n")


def _recorded(docker: Sequence[str], case: Case, folder: Path) -> dict[str, JSONValue]:
    case.write(folder)
    result = folder.with_suffix(".tar")
    options = [f"--build-arg={key}={value}" for key, value in case.args.items()]
    options += [f"--secret=id={name},env={name}" for name in case.secrets]
    options += [f"--target={case.target}"] if case.target else []
    _build(
        docker,
        folder,
        *options,
        f"--build-context=base=docker-image://{NAME}",
        f"--output=type=oci,dest={result}",
        env=case.secrets,
    )
    return _read(result)


def _build(
    docker: Sequence[str], folder: Path, *options: str, env: Mapping[str, str] | None = None
) -> None:
    argv = (*docker, "buildx", "build", "--network=none", "--provenance=false", *options)
    file = f"--file={folder / 'Containerfile'}"
    print("+", folder.name, flush=True)  # noqa: T201
    subprocess.run((*argv, file, str(folder)), check=True, env={**os.environ, **(env or {})})


def _read(result: Path) -> dict[str, JSONValue]:
    with tarfile.open(result) as archive:

        def blob(digest: str) -> bytes:
            file = archive.extractfile(f"blobs/{digest.replace(':', '/')}")
            assert file
            return file.read()

        index = archive.extractfile("index.json")
        assert index
        manifest = json.loads(blob(json.load(index)["manifests"][0]["digest"]))
        if "manifests" in manifest:
            manifest = json.loads(blob(manifest["manifests"][0]["digest"]))
        files = listing(blob(layer["digest"]) for layer in manifest["layers"] or ())
        return {
            "files": files,
            "config": config_keys(json.loads(blob(manifest["config"]["digest"]))),
        }


def main() -> None:
    """Record with the docker that is named, or with one of our own from `--programs`."""
    parser = argparse.ArgumentParser()
    docker = parser.add_mutually_exclusive_group(required=True)
    docker.add_argument("--docker", type=shlex.split)
    docker.add_argument("--programs", type=Path, help="what scripts/unpack-docker has unpacked")
    parser.add_argument("--busybox", required=True, type=Path)
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    if given.docker:
        record(given.docker, given.busybox, given.names)
        return
    benchmarks = importlib.import_module("buildkit")  # on the path of scripts/parity
    with (
        tempfile.TemporaryDirectory() as work,
        benchmarks.running_docker(given.programs, Path(work, "docker")) as running,
    ):
        os.environ.update(running.env)
        record(running.client, given.busybox, given.names)


if __name__ == "__main__":
    main()
