"""Smaller measures: start-up, a large plan, uploads from staging, a second registry."""

from __future__ import annotations

import gzip
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contestants import PROGRAM, Podbuild
from servers import registries
from spent import timed
from workload import git, make_project, root_archives

from podbuild.build.examine.anatomy import QUESTIONS
from podbuild.build.toolchain.find import find_chosen, start_cost
from podbuild.build.toolchain.model import Engine
from podbuild.oci.examine import Examiner
from podbuild.oci.manifest import Descriptor
from podbuild.oci.memory import MemoryStore
from podbuild.oci.names import Digest
from podbuild.oci.store import BlobSource, FileBlob
from podbuild.system.folders import find_folders
from podbuild.system.process import Runner

TURNS = 11
PLATFORMS = '["linux/amd64", "linux/arm64"]'


def small_measures(work: Path, scripts: Path) -> Iterator[str]:
    """Give the results as lines of Markdown."""
    yield "## Smaller measures\n"
    yield from start_up(work)
    yield from large_plans(work, (30, 300, 1000))
    yield from online_plans(work, (30, 300, 1000))
    yield from uploads(work, scripts)
    yield from layer_pass(work, root_archives(scripts))


def layer_pass(work: Path, roots: Mapping[str, Path]) -> Iterator[str]:
    """Read a layer with every question that an audit asks, and with zcat alone."""
    layer = work / "layer.tar.gz"
    with gzip.open(layer, "wb", compresslevel=6) as packed:
        packed.write(next(iter(roots.values())).read_bytes())
    blob = Descriptor(media_type="layer", digest=Digest.of(b"any"), size=layer.stat().st_size)
    store = LayerFile(layer)
    ours, theirs = [], []
    for turn in range(TURNS // 2):
        spent = timed(("zcat", str(layer)), folder=work, env=os.environ, log=work / "zcat.out")
        theirs.append(spent.cpu)
        began = time.process_time()
        Examiner(work / f"layers-{turn}").ask(store, (blob,), QUESTIONS)
        ours.append(time.process_time() - began)
    ratio = statistics.median(ours) / statistics.median(theirs)
    yield f"- a layer read for an audit: {ratio:.2f} x `zcat` of CPU (target 1.3)"


class LayerFile(MemoryStore):
    """A store that gives one file for every blob."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    @contextmanager
    def blob(self, blob: Descriptor) -> Iterator[BlobSource]:
        """Give the file."""
        del blob
        yield FileBlob(self._path)


def start_up(work: Path) -> Iterator[str]:
    """Compare `podbuild --version` and `--help` with the bare import of click."""
    bare = (sys.executable, "-c", "import click")
    asked = {
        "--version": (str(PROGRAM), "--version"),
        "--help": (str(PROGRAM), "--help"),
    }
    times: dict[str, list[float]] = {name: [] for name in ("bare", *asked)}
    for _ in range(TURNS):  # in alternation
        for name, argv in (("bare", bare), *asked.items()):
            log = work / "start-up.log"
            times[name].append(timed(argv, folder=work, env=os.environ, log=log).cpu)
    known = {name: statistics.median(found) for name, found in times.items()}
    for name in asked:
        ratio = known[name] / known["bare"]
        yield f"- `podbuild {name}`: {ratio:.2f} x `import click` of CPU (target 1.5)"


def large_plans(work: Path, counts: Sequence[int]) -> Iterator[str]:
    """Time offline plans of so many images: what they cost grows with their number."""
    for count in counts:
        folder = work / f"plan-{count}"
        write_large(folder, count, 'kind = "layout"\npath = "registry/{image}"')
        yield timed_plan(folder, count, 1, "--offline")


def online_plans(work: Path, counts: Sequence[int]) -> Iterator[str]:
    """Time plans that ask an empty registry on loopback about so many images."""
    with registries(work / "plan-servers", 1) as (server,):
        for count in counts:
            folder = work / f"plan-online-{count}"
            place = f'kind = "oci"\ninsecure = true\nrepository = "{server.host}/bench/{{image}}"'
            write_large(folder, count, place)
            yield timed_plan(folder, count, 3)


def timed_plan(folder: Path, count: int, target: float, *options: str) -> str:
    """Say what a plan costs; the target is for the largest."""
    argv = (str(PROGRAM), "plan", "v1.0.0", *options)
    log = folder.with_suffix(".log")
    found = [timed(argv, folder=folder, env=os.environ, log=log) for _ in range(TURNS // 2)]
    seconds = statistics.median(spent.seconds for spent in found)
    cpu = statistics.median(spent.cpu for spent in found)
    memory = max(spent.memory for spent in found) / 1e6
    wanted = f" (target {target:g} s)" if count == 1000 else ""  # noqa: PLR2004
    return (
        f"- `{' '.join(('plan', *options))}`, {count} images x 2: {seconds:.2f} s{wanted}, "
        f"{cpu:.2f} s of CPU, {memory:.0f} MB"
    )


def write_large(folder: Path, count: int, place: str) -> None:
    """Write a project of many images that go to one place."""
    folder.mkdir()
    lines = ["[project]", 'name = "large"', "[defaults]", f"platforms = {PLATFORMS}"]
    lines += [f"[images.image{number}]" for number in range(count)]
    lines += ["[registries.here]", place, ""]
    (folder / "podbuild.toml").write_text("\n".join(lines))
    (folder / "Containerfile").write_text("FROM scratch\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "large")


@dataclass(frozen=True, kw_only=True)
class Start:
    """An engine, where it comes from, and what its own start costs in CPU seconds."""

    engine: Engine
    origin: str
    cost: float

    def __str__(self) -> str:
        return f"{self.engine} of {self.origin}, {self.cost * 1000:.1f} ms of CPU a start"


def start_of_engine() -> Start:
    """Give the engine that is found, with what its own start costs."""
    runner = Runner(env=dict(os.environ))
    toolchain = find_chosen(runner, find_folders(os.environ, Path("dist")), os.environ)
    cost = min(start_cost(runner, toolchain.engine) for _ in range(TURNS))  # each the best of three
    return Start(engine=toolchain.engine, origin=toolchain.origin, cost=cost)


def uploads(work: Path, scripts: Path) -> Iterator[str]:
    """Send what is staged to one registry, to two at once, and with skopeo to another one."""
    with registries(work / "servers", 4) as servers:
        *ours, other = (server.host for server in servers)
        project = make_project(work / "uploads", tuple(ours), root_archives(scripts))
        build = Podbuild(project=project, work=work, options=("--skip-push",))
        build.release("1.0.0")
        one = Podbuild(project=project, work=work, options=("--registry", "r1"))
        first = one.release("1.0.0")
        two = Podbuild(project=project, work=work, options=("--registry", "r2", "--registry", "r3"))
        both = two.release("1.0.0")
        skopeo = skopeo_seconds(project.folder / "dist/staging", other, work)
    name = "publish by digest"
    alone, together = first.phases[name], both.phases[name]
    beside = "there is no skopeo" if skopeo is None else f"`skopeo copy` {skopeo:.2f} s"
    yield f"- upload from staging: {alone:.2f} s, {beside} (target 1 x)"
    extra = (together - alone) / alone
    yield f"- a second registry adds {extra:.2f} x the first's upload"
    yield f"- a release with uploads alone: peak {first.memory / 1e6:.0f} MB (target 150 MB)"


def skopeo_seconds(layout: Path, host: str, work: Path) -> float | None:
    """Copy every index of an OCI layout to a registry; None where there is no skopeo."""
    runner = Runner(env=dict(os.environ))
    toolchain = find_chosen(runner, find_folders(os.environ, layout), os.environ)
    if toolchain.skopeo is None:
        return None
    policy = work / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    index = json.loads((layout / "index.json").read_text())
    seconds = 0.0
    for number, entry in enumerate(index["manifests"]):
        if "index" not in entry["mediaType"]:
            continue
        tag = entry["annotations"]["org.opencontainers.image.ref.name"]
        argv = (
            *(str(toolchain.skopeo), "--policy", str(policy), "copy", "--all", "--quiet"),
            *("--dest-tls-verify=false", f"oci:{layout}:{tag}"),
            f"docker://{host}/bench/image{number}:1.0.0",
        )
        seconds += timed(argv, folder=work, env=os.environ, log=work / "skopeo.log").seconds
    return seconds
