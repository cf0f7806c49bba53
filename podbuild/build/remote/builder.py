"""One builder while a run lasts: its connection, its services, and what it is."""

from __future__ import annotations

import base64
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from podbuild.build.engine.idmap import MIN_IDS
from podbuild.build.engine.registries_conf import RegistriesConf, render, with_own
from podbuild.build.remote.podman import Podman
from podbuild.build.remote.script import script
from podbuild.build.remote.ssh import BuilderFacts, Connection, FullBuilderError, connect
from podbuild.build.toolchain.emulation import GUESTS
from podbuild.config.builders import BuilderHost
from podbuild.config.choices import Compression
from podbuild.errors import ToolError
from podbuild.oci.auth.files import Credential
from podbuild.oci.names import Platform, Repository
from podbuild.oci.transport.local import SocketService
from podbuild.system.folders import Folders, shared_runtimes, usable
from podbuild.system.locks import leased_folder
from podbuild.system.process import Runner

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_TIDY_SECONDS = 90.0  # with the wait for a run that begins or ends
_LONGEST = 107 - len("/cm.") - 16  # bytes of a socket's path (unix(7)); ssh makes it longer
_NAME = "x" * 12


@dataclass(frozen=True, kw_only=True)
class Supplies:
    """What services get: the staging registry's port here, where bases come from, their logins.

    `authorities` are the certificates that the configuration names, by host.
    """

    port: int
    registries: RegistriesConf
    logins: Mapping[Repository, Credential] = field(default_factory=dict, repr=False)
    authorities: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Service:
    """A podman that works for one job, and the port by which it reaches staging."""

    podman: Podman
    port: int
    lost: threading.Event
    stop: partial[None]
    used: Callable[[str], None]  # hears of images that the store should keep


class RemoteBuilder:
    """Connects when it is first needed, and again when it was lost. Safe between threads."""

    def __init__(self, builder: BuilderHost, runner: Runner, folders: Folders) -> None:
        self.builder = builder
        self._runner = runner
        self._folders = folders
        self._lock = threading.RLock()
        self._stack = ExitStack()
        self._connection: Connection | None = None
        self._facts: BuilderFacts | None = None
        self._folder = Path()
        self._port: int | None = None
        self._names = iter(range(1 << 30))

    @property
    def name(self) -> str:
        """Give its name in the configuration."""
        return self.builder.name

    def facts(self) -> BuilderFacts:
        """Give what it is; raises as `connect` does."""
        with self._lock, self._naming_itself():
            self._connected()
            assert self._facts is not None  # noqa: S101  # _connected has set them
            return self._facts

    @property
    def native(self) -> Platform:
        """Give the platform whose programs it runs by itself."""
        return Platform("linux", self.facts().architecture)

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """Give what it builds."""
        return self.builder.platforms or (self.native,)

    @property
    def slots(self) -> int:
        """Give how many builds it does at a time."""
        return self.builder.jobs or max(1, self.facts().cpus // 2)

    @contextmanager
    def service(self, supplies: Supplies, key: str, compression: Compression) -> Iterator[Service]:
        """Give a service of its own to a job, whose cache mounts last under `key`.

        Its record of known blobs is of one compression, or a layer of the other would be sent.
        Raises UnfitBuilderError and LostBuilderError.
        """
        with self._lock, self._naming_itself():
            connection = self._connected()
            port = self._supplied(connection, supplies)
            name, folder = str(next(self._names)), self._folder
        socket = folder / name
        connection.tell("start", name, key, compression)
        with self._naming_itself():
            there = connection.expect(
                f"ready.{name}", failure=f"broken.{name}", seconds=_START_SECONDS
            )
        try:
            connection.forward(socket, there)
            podman = Podman(SocketService(socket), supplies.logins)
            if not podman.answers():
                raise connection.closed()
            yield Service(
                podman=podman,
                port=port,
                lost=connection.lost,
                stop=partial(connection.tell, "stop", name),
                used=partial(connection.tell, "used"),
            )
        finally:
            connection.tell("stop", name)
            if not connection.lost.is_set() and not self._runner.cancel.requested:
                connection.settle(f"stopped.{name}", _STOP_SECONDS)
            socket.unlink(missing_ok=True)

    def tidy(self, keep: int) -> int | None:
        """Let at most `keep` bytes last there and give what does; None where a run is at work."""
        with self._lock, self._naming_itself():
            connection = self._connected()
            connection.tell("tidy", str(keep // 1024))
            left = connection.expect("tidied", seconds=_TIDY_SECONDS)
            return int(left) * 1024 if left.isdecimal() else None

    def full(self) -> FullBuilderError:
        """Say that no space is left there."""
        return FullBuilderError(
            f"no space left on the builder {self.name}",
            hint=f"podbuild clean --builders --keep 0; or look: ssh {self.builder.host} df -h",
        )

    def close(self) -> None:
        """End what runs there; raises nothing of it."""
        with self._lock:
            self._stack.close()
            self._connection = None

    @contextmanager
    def _naming_itself(self) -> Iterator[None]:
        try:
            yield
        except FullBuilderError as error:
            raise self.full() from error

    def _connected(self) -> Connection:
        if self._connection is not None and not self._connection.ended:
            return self._connection
        self.close()
        self._port = None
        mark, run = f"@{secrets.token_hex(8)}", f"{int(time.time())}-{secrets.token_hex(4)}"
        keep = self.builder.keep
        text = script(mark=mark, run=run, ids=MIN_IDS, keep=keep, handlers=_handlers())
        try:
            self._folder = self._stack.enter_context(_sockets(self._folders))
            way = connect(self._runner, self.builder.host, self._folder, text, mark)
            self._connection, self._facts = self._stack.enter_context(way)
        except BaseException:
            self._stack.close()
            raise
        return self._connection

    def _supplied(self, connection: Connection, supplies: Supplies) -> int:
        """Open the way to staging, and say which registries there are."""
        if self._port is None:
            port = connection.forward_back(supplies.port)
            conf = with_own(supplies.registries, mirrors={}, insecure=[f"127.0.0.1:{port}"])
            text = render(replace(conf, helpers=None))
            connection.tell("conf", _line(text.encode()))
            connection.expect("conf", seconds=_START_SECONDS)
            for host, path in supplies.authorities.items():
                connection.tell("ca", host, _line(path.read_bytes()))
                connection.expect("ca", seconds=_START_SECONDS)
            self._port = port
        return self._port


def _line(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _handlers() -> Mapping[str, str]:
    return {guest.qemu: guest.registration("@") for guest in GUESTS}


@contextmanager
def _sockets(folders: Folders) -> Iterator[Path]:
    """Give a folder with a name short enough for sockets."""
    for parent in (folders.runtime, *shared_runtimes()):
        place = parent / "ssh"
        if len(str(place / _NAME)) <= _LONGEST and usable(parent):
            with leased_folder(place, partial(shutil.rmtree, ignore_errors=True)) as folder:
                yield folder
            return
    raise ToolError(
        f"{folders.runtime} is too long for the sockets of ssh",
        hint="name a shorter folder with XDG_RUNTIME_DIR",
    )
