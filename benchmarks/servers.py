"""Registry servers on loopback, and what they were sent."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PROGRAM = "docker-registry"
READY_WITHIN = 30.0  # seconds


@dataclass(frozen=True)
class Traffic:
    """What servers were sent: bytes read from sockets and files, requests answered."""

    received: int = 0
    requests: int = 0

    def __sub__(self, earlier: Traffic) -> Traffic:
        return Traffic(self.received - earlier.received, self.requests - earlier.requests)

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.received + other.received, self.requests + other.requests)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running registry: `host` is 127.0.0.1:port."""

    host: str
    process: subprocess.Popen[bytes] = field(repr=False)
    log: Path

    def traffic(self) -> Traffic:
        """Count from the kernel's and the server's own records."""
        counts = Path(f"/proc/{self.process.pid}/io").read_text()
        read = int(counts.partition("rchar: ")[2].partition("\n")[0])
        return Traffic(read, self.log.read_bytes().count(b'HTTP/1.1" '))


def traffic(servers: tuple[Server, ...]) -> Traffic:
    """Count for all servers together."""
    return sum((server.traffic() for server in servers), Traffic())


@contextmanager
def registries(folder: Path, count: int) -> Iterator[tuple[Server, ...]]:
    """Run empty registries while the block runs; what they hold goes with them."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise SystemExit(f"{PROGRAM} is missing; `make bench` gets it")
    with ExitStack() as stack:
        yield tuple(
            stack.enter_context(_registry(program, folder / f"registry-{number}"))
            for number in range(count)
        )


@contextmanager
def _registry(program: str, folder: Path) -> Iterator[Server]:
    folder.mkdir(parents=True)
    port = free_port()
    settings = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "data")},
            "delete": {"enabled": True},
        },
        "http": {"addr": f"127.0.0.1:{port}", "secret": "constant"},
    }
    (folder / "config.json").write_text(json.dumps(settings))  # JSON is YAML
    log = folder / "log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", "--", program, "serve", str(folder / "config.json")],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={"PATH": os.defpath, "HOME": str(folder), "OTEL_TRACES_EXPORTER": "none"},
        )
    try:
        wait_for(port, process)
        yield Server(host=f"127.0.0.1:{port}", process=process, log=log)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server listens."""
    until = time.monotonic() + READY_WITHIN
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.02)
    raise SystemExit(f"{PROGRAM} does not listen")


def free_port() -> int:
    """Give a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number
