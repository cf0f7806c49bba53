"""Runs a command in a namespace: `python -I -S enter.py PID pid|nopid [OPTION...] COMMAND...`.

PID holds it (`holder.py`). The command sees of the machine only what images need, so that
a RUN step, which gets its /dev, /proc and /sys, finds nothing of podbuild, of another job or of the
user there: process ids, SysV and POSIX memory, message queues, terminals and keys are its own.
Options: `--alone` gives it a network without a way out, `--cost REPORT` what `measure.py` writes.
Each build starts this: it imports nothing that costs time.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import sys

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
AF_INET, SOCK_DGRAM, SIOCSIFFLAGS, IFF_UP = 2, 2, 0x8914, 1
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
PR_SET_PDEATHSIG = 1
TIOCNOTTY = 0x5422
KEYCTL_JOIN_SESSION_KEYRING = 1
LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF = 444, 446  # on every architecture
LANDLOCK_SCOPES = 3  # of abstract unix sockets and of signals (landlock(7), Linux 6.12)
LANDLOCK_ABI = 6
KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "ppc64le": 271, "s390x": 280}
SIGHUP, SIGINT, SIGKILL, SIGTERM = 1, 2, 9, 15  # the module `signal` costs as much as the rest
STOPS = (SIGINT, SIGTERM, SIGHUP)
SIG_DFL, SIG_IGN = ctypes.c_void_p(0), ctypes.c_void_p(1)
SHM = "/dev/shm"  # noqa: S108  # it is this command's own
NOT_FOUND = 127
CLOSED = MS_NOSUID | MS_NODEV | MS_NOEXEC

libc = ctypes.CDLL(None, use_errno=True)


def check(what: str, result: int) -> None:
    """End with a line for people when a libc call has failed."""
    if result != 0:
        sys.exit(f"podbuild: {what}: {os.strerror(ctypes.get_errno())}")


def mount(kind: str, target: str, flags: int, options: str = "") -> None:
    """Mount a file system of this kind, or end."""
    arguments = (kind.encode(), target.encode(), kind.encode(), flags, options.encode())
    check(f"mount {target}", libc.mount(*arguments))


def join(pid: str, kinds: tuple[str, ...]) -> None:
    """Enter namespaces of a process; the one of ids first, which gives the right to the others."""
    files = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in kinds]
    for kind, file in zip(kinds, files, strict=True):
        check(f"enter {kind}", libc.setns(file, 0))
        os.close(file)


def split(report: str = "") -> None:
    """Go on in a child, which dies with its parent; the parent ends as its child does."""
    child = os.fork()
    if child == 0:
        libc.prctl(PR_SET_PDEATHSIG, SIGKILL)
        return
    _, status, usage = os.wait4(child, 0)
    if report:
        with open(report, "w") as file:  # noqa: PTH123  # as `measure.py` writes it
            file.write(f"{usage.ru_utime + usage.ru_stime:.3f} {usage.ru_maxrss}\n")
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        libc.signal(-code, SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def cover(*, processes: bool) -> None:
    """Put this command's own over what its RUN steps would see of others."""
    if processes:
        mount("proc", "/proc", CLOSED)
    keep_modes()
    moved = {name: os.readlink(f"{SHM}/{name}") for name in os.listdir(SHM)}  # noqa: PTH115, PTH208
    for kind, name, flags, options in (
        ("tmpfs", "shm", CLOSED, "mode=1777"),
        ("mqueue", "mqueue", CLOSED, ""),
        ("devpts", "pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"),
    ):
        mount(kind, f"/dev/{name}", flags, options)
    if moved:  # where engines work; RUN steps have this /dev/shm too, and must not bend the links
        for name, target in moved.items():
            os.symlink(target, f"{SHM}/{name}")  # noqa: PTH211
        none = b"none"
        check("close", libc.mount(none, SHM.encode(), none, MS_REMOUNT | MS_RDONLY | CLOSED, None))


def keep_modes() -> None:
    """Let nobody change modes and owners in /proc, which are the machine's: root could."""
    if os.stat("/proc/version").st_uid != os.getuid():  # noqa: PTH116
        return
    with os.scandir("/proc") as entries:
        shared = [e.path for e in entries if not e.name.isdigit() and not e.is_symlink()]
    none = b"none"
    for path in map(os.fsencode, shared):
        check("bind", libc.mount(path, path, none, MS_BIND, None))
        flags = MS_REMOUNT | MS_BIND | MS_RDONLY | CLOSED
        check("close", libc.mount(none, path, none, flags, None))


def stay_apart() -> None:
    """Reach no abstract socket and no process of others, where the kernel can see to that.

    Such sockets belong to the network, which RUN steps may share with the machine.
    """
    if libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, 1) < LANDLOCK_ABI:
        return
    rules = (ctypes.c_uint64 * 3)(0, 0, LANDLOCK_SCOPES)
    ruleset = libc.syscall(LANDLOCK_CREATE_RULESET, rules, ctypes.sizeof(rules), 0)
    check("landlock", min(ruleset, 0))
    check("landlock", libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def start_loopback() -> None:
    """Let programs in a network of their own talk to themselves."""
    name, flags = b"lo".ljust(16, b"\0"), IFF_UP.to_bytes(2, sys.byteorder)
    device = ctypes.create_string_buffer(name + flags, 40)  # struct ifreq
    socket = libc.socket(AF_INET, SOCK_DGRAM, 0)
    check("loopback", libc.ioctl(socket, SIOCSIFFLAGS, device))
    os.close(socket)


def let_go() -> None:
    """Give up the user's terminal and keys."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
        fcntl.ioctl(terminal, TIOCNOTTY)
        os.close(terminal)
    except OSError:
        pass  # there is none
    if number := KEYCTL.get(os.uname().machine):
        libc.syscall(number, KEYCTL_JOIN_SESSION_KEYRING, None)


def run(command: list[str]) -> None:
    """Become the command."""
    for number in STOPS:
        libc.signal(number, SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606  # what podbuild wants to run
    except OSError as error:
        sys.stderr.write(f"podbuild: {command[0]}: {error.strerror}\n")
    os._exit(NOT_FOUND)


def main() -> None:
    """Do what the arguments say. Stop signals are for the command, and go to the whole group."""
    pid, processes, command = sys.argv[1], sys.argv[2] == "pid", sys.argv[3:]
    alone = 0
    report = ""
    if command[0] == "--alone":
        alone, command = CLONE_NEWNET, command[1:]
    if command[0] == "--cost":
        report, command = command[1], command[2:]
    for number in STOPS:
        libc.signal(number, SIG_IGN)
    let_go()
    if processes:
        join(pid, ("user", "mnt", "pid"))
        split(report)
        report = ""  # of what has waited for all others
    else:
        join(pid, ("user", "mnt"))
    check("unshare", libc.unshare(CLONE_NEWNS | CLONE_NEWIPC | alone | (CLONE_NEWPID * processes)))
    if alone:
        start_loopback()
    split(report)
    cover(processes=processes)
    stay_apart()
    run(command)


if __name__ == "__main__":
    main()
