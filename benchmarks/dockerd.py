"""A dockerd of the benchmark's own: root's, but nothing on this machine is changed.

It runs in podbuild's kind of namespace, because foreign programs are registered there and not on
the host. Images are in containerd's store, and the namespace's end ends all of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from processes import children, cpu_seconds, family, forget_peaks, peak_memory

from podbuild.build.engine.namespace import Namespace

READY_WITHIN = 30.0  # seconds
STOPS_WITHIN = 15.0
INNER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("dockerd_init.py")))
CGROUPS = Path("/sys/fs/cgroup")
# It adopts what leaves its parent: the CPU of each container is counted there in the end.
ADOPTING = ("docker-init", "-s", "--")


class NoDockerError(Exception):
    """No dockerd can be measured here; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Docker:
    """A running dockerd and its client, on a socket of its own."""

    client: tuple[str, ...]
    env: Mapping[str, str]
    process: subprocess.Popen[bytes] = field(repr=False)

    def __call__(self, *arguments: str) -> str:
        """Run `docker` and give what it prints; raises NoDockerError with its complaint."""
        done = subprocess.run(
            (*self.client, *arguments), env=self.env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise NoDockerError(f"docker {arguments[0]} says: {last_line(done.stderr)}")
        return done.stdout

    def cpu_seconds(self) -> float:
        """Give the CPU that the daemon, its containers and all they started have taken."""
        return cpu_seconds(family(self.process.pid))

    def forget_peaks(self) -> None:
        """Count peak memory from now on."""
        forget_peaks(family(self.process.pid))

    def peak_memory(self) -> int:
        """Give the peak, in bytes, of the daemon's largest process."""
        return peak_memory(family(self.process.pid))


@contextmanager
def cgroup() -> Iterator[str]:
    """Give the name of a control group for containers, and remove it in the end."""
    name = f"podbuild-bench-{os.getpid()}"
    try:
        yield name
    finally:
        for top in (CGROUPS / name, *CGROUPS.glob(f"*/{name}")):
            for folder, _, _ in os.walk(top, topdown=False):
                Path(folder).rmdir()


@contextmanager
def dockerd(programs: Path, namespace: Namespace, group: str, work: Path) -> Iterator[Docker]:
    """Run dockerd with all its data in `work`, while the block runs; raises NoDockerError."""
    work.mkdir(parents=True)
    (work / "daemon.json").write_text(json.dumps(_settings(group, work)))
    (work / "config.json").write_text(
        json.dumps({"cliPluginsExtraDirs": [str(programs / "usr/libexec/docker/cli-plugins")]})
    )
    path = f"{programs}/usr/bin:{programs}/usr/sbin:{os.environ['PATH']}"
    env = {"PATH": path, "HOME": str(work), "TMPDIR": str(work), "BUILDX_CONFIG": str(work)}
    argv = (*namespace.prefix, *INNER, *ADOPTING, "dockerd", "--config-file")
    with (work / "log").open("wb") as log:
        process = subprocess.Popen(
            (*argv, str(work / "daemon.json")),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            start_new_session=True,  # Ctrl-C is for the benchmark, which then stops it
        )
    client = (
        str(programs / "usr/bin/docker"),
        *("--config", str(work), "--host", f"unix://{work}/socket"),
    )
    docker = Docker(client=client, env=env, process=process)
    try:
        _await(docker, work)
        yield docker
    finally:
        _stop(process)


def _settings(group: str, work: Path) -> Mapping[str, object]:
    return {
        "cgroup-parent": group,
        "data-root": str(work / "data"),
        "exec-root": str(work / "exec"),
        "pidfile": str(work / "pid"),
        "hosts": [f"unix://{work}/socket"],
        "features": {"containerd-snapshotter": True},
        "insecure-registries": ["127.0.0.0/8"],
        "bridge": "none",
        **dict.fromkeys(("iptables", "ip6tables", "ip-forward", "ip-masq"), False),
    }


def _await(docker: Docker, work: Path) -> None:
    """Wait for the daemon's first answer."""
    until = time.monotonic() + READY_WITHIN
    while time.monotonic() < until and docker.process.poll() is None:
        if (work / "socket").exists():
            with suppress(NoDockerError):
                docker("version")
                return
        time.sleep(0.05)
    raise NoDockerError(f"dockerd says: {last_line((work / 'log').read_text())}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End dockerd gently: it removes its containers' groups; what is left ends by force."""
    for pid in children(process.pid):  # the process itself is nsenter, which passes nothing on
        os.kill(pid, 15)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOPS_WITHIN)
    process.kill()
    process.wait()


def last_line(text: str) -> str:
    """Give the last line that says something."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "nothing")
