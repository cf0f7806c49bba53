"""One user namespace per run: ids, mounts and foreign architectures of podbuild's own.

A holder process (`programs/holder.py`) keeps it open; tools enter it with `nsenter`, engines
through `programs/enter.py`. With a pid namespace everything inside dies with podbuild, also when
podbuild is killed: the holder's stdin ends, the holder ends, and the kernel ends the rest. Nothing
is mounted or registered on the host. Facts: user_namespaces(7), pid_namespaces(7), newuidmap(1).
"""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from podbuild.build.engine.idmap import MIN_IDS, map_ids, too_few_ids
from podbuild.build.toolchain.emulation import EXIT_PROOF, Guest, foreign_guests, missing_emulation
from podbuild.errors import PodbuildError, ToolError
from podbuild.oci.names import Platform
from podbuild.system.folders import Folders
from podbuild.system.locks import leased_folder
from podbuild.system.process import Process, Runner
from podbuild.system.records import JSONValue, parse_json

PRIVATE_BINFMT_KERNEL = (6, 7)  # "binfmt_misc: enable sandboxed mounts", Linux 6.7

_USERS = Path("/etc/passwd")
_SCRIPT = Path(__file__).parent / "programs" / "holder.py"
_ENTRANCE = Path(__file__).parent / "programs" / "enter.py"
_ANSWER_SECONDS = 30.0
_POLL_SECONDS = 0.1
_SWITCHES = (  # what refuses user namespaces, the value that does, and the command that allows them
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
    ("kernel/unprivileged_userns_clone", "0", "1"),
    ("user/max_user_namespaces", "0", "65536"),
)


class Emulation(StrEnum):
    """How foreign programs run inside a namespace."""

    NONE = "none"  # none was asked for
    HOST = "host"  # the machine's own handlers
    PRIVATE = "private"  # registered in this namespace alone


@dataclass(frozen=True, kw_only=True)
class Namespace:
    """An open user namespace; uid 0 inside is the user who opened it.

    `prefix` goes before a command's argv, `confinement` before an engine's, `env` into the
    environment of both. The working folder inside
    is `/`, so every path must be absolute.
    """

    pid: int  # the process whose namespaces are entered
    prefix: tuple[str, ...]
    confinement: tuple[str, ...]
    env: Mapping[str, str]
    ids: int  # how many user ids are mapped
    emulation: Emulation
    processes: bool = True  # it has a pid namespace of its own

    def inside(self, runner: Runner) -> Runner:
        """Give a runner whose commands run in this namespace."""
        return runner.extended(self.env, prefix=self.prefix)

    def confined(self, runner: Runner) -> Runner:
        """Give a runner for engines that build: what each mounts and starts ends with it.

        Their RUN steps see processes, memory, queues and devices of no one else. To enter so
        costs as much as a start of the engine; what runs no steps of others is run `inside`.
        """
        return runner.extended(self.env, prefix=self.confinement)

    def path(self, inside: Path) -> Path:
        """Give where this process finds what lies at a path in the namespace."""
        return Path(f"/proc/{self.pid}/root{inside}")


@dataclass(frozen=True, kw_only=True)
class _Order:
    """What the holder is asked for."""

    guests: tuple[Guest, ...]
    qemu: Mapping[str, Path]
    programs: Path  # folder for the proving programs
    users: Path  # stands for /etc/passwd inside
    pid_namespace: bool
    sealed: tuple[Path, ...]  # folders of programs
    needed: tuple[Path, ...]  # where engines work

    def to_json(self) -> str:
        guests = [
            {
                "architecture": guest.architecture,
                "program": str(self.programs / guest.architecture),
                "registration": self._registration(guest),
            }
            for guest in self.guests
        ]
        return json.dumps(
            {
                "pid": self.pid_namespace,
                "users": str(self.users),
                "guests": guests,
                "proof": EXIT_PROOF,
                "sealed": [str(folder) for folder in self.sealed],
                "needed": [str(folder) for folder in self.needed],
                "dev": str(self.programs / "dev"),
            }
        )

    def _registration(self, guest: Guest) -> str:
        interpreter = self.qemu.get(guest.architecture)
        return guest.registration(str(interpreter)) if interpreter else ""


class _HolderError(Exception):
    """The holder could not do a stage."""

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(f"{stage}: {reason}")
        self.stage = stage
        self.reason = reason


@contextmanager
def open_namespace(
    runner: Runner,
    folders: Folders,
    qemu: Mapping[str, Path],
    *,
    emulate: Sequence[Platform] = (),
    programs: Sequence[Path] = (),
    needed: Sequence[Path] = (),
) -> Iterator[Namespace]:
    """Give a namespace in which every platform of `emulate` runs, while the block runs.

    `qemu` says which static qemu serves an architecture (`Toolchain.qemu`). It is asked only
    where the host runs no such programs. `programs` are those that engines start: nothing in
    there can change them. /dev is a small one of podbuild's own; of what lies in the machine's,
    only podbuild's folders and `needed` stay.

    Raises ToolError where the machine refuses user namespaces, has no ids to map, or can't run
    one of the platforms.
    """
    guests = foreign_guests(emulate)
    outside = runner.extended(prefix=())
    with leased_folder(folders.cache / "guests", shutil.rmtree) as work:
        for guest in guests:
            program = work / guest.architecture
            program.write_bytes(guest.program())
            program.chmod(0o755)
        users = work / "passwd"
        users.write_text(users_inside(work, _USERS.read_text() if _USERS.exists() else ""))
        order = _Order(
            guests=guests,
            qemu=qemu,
            programs=work,
            users=users,
            pid_namespace=True,
            sealed=_folders_of((*programs, *qemu.values())),
            needed=(folders.cache, folders.state, folders.runtime, *needed),
        )
        with _opened(outside, order) as namespace:
            yield namespace


def _folders_of(programs: Sequence[Path]) -> tuple[Path, ...]:
    """Give the folders that these programs really lie in."""
    return tuple(sorted({program.resolve().parent for program in programs}))


@contextmanager
def _opened(runner: Runner, order: _Order) -> Iterator[Namespace]:
    """Open with a pid namespace; without one where /proc can't be mounted anew."""
    try:
        with _hold(runner, order) as namespace:
            yield namespace
            return
    except _HolderError as error:
        if error.stage != "proc":
            raise _explain(error, order) from None
    try:
        with _hold(runner, replace(order, pid_namespace=False)) as namespace:
            yield namespace
    except _HolderError as error:
        raise _explain(error, order) from None


@contextmanager
def _hold(runner: Runner, order: _Order) -> Iterator[Namespace]:
    """Start the holder, map its ids, and give what it opened."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    listening, telling = os.pipe()
    argv = (sys.executable, "-I", "-S", str(_SCRIPT), order.to_json())
    try:
        with runner.background(*argv, stdin=listening, on_line=lines.put) as process:
            try:
                holder = _Holder(runner, process, lines)
                holder.expect("unshared")
                map_ids(runner, process.pid)
                os.write(telling, b"mapped\n")
                pid = int(holder.expect("pid"))
                yield _namespace(pid, parse_json(holder.expect("ready")), order)
            finally:
                os.close(telling)  # the holder ends, and everything inside with it
                process.done.wait(_ANSWER_SECONDS)
    finally:
        os.close(listening)


@dataclass(frozen=True)
class _Holder:
    runner: Runner
    process: Process
    lines: queue.SimpleQueue[str]

    def expect(self, word: str) -> str:
        """Wait for a line that begins with this word and give the rest of it."""
        strange: list[str] = []
        for line in self._lines():
            said, _, rest = line.partition(" ")
            if said == word:
                return rest
            if said == "failed":
                stage, _, reason = rest.partition(" ")
                raise _HolderError(stage, reason)
            strange.append(line)
        raise ToolError("the user namespace's holder ended unexpectedly", details=strange)

    def _lines(self) -> Iterator[str]:
        waited = 0.0
        while waited < _ANSWER_SECONDS:
            self.runner.cancel.check()
            ended = self.process.done.is_set()
            try:
                yield self.lines.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if ended:
                    return
                waited += _POLL_SECONDS


def _namespace(pid: int, answer: JSONValue, order: _Order) -> Namespace:
    match answer:
        case {"ids": int(ids), "emulation": str(emulation)}:
            how = Emulation(emulation) if order.guests else Emulation.NONE
        case _:
            raise ToolError(f"the user namespace's holder answered {answer}")
    if ids < MIN_IDS:
        raise too_few_ids(ids)
    return Namespace(
        pid=pid,
        prefix=_entry(pid, order),
        confinement=_confinement(pid, order),
        env=_engine_environment(),
        ids=ids,
        emulation=how,
        processes=order.pid_namespace,
    )


def _entry(pid: int, order: _Order) -> tuple[str, ...]:
    """Give the argv prefix that enters; the user's own groups are kept (files may need them).

    Without a pid namespace nothing else ends the engine when podbuild is killed.
    """
    shared = ("nsenter", f"--target={pid}", "--user", "--mount", "--preserve-credentials")
    if order.pid_namespace:
        return (*shared, "--pid", "--")
    return (*shared, "--", "setpriv", "--pdeathsig=KILL", "--")


def _confinement(pid: int, order: _Order) -> tuple[str, ...]:
    processes = "pid" if order.pid_namespace else "nopid"
    return (sys.executable, "-I", "-S", str(_ENTRANCE), str(pid), processes)


def without_network(runner: Runner) -> Runner:
    """Give a confined runner whose command has a network of its own that leads nowhere."""
    return runner.extended(prefix=(*runner.prefix, "--alone"))


def confined_at_cost(runner: Runner, report: Path) -> Runner:
    """Give a confined runner whose command writes into `report` what it cost; for one command."""
    return runner.extended(prefix=(*runner.prefix, "--cost", str(report)))


def ending_steps(runner: Runner) -> Runner:
    """Give a confined runner that ends what RUN steps leave running, for chroot isolation.

    Other isolations give each step process ids of its own, with which all of it ends.
    """
    return runner.extended(prefix=(*runner.prefix, "--steps"))


def outside_user() -> int:
    """Give the user outside that engines are told of: this one, but never root.

    For 0 they record blobs in /var/lib/containers, whatever XDG_DATA_HOME says.
    """
    return os.getuid() or 1


def users_inside(home: Path, database: str) -> str:
    """Give a user database in which the user outside has this home.

    A RUN's own engine process knows no HOME: it makes .config in the home that the database
    names, and fails where there is none (containers/storage, unshare.HomeDir).
    """
    mine = str(outside_user())
    others = [line for line in database.splitlines() if line.split(":")[2:3] != [mine]]
    return "\n".join((f"podbuild:x:{mine}:{os.getgid()}::{home}:/bin/sh", *others, ""))


def _engine_environment() -> Mapping[str, str]:
    """Give what tells the engines that they are in a user namespace already."""
    return {
        "_CONTAINERS_USERNS_CONFIGURED": "done",
        "_CONTAINERS_ROOTLESS_UID": str(outside_user()),
        "_CONTAINERS_ROOTLESS_GID": str(os.getgid()),
    }


def refusing_switch(root: Path = Path("/proc/sys")) -> str:
    """Give the command that allows user namespaces; empty where no setting refuses them."""
    for name, refusing, allowing in _SWITCHES:
        path = root / name
        if path.exists() and path.read_text().strip() == refusing:
            return f"sudo sysctl -w {name.replace('/', '.')}={allowing}"
    return ""


def kernel_release() -> tuple[int, int]:
    """Give the running kernel's version, such as (6, 18)."""
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _explain(error: _HolderError, order: _Order) -> PodbuildError:
    """Say what a failed stage means for the user."""
    architectures = tuple(guest.architecture for guest in order.guests)
    match error.stage:
        case "qemu":
            return missing_emulation(
                (error.reason,), "it has no handler for it, and no qemu is found"
            )
        case "binfmt" if kernel_release() < PRIVATE_BINFMT_KERNEL:
            running = ".".join(map(str, kernel_release()))
            reason = f"it has no handler for them, and Linux {running} has no private binfmt_misc"
            return missing_emulation(architectures, reason)
        case "binfmt" | "register" | "proof":
            return missing_emulation(architectures, f"private binfmt_misc, {error}")
        case _:
            return ToolError(
                f"this machine refuses user namespaces ({error})",
                hint=refusing_switch()
                or "in a container, run it with seccomp=unconfined and apparmor=unconfined; "
                "`podbuild doctor` checks the rest",
            )
