"""Holds a user namespace open until its stdin ends. Runs alone: `python -I -S`, no podbuild.

It talks to `namespace.py` by lines. On stdout: `unshared`; `pid N` (whose namespaces are
to be entered); `ready JSON` or `failed STAGE REASON`. On stdin: `mapped` once the ids are mapped;
the end of it ends this process and, with a pid namespace, everything in there.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_PRIVATE = 1 << 18
PR_SET_PDEATHSIG = 1
USERS = "/etc/passwd"
BINFMT = "/proc/sys/fs/binfmt_misc"
NO_EXEC = 126
NODES = ("null", "zero", "full", "random", "urandom", "tty", "fuse", "net/tun")
LINKS = {"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
SHM = "/dev/shm"  # noqa: S108  # it is covered here
STAT_FLAGS = (  # what a remount must keep (mount(2)): as statvfs(3) and as mount(2) say it
    (2, MS_NOSUID),
    (4, MS_NODEV),
    (8, MS_NOEXEC),
    (1024, 1024),
    (2048, 2048),
    (4096, 1 << 21),
)
ROOMS = ("/mnt", "/media", "/srv", "/opt")  # one of them shows in here what lies in SHM outside

libc = ctypes.CDLL(None, use_errno=True)


class StageError(Exception):
    """A step that the kernel or the machine refused."""


def call(stage: str, result: int) -> None:
    """Raise StageError when a libc call has failed."""
    if result != 0:
        raise StageError(stage, os.strerror(ctypes.get_errno()))


def mount(stage: str, source: str, target: str, kind: str, flags: int) -> None:
    """Mount, or raise StageError."""
    arguments = (source.encode(), target.encode(), kind.encode(), flags, None)
    call(stage, libc.mount(*arguments))


def say(*words: str) -> None:
    """Send one line to podbuild."""
    os.write(1, (" ".join(words) + "\n").encode())


def exit_code(program: str) -> int:
    """Give what a program ends with; NO_EXEC when the kernel can't start it."""
    child = os.fork()
    if child == 0:
        try:
            os.execv(program, [program])  # noqa: S606  # a program made by podbuild
        except OSError:
            os._exit(NO_EXEC)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def broken(guests: list[dict[str, str]], proof: int) -> list[str]:
    """Give the architectures whose programs do not run."""
    return [guest["architecture"] for guest in guests if exit_code(guest["program"]) != proof]


def register(guests: list[dict[str, str]]) -> None:
    """Mount a binfmt_misc of this namespace's own and register every guest in it."""
    mount("binfmt", "binfmt_misc", BINFMT, "binfmt_misc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for guest in guests:
        if not guest["registration"]:
            raise StageError("qemu", guest["architecture"])
        try:
            with open(f"{BINFMT}/register", "wb", buffering=0) as file:  # noqa: PTH123
                file.write(guest["registration"].encode())
        except OSError as error:
            raise StageError("register", f"{guest['architecture']}: {error.strerror}") from None


def emulate(guests: list[dict[str, str]], proof: int) -> str:
    """Make every guest's programs run; give how: `host` or `private`."""
    if not broken(guests, proof):
        return "host"
    register(guests)
    left = broken(guests, proof)
    if left:
        raise StageError("proof", ",".join(left))
    return "private"


def seal(folder: str) -> None:
    """Let nobody in here change a folder's programs: RUN steps find them as /proc/PID/exe."""
    if not os.path.isdir(folder):  # noqa: PTH112
        return
    mount("seal", folder, folder, "none", MS_BIND | MS_REC)
    close("seal", folder)


def close(stage: str, place: str) -> None:
    """Make a bind mount read-only."""
    flags = os.statvfs(place).f_flag
    kept = sum(flag for mark, flag in STAT_FLAGS if flags & mark)
    mount(stage, "none", place, "none", MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


def make_devices(folder: str, needed: list[str]) -> None:
    """Put a /dev over the machine's: what images need, and nothing of the user or of other runs.

    RUN steps get all that lies under /dev. What engines `needed` there moves out of their sight.
    The devices are the machine's own: read-only, nobody changes their modes and owners (as root
    a RUN step could), and what is written still goes to them.
    """
    room = next((room for room in ROOMS if os.path.isdir(room) and free(room, needed)), "")  # noqa: PTH112
    names = []
    if any(path.startswith(f"{SHM}/") for path in needed):
        if not room:
            raise StageError("shm", "no folder is free")
        names = sorted({path.split("/")[3] for path in needed if path.startswith(f"{SHM}/")})
        mount("shm", SHM, room, "none", MS_BIND | MS_REC)
    os.mkdir(folder)  # noqa: PTH102
    mount("dev", "tmpfs", folder, "tmpfs", MS_NOSUID | MS_NOEXEC)
    os.chmod(folder, 0o755)  # noqa: PTH101, S103
    for name in ("net", "pts", "shm", "mqueue"):
        os.mkdir(f"{folder}/{name}")  # noqa: PTH102
    os.chmod(f"{folder}/shm", 0o1777)  # noqa: PTH101, S103
    for name in NODES:
        if os.path.exists(f"/dev/{name}"):  # noqa: PTH110
            os.close(os.open(f"{folder}/{name}", os.O_CREAT))
            mount("dev", f"/dev/{name}", f"{folder}/{name}", "none", MS_BIND)
            close("dev", f"{folder}/{name}")
    for name, target in LINKS.items():
        os.symlink(f"/proc/self/{target}", f"{folder}/{name}")  # noqa: PTH211
    os.symlink("pts/ptmx", f"{folder}/ptmx")  # noqa: PTH211
    for name in names:
        os.symlink(f"../..{room}/{name}", f"{folder}/shm/{name}")  # noqa: PTH211
    mount("dev", folder, "/dev", "none", MS_MOVE)


def free(room: str, needed: list[str]) -> bool:
    """Tell whether nothing that engines need lies in a folder."""
    return not any(f"{path}/".startswith(f"{room}/") for path in needed)


def hold(order: dict[str, object]) -> None:
    """Set the namespace up, report, and wait for the end of stdin."""
    if order["pid"]:
        mount("proc", "proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if os.path.exists(USERS):  # noqa: PTH110
        mount("users", str(order["users"]), USERS, "none", MS_BIND)
    guests, proof = order["guests"], order["proof"]
    sealed, needed = order["sealed"], order["needed"]
    assert isinstance(guests, list)  # noqa: S101  # our own parent wrote it
    assert isinstance(proof, int)  # noqa: S101
    assert isinstance(sealed, list)  # noqa: S101
    assert isinstance(needed, list)  # noqa: S101
    for folder in sealed:
        seal(folder)
    emulation = emulate(guests, proof)
    make_devices(str(order["dev"]), needed)
    with open("/proc/self/uid_map") as file:  # noqa: PTH123
        ids = sum(int(line.split()[2]) for line in file)
    say("ready", json.dumps({"emulation": emulation, "ids": ids}))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps orphans for us
    while os.read(0, 4096):
        pass


def enter(order: dict[str, object]) -> None:
    """Unshare, wait for the id maps, and give birth to the holder."""
    flags = CLONE_NEWUSER | CLONE_NEWNS | (CLONE_NEWPID if order["pid"] else 0)
    call("unshare", libc.unshare(flags))
    say("unshared")
    if os.read(0, 7) != b"mapped\n":
        return
    mount("private", "none", "/", "none", MS_REC | MS_PRIVATE)
    if not order["pid"]:
        say("pid", str(os.getpid()))
        hold(order)
        return
    told, telling = os.pipe()
    child = os.fork()
    if child:
        say("pid", str(child))
        os.write(telling, b".")
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 255)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.read(told, 1)  # `pid` comes before `ready`
    hold(order)


def main() -> None:
    """Do what the first argument says. Stop signals are for podbuild, which then ends stdin."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        enter(json.loads(sys.argv[1]))
    except StageError as error:
        say("failed", *error.args)
        sys.exit(1)


if __name__ == "__main__":
    main()
