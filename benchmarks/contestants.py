"""Who is measured: podbuild, the shell that a user would write with buildah, and BuildKit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from buildkit import BuildKit, running_docker
from spent import Contestant, Spent, remove, timed
from workload import ARCHITECTURES, Project

from podbuild.build.engine.namespace import Namespace, open_namespace
from podbuild.build.toolchain.find import find_chosen
from podbuild.build.toolchain.model import Toolchain
from podbuild.oci.names import Platform
from podbuild.system.folders import find_folders
from podbuild.system.process import Runner

SHELL = Path(__file__).with_name("sequential.sh")
PROGRAM = Path(sys.executable).with_name("podbuild")


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
        env = {
            **self._environment(),
            "REGISTRIES": " ".join(self.project.registries),
            "IMAGES": " ".join(self.project.images),
            "ARCHITECTURES": " ".join(self.project.architectures),
        }
        log = self.work / f"shell-{version}.log"
        return timed(argv, folder=self.project.folder, env=env, log=log)

    def _environment(self) -> Mapping[str, str]:
        home = self.work / "shell"
        beside = self.toolchain.engine.path.parent.parent / "libexec/podman"
        helpers = self.toolchain.helper_dirs or tuple(filter(Path.is_dir, (beside,)))
        settings = {
            "storage.conf": f'[storage]\ndriver = "overlay"\n'
            f'graphroot = "{home}/graph"\nrunroot = "{home}/run"\n',
            "containers.conf": "[engine]\nhelper_binaries_dir = "
            + json.dumps([str(folder) for folder in helpers])
            if helpers
            else "",
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


@contextmanager
def contestant(name: str, project: Project, work: Path, docker: Path) -> Iterator[Contestant]:
    """Give who is called so; `docker` is the folder with dockerd's programs."""
    match name:
        case "shell":
            with _shell(project, work) as shell:
                yield shell
        case "buildkit":
            with running_docker(docker, work / "docker") as daemon:
                yield BuildKit(project=project, work=work, docker=daemon)
        case "one-registry":
            yield Podbuild(project=project, work=work, name=name, options=("--registry", "r1"))
        case _:
            yield Podbuild(project=project, work=work, name=name)


@contextmanager
def _shell(project: Project, work: Path) -> Iterator[Shell]:
    runner = Runner(env=dict(os.environ))
    folders = find_folders(os.environ, project.folder / "dist")
    toolchain = find_chosen(runner, folders, os.environ)
    platforms = [Platform("linux", architecture) for architecture in ARCHITECTURES]
    opened = open_namespace(runner, folders, toolchain.qemu, emulate=platforms, needed=(work,))
    with opened as namespace:
        yield Shell(project=project, work=work, namespace=namespace, toolchain=toolchain)
