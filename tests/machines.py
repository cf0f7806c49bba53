"""A builder on loopback: an sshd of the test's own, whose sessions have a home of their own."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.registries import free_port
from tests.toolchains import own_folders

_TOOLS = own_folders().cache / "test-ssh"
_LIBRARIES = ("usr/lib", "lib")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine that ssh reaches as `host`, by an `ssh` that stands first in `path`."""

    host: str
    folder: Path
    port: int
    sshd: subprocess.Popen[bytes]

    @property
    def home(self) -> Path:
        """Give the home of who logs in."""
        return self.folder / "home"

    @property
    def path(self) -> Path:
        """Give the folder with the ssh that knows this machine."""
        return self.folder / "bin"

    @property
    def known_hosts(self) -> Path:
        """Give the file of host keys that ssh trusts."""
        return self.folder / "known_hosts"

    @property
    def left(self) -> list[str]:
        """Give what the runs of builders have left."""
        runs = self.home / ".cache/podbuild-builder/runs"
        return sorted(entry.name for entry in runs.iterdir()) if runs.is_dir() else []

    def sessions(self) -> list[int]:
        """Give the processes of the scripts there that obey; none of another machine's."""
        return [pid for pid in pids_of("head -c ") if _has_home(pid, self.home)]

    def processes(self) -> list[str]:
        """Give the command lines of what works for builds there."""
        return [line for _, line in _command_lines() if str(self.home) in line]

    def wait_until_empty(self) -> None:
        """Wait until nothing of a run is left there; what is killed needs its time to end."""
        while self.left or self.processes():
            time.sleep(0.05)


def pids_of(*texts: str) -> list[int]:
    """Give the processes, this one aside, in whose command line all of these stand."""
    own = os.getpid()
    found = _command_lines()
    return [pid for pid, line in found if pid != own and all(text in line for text in texts)]


def send(number: int, *pids: int) -> None:
    """Send a signal to processes; one that has ended since it was listed needs none."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _command_lines() -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
            except OSError:
                continue
            yield int(entry.name), words.decode("utf-8", "replace")


def _has_home(pid: int, home: Path) -> bool:
    try:
        return f"HOME={home}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it has ended, or is another user's
        return False


def _tool(name: str) -> str:
    return str(_TOOLS / "usr" / name)


def _environment() -> dict[str, str]:
    triple = os.uname().machine + "-linux-gnu"
    return {
        "PATH": os.environ["PATH"],
        "LD_LIBRARY_PATH": ":".join(str(_TOOLS / each / triple) for each in _LIBRARIES),
    }


def _key(path: Path) -> str:
    argv = (_tool("bin/ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(path))
    subprocess.run(argv, check=True, env=_environment())
    kind, key = path.with_suffix(".pub").read_text().split()[:2]
    return f"{kind} {key}"


@contextmanager
def machine(
    folder: Path,
    host: str = "builder",
    *,
    settings: str = "",
    podman: str = "",
    disk: str = "",
    beside: Machine | None = None,
) -> Iterator[Machine]:
    """Start one while the block runs; `settings` are more lines of sshd_config.

    `podman` is a shell script that stands there for podman; without it the real one does. With
    `disk` its storage is as large as that and who logs in is root there. The ssh of the machine
    `beside` knows this one too.
    """
    if disk:
        settings += f"ForceCommand {_on_small_disk(folder / 'home', disk)}\n"
    folder.mkdir(mode=0o700)
    (folder / "home").mkdir()
    (folder / "bin").mkdir()
    toolchain = folder / "home/.local/state/podbuild/toolchain"
    toolchain.parent.mkdir(parents=True)
    if podman:
        (toolchain / "fake/bin").mkdir(parents=True)
        (toolchain / "fake/bin/podman").write_text(f"#!/bin/sh\n{podman}")
        (toolchain / "fake/bin/podman").chmod(0o755)
    else:
        toolchain.symlink_to(own_folders().state / "toolchain")
    server, client = _key(folder / "server"), _key(folder / "client")
    (folder / "authorized").write_text(f"{client}\n")
    port = free_port()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {server}\n")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/server\n"
        f"AuthorizedKeysFile {folder}/authorized\nPidFile none\nUsePAM no\nStrictModes no\n"
        f'PasswordAuthentication no\nMaxStartups 100\nSetEnv "HOME={folder}/home"\n{settings}'
    )
    (folder / "ssh_config").write_text(
        f"Host {host}\n HostName 127.0.0.1\n Port {port}\n User {getpass.getuser()}\n"
        f" IdentityFile {folder}/client\n IdentitiesOnly yes\n"
        f" UserKnownHostsFile {folder}/known_hosts\n GlobalKnownHostsFile none\n"
    )
    if beside is not None:
        with (beside.folder / "ssh_config").open("a") as known:
            known.write((folder / "ssh_config").read_text())
    wrapper = folder / "bin/ssh"
    environment = " ".join(
        f"{key}='{value}'" for key, value in _environment().items() if key != "PATH"
    )
    wrapper.write_text(
        f'#!/bin/sh\n{environment} exec {_tool("bin/ssh")} -F {folder}/ssh_config "$@"\n'
    )
    wrapper.chmod(0o755)
    argv = (_tool("sbin/sshd"), "-D", "-e", "-f", str(folder / "sshd_config"))
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(argv, env=_environment(), stderr=log, start_new_session=True) as sshd,
    ):
        try:
            _wait(sshd, port)
            yield Machine(host=host, folder=folder, port=port, sshd=sshd)
        finally:
            sshd.terminate()


def _on_small_disk(home: Path, size: str) -> str:
    graph = home / ".cache/podbuild-builder/graph"
    mount = f"mkdir -p {graph} && mount -t tmpfs -o size={size} tmpfs {graph}"
    others = "for each in /run /var/lib /root; do mount -t tmpfs tmpfs $each; done"  # root's own
    inner = f'{others}; {mount} && exec sh -c "$SSH_ORIGINAL_COMMAND"'
    return f"exec unshare --user --map-root-user --map-auto --mount sh -c '{inner}'"


def _wait(sshd: subprocess.Popen[bytes], port: int) -> None:
    while True:
        assert sshd.poll() is None, "sshd has ended"
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
