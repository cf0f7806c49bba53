"""BuildKit as users have it: `docker buildx bake --push`."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dockerd import Docker, NoDockerError, cgroup, dockerd
from spent import Spent, timed
from workload import ARCHITECTURES, Project

from podbuild.build.engine.namespace import open_namespace
from podbuild.build.toolchain.find import find
from podbuild.errors import PodbuildError
from podbuild.oci.names import Platform
from podbuild.system.folders import find_folders
from podbuild.system.process import Runner

PLATFORMS = tuple(f"linux/{architecture}" for architecture in ARCHITECTURES)
BAKE = ("buildx", "bake", "--push")
TRY = (
    *("buildx", "build", "--network", "none", "--output", "type=cacheonly"),
    *("--platform", ",".join(PLATFORMS)),
)
TRIAL = """\
FROM scratch
ARG TARGETARCH
COPY busybox-$TARGETARCH /busybox
RUN ["/busybox", "true"]
"""


@dataclass(frozen=True, kw_only=True)
class BuildKit:
    """All images in one call, with a dockerd that keeps running between the releases."""

    project: Project
    work: Path
    docker: Docker
    name: str = "buildkit"

    def forget(self) -> None:
        """Remove every image and build record of the daemon."""
        self.docker("image", "prune", "--all", "--force")
        self.docker("builder", "prune", "--all", "--force")

    def release(self, version: str) -> Spent:
        """Bake all images; the daemon's CPU and memory are added to the client's."""
        file = self.work / "bake.json"
        file.write_text(json.dumps(self._bake(version)))
        # podbuild and the shell attest nothing either
        env = {**self.docker.env, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
        self.docker.forget_peaks()
        before = self.docker.cpu_seconds()
        spent = timed(
            (*self.docker.client, *BAKE, "--file", str(file)),
            folder=self.project.folder,
            env=env,
            log=self.work / f"buildkit-{version}.log",
        )
        return Spent(
            seconds=spent.seconds,
            cpu=spent.cpu + self.docker.cpu_seconds() - before,
            memory=max(spent.memory, self.docker.peak_memory()),
        )

    def _bake(self, version: str) -> Mapping[str, object]:
        bases = self.project.bases
        targets = {
            image: {
                "context": str(self.project.context(image)),
                "dockerfile": "Containerfile",
                "platforms": [f"linux/{each}" for each in self.project.architectures],
                "network": "none",  # the daemon has no bridge
                "contexts": {bases[image]: f"target:{bases[image]}"} if image in bases else {},
                "tags": [f"{host}/bench/{image}:{version}" for host in self.project.registries],
            }
            for image in self.project.images
        }
        return {"group": {"default": {"targets": self.project.images}}, "target": targets}


@contextmanager
def running_docker(programs: Path, work: Path) -> Iterator[Docker]:
    """Run dockerd where programs of all architectures run; raises NoDockerError."""
    if os.geteuid():
        raise NoDockerError("dockerd needs root")
    if not programs.is_dir():
        raise NoDockerError("Debian's docker is not here")
    runner = Runner(env=dict(os.environ))
    folders = find_folders(os.environ, work / "dist")
    emulate = [Platform("linux", architecture) for architecture in ARCHITECTURES]
    qemu = find(runner, folders).qemu
    with (
        cgroup() as group,
        open_namespace(runner, folders, qemu, emulate=emulate, needed=(work,)) as namespace,
        dockerd(programs, namespace, group, work) as docker,
    ):
        yield docker


def try_buildkit(programs: Path, work: Path, roots: Mapping[str, Path]) -> str:
    """Build a trifle for each platform, and give dockerd's version; raises NoDockerError."""
    context = work / "trial"
    context.mkdir()
    for architecture, root in roots.items():
        program = context / f"busybox-{architecture}"
        with tarfile.open(root) as archive:
            found = archive.extractfile("./usr/bin/busybox")
            program.write_bytes(found.read() if found else b"")
        program.chmod(0o755)
    (context / "Dockerfile").write_text(TRIAL)
    try:
        with running_docker(programs, work / "trial-docker") as docker:
            docker(*TRY, str(context))
            dockerd_version = docker("version", "--format", "{{.Server.Version}}").strip()
            return f"dockerd {dockerd_version}, buildx {docker('buildx', 'version').split()[1]}"
    except PodbuildError as error:
        raise NoDockerError(str(error)) from None
