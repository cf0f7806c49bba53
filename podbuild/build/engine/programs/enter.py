"""Runs a command in a namespace: `python -I -S enter.py PID pid|nopid [OPTION...] COMMAND...`.

PID holds it (`holder.py`). The command sees of the machine only what images need, so that
a RUN step, which gets its /dev, /proc and /sys, finds nothing of podbuild, of another job or of the
user there: process ids, SysV and POSIX memory, message queues, terminals and keys are its own.
Options: `--alone` gives it a network without a way out, `--cost REPORT` what `measure.py` writes,
`--steps` ends what a RUN step leaves running as soon as that step is over.
Each build starts this: it imports nothing that costs time.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import sys

TYPE_CHECKING = False  # the module typing costs as much as the rest
if TYPE_CHECKING:
    from collections.abc import Iterator

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
PR_SET_CHILD_SUBREAPER = 36
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
POLLIN = 1
TICK = 25  # milliseconds between two looks at what is left running
PATIENCE = 200  # looks in a row that find more, before the whole build ends

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


def split(report: str = "", *, steps: bool = False, processes: bool = True) -> None:
    """Go on in a child, which dies with its parent; the parent ends as its child does.

    What `steps` of a build leave running it ends meanwhile; `processes` are the child's own.
    """
    if steps and not processes:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    proc = os.open("/proc", os.O_RDONLY) if steps else 0  # as it is before the child covers it
    child = os.fork()
    if child == 0:
        libc.prctl(PR_SET_PDEATHSIG, SIGKILL)
        return
    if steps:
        os.fchdir(proc)
        StepKeeper(child, child if processes else os.getpid()).attend()
    _, status, usage = os.wait4(child, 0)
    if report:
        with open(report, "w") as file:  # noqa: PTH123  # as `measure.py` writes it
            file.write(f"{usage.ru_utime + usage.ru_stime:.3f} {usage.ru_maxrss}\n")
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        libc.signal(-code, SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


class StepKeeper:
    """Ends what RUN steps leave running, as BuildKit does: it would see later steps' secrets.

    With chroot isolation all steps share the engine's process ids. Each has a UTS namespace of its
    own, which nothing of it can leave and nothing else of the engine has; the first process in
    there has a parent outside. What has lost its parent is the `reaper`'s. The working folder is
    /proc.
    """

    def __init__(self, engine: int, reaper: int) -> None:
        self.engine, self.reaper = engine, reaper
        self.own = uts_of(os.getpid())
        self.dead: set[int] = set()  # engines leave them so
        self.first: dict[str, int] = {}  # the first process of each step

    def attend(self) -> None:
        """Look again and again until the engine has ended."""
        try:
            ended = os.pidfd_open(self.engine)
        except OSError:  # before Linux 5.3
            return
        assert self.own  # noqa: S101  # that of the engine and its helpers
        order = sys.byteorder
        events = ended.to_bytes(4, order) + POLLIN.to_bytes(2, order)  # struct pollfd
        asked = ctypes.create_string_buffer(events, 8)
        while libc.poll(asked, 1, TICK) != 1:
            self.look()
        os.close(ended)
        if self.reaper != self.engine:  # nobody else ends them
            self.look(over=True)

    def look(self, *, over: bool = False) -> None:
        """End what is left; what grows faster than it can be ended ends the engine."""
        ended: set[int] = set()
        for _ in range(PATIENCE):
            left = {step for step in self.left() if over or not self.goes_on(step)}
            found = {pid for pid in processes() if uts_of(pid) in left} if left else ended
            if found <= ended:
                return  # what was told to end does nothing more
            for pid in found - ended:
                end(pid)
            ended |= found
        sys.stderr.write("podbuild: what a RUN step left running can't be ended\n")
        end(self.engine)

    def left(self) -> set[str]:
        """Give the steps of what has lost its parent."""
        try:
            with open(f"{self.reaper}/task/{self.reaper}/children") as file:  # noqa: PTH123
                pids = {int(pid) for pid in file.read().split()}
        except OSError:
            return set()
        self.dead &= pids
        steps = {pid: uts_of(pid) for pid in pids - self.dead}
        self.dead |= {pid for pid, step in steps.items() if not step}
        return {*steps.values()} - {"", self.own}

    def goes_on(self, step: str) -> bool:
        """Tell whether the first process of a step is still there."""
        for pid in (self.first.get(step, 0), *processes()):
            if uts_of(pid) == step:
                above = parent(pid)
                if above != self.reaper and uts_of(above) == self.own:
                    self.first[step] = pid
                    return True
        return False


def uts_of(pid: int) -> str:
    """Give a process's UTS namespace; its first thread may have ended before the others."""
    for thread in threads(pid):
        try:
            return os.readlink(f"{thread}/ns/uts")  # noqa: PTH115
        except OSError:
            continue
    return ""


def processes() -> list[int]:
    """Give the ids of all processes."""
    return [int(name) for name in os.listdir(".") if name.isdigit()]  # noqa: PTH208


def parent(pid: int) -> int:
    """Give the id of a process's parent; 0 where there is none."""
    try:
        with open(f"{pid}/stat", "rb") as file:  # noqa: PTH123
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def threads(pid: int) -> Iterator[str]:
    """Give where /proc has a process, and its threads."""
    yield f"{pid}"
    try:
        yield from (f"{pid}/task/{name}" for name in os.listdir(f"{pid}/task"))  # noqa: PTH208
    except OSError:
        return


def end(pid: int) -> None:
    """Kill a process, if there still is one."""
    try:
        os.kill(pid, SIGKILL)
    except OSError:
        return


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
    alone, report, steps = 0, "", False
    if command[0] == "--alone":
        alone, command = CLONE_NEWNET, command[1:]
    if command[0] == "--cost":
        report, command = command[1], command[2:]
    if command[0] == "--steps":
        steps, command = True, command[1:]
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
    split(report, steps=steps, processes=processes)
    cover(processes=processes)
    stay_apart()
    run(command)


if __name__ == "__main__":
    main()
