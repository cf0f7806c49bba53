"""Who is measured: podbuild, the shell that a user would write with buildah, and BuildKit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from workload import ARCHITECTURES, IMAGES, Project

from podbuild.folders import find_folders
from podbuild.model import Platform
from podbuild.namespace import Namespace, open_namespace
from podbuild.run import Runner
from podbuild.toolchain import Toolchain, find

SHELL = Path(__file__).with_name("sequential.sh")
PROGRAM = Path(sys.executable).with_name("podbuild")


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What one run cost: seconds on the clock and of CPU, peak memory of its largest process."""

    seconds: float
    cpu: float
    memory: int  # bytes
    phases: Mapping[str, float] = field(default_factory=dict)


class Contestant(Protocol):
    """Publishes the workload's present state as a version."""

    @property
    def name(self) -> str:
        """Give the name in the tables."""

    def forget(self) -> None:
        """Start from nothing: no cache, no storage."""

    def release(self, version: str) -> Spent:
        """Build and push everything that this version needs."""


def timed(argv: Sequence[str], *, folder: Path, env: Mapping[str, str], log: Path) -> Spent:
    """Run a command to its end; stops the benchmark when it fails."""
    began = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(argv, cwd=folder, env=env, stdout=out, stderr=out)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    if process.returncode:
        raise SystemExit(f"{argv[0]} failed:\n{log.read_text(errors='replace')[-3000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return Spent(seconds=seconds, cpu=cpu, memory=usage.ru_maxrss * 1024)


@dataclass(frozen=True, kw_only=True)
class Podbuild:
    """`podbuild release`, with a cache folder of its own."""

    project: Project
    work: Path
    name: str = "podbuild"
    options: tuple[str, ...] = ()

    def forget(self) -> None:
        """Remove podbuild's cache and what it left in the project."""
        remove(self.work / "cache")
        remove(self.project.folder / "dist")

    def release(self, version: str) -> Spent:
        """Release, and read podbuild's own account of its phases."""
        env = {**os.environ, "XDG_CACHE_HOME": str(self.work / "cache")}
        (self.work / "cache").mkdir(exist_ok=True)
        argv = (str(PROGRAM), "release", f"v{version}", *self.options)
        log = self.work / f"{self.name}-{version}.log"
        spent = timed(argv, folder=self.project.folder, env=env, log=log)
        metrics = json.loads((self.project.folder / "dist/metrics.json").read_text())
        phases = {phase["name"]: phase["seconds"] for phase in metrics["phases"]}
        return Spent(seconds=spent.seconds, cpu=spent.cpu, memory=spent.memory, phases=phases)


@dataclass(frozen=True, kw_only=True)
class Shell:
    """sequential.sh with the same engine, in a namespace like podbuild's; opening is not timed."""

    project: Project
    work: Path
    namespace: Namespace
    toolchain: Toolchain
    name: str = "shell"

    def forget(self) -> None:
        """Remove the engine's storage and records."""
        home = str(self.work / "shell")
        subprocess.run((*self.namespace.prefix, "rm", "-rf", "--", home), check=True)

    def release(self, version: str) -> Spent:
        """Build each platform of each image, push each image to each registry, in turn."""
        argv = (*self.namespace.prefix, "bash", "-eu", str(SHELL), version)
        env = {**self._environment(), "REGISTRIES": " ".join(self.project.registries)}
        log = self.work / f"shell-{version}.log"
        return timed(argv, folder=self.project.folder, env=env, log=log)

    def _environment(self) -> Mapping[str, str]:
        home = self.work / "shell"
        settings = {
            "storage.conf": f'[storage]\ndriver = "overlay"\n'
            f'graphroot = "{home}/graph"\nrunroot = "{home}/run"\n',
            "containers.conf": "[engine]\nhelper_binaries_dir = "
            + json.dumps([str(folder) for folder in self.toolchain.helper_dirs]),
            ".config/containers/policy.json": '{"default": [{"type": "insecureAcceptAnything"}]}',
        }
        for name, text in settings.items():
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "TMPDIR": str(home),
            "CONTAINERS_STORAGE_CONF": str(home / "storage.conf"),
            "CONTAINERS_CONF": str(home / "containers.conf"),
            "PROJECT": str(self.project.folder),
            "BUILDAH": str(self.toolchain.engine.path),
            **self.namespace.env,
        }


@dataclass(frozen=True, kw_only=True)
class BuildKit:
    """`docker buildx bake --push` with the machine's own dockerd."""

    project: Project
    work: Path
    name: str = "buildkit"

    def forget(self) -> None:
        """Remove every build record of the daemon."""
        subprocess.run(("docker", "builder", "prune", "--all", "--force"), check=True)

    def release(self, version: str) -> Spent:
        """Bake all images in one call; the daemon's CPU and memory are added."""
        file = self.work / "bake.json"
        file.write_text(json.dumps(self._bake(version)))
        argv = ("docker", "buildx", "bake", "--push", "--file", str(file))
        before = daemons()
        spent = timed(
            argv,
            folder=self.project.folder,
            env=os.environ,
            log=self.work / f"buildkit-{version}.log",
        )
        after = daemons()
        return Spent(
            seconds=spent.seconds,
            cpu=spent.cpu + after[0] - before[0],
            memory=max(spent.memory, after[1]),
        )

    def _bake(self, version: str) -> object:
        targets = {
            image: {
                "context": str(self.project.context(image)),
                "dockerfile": "Containerfile",
                "platforms": [f"linux/{architecture}" for architecture in ARCHITECTURES],
                "contexts": {} if image == "base" else {"base": "target:base"},
                "tags": [f"{host}/bench/{image}:{version}" for host in self.project.registries],
            }
            for image in IMAGES
        }
        return {"group": {"default": {"targets": list(IMAGES)}}, "target": targets}


def why_no_buildkit() -> str:
    """Say why BuildKit is left out; empty where it can be measured."""
    if not shutil.which("docker"):
        return "there is no docker on PATH"
    asked = subprocess.run(
        ("docker", "buildx", "inspect"), capture_output=True, text=True, check=False
    )
    if asked.returncode:
        said = asked.stderr.strip().splitlines()
        return f"docker buildx says {said[0] if said else asked.returncode}"
    missing = [name for name in ARCHITECTURES if f"linux/{name}" not in asked.stdout]
    return f"the daemon runs no {', '.join(missing)} programs" if missing else ""


def daemons() -> tuple[float, int]:
    """Give the CPU seconds and the largest peak memory of dockerd and containerd."""
    cpu, memory = 0.0, 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "comm").read_text().strip()
            if name not in ("dockerd", "containerd"):
                continue
            ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:15]
            peak = (folder / "status").read_text().partition("VmHWM:")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError, IndexError):
            continue
        cpu += sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        memory = max(memory, int(peak) * 1024)
    return cpu, memory


@contextmanager
def contestants(project: Project, work: Path) -> Iterator[tuple[Contestant, ...]]:
    """Give all that can be measured here."""
    runner = Runner(env=dict(os.environ))
    folders = find_folders(os.environ, project.folder / "dist")
    toolchain = find(runner, folders)
    platforms = [Platform("linux", architecture) for architecture in ARCHITECTURES]
    found: list[Contestant] = [Podbuild(project=project, work=work)]
    with open_namespace(runner, folders, toolchain.qemu, emulate=platforms) as namespace:
        found.append(Shell(project=project, work=work, namespace=namespace, toolchain=toolchain))
        reason = why_no_buildkit()
        if not reason:
            found.append(BuildKit(project=project, work=work))
        yield tuple(found)


def remove(folder: Path) -> None:
    """Remove a folder whose files may belong to ids of a user namespace."""
    if not folder.exists():
        return
    runner = Runner(env=dict(os.environ))
    folders = find_folders(os.environ, folder)
    with open_namespace(runner, folders, {}) as namespace:
        namespace.inside(runner)("rm", "-rf", "--", str(folder))
