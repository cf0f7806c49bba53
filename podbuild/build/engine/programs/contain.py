"""Makes an image's root and becomes a process in it. Runs alone in a namespace: `python -I -S`.

`contain.py mount ORDER` mounts it where ORDER says, in the caller's own mounts. `contain.py start
ORDER INDEX wake=FD` becomes one of ORDER's processes in a root of its own, and FD ends once it is
there; `pid=PID` is in that of a process instead. It sees the image, a small /dev and /proc, and
nothing of podbuild: no file, no login, no variable. Facts: pivot_root(2), capabilities(7), overlay
in the kernel's documentation.
"""

# pathlib would double the start
# ruff: noqa: PTH101, PTH102, PTH103, PTH110, PTH112, PTH114, PTH116, PTH120, PTH123, PTH211

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import stat
import sys
from typing import Any, NoReturn

CLONE_NEWNS = 0x00020000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
CLOSED = MS_NOSUID | MS_NODEV | MS_NOEXEC
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_CAPBSET_DROP = 1, 24
CAPABILITIES = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 31})  # what podman gives by default
NODES = ("null", "zero", "full", "random", "urandom", "tty")
LINKS = {"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROCESSES = 4096  # and threads, of each user in there
CANNOT_RUN, NOT_FOUND = 126, 127

libc = ctypes.CDLL(None, use_errno=True)


def check(what: str, result: int) -> None:
    """Raise OSError when a libc call has failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount, or raise OSError."""
    arguments = (source.encode(), target.encode(), kind.encode(), flags, options.encode())
    check(f"mount {target}", libc.mount(*arguments))


# The root.


def make_root(order: dict[str, Any]) -> None:
    """Put the image's files at `root`, writable for this run alone, with /dev and /sys."""
    work, root = order["work"], order["root"]
    for name in ("upper", "overlay", "empty", "root"):
        os.mkdir(f"{work}/{name}", 0o755)
    if order["copy"]:
        run("cp", "-a", f"{order['copy']}/.", f"{root}/")
        mount(root, root, "none", MS_BIND)
    else:
        os.chdir(order["graph"])  # layers have short names there: the kernel takes a page of them
        below = order["lower"] or f"{work}/empty"
        options = f"lowerdir={below},upperdir={work}/upper,workdir={work}/overlay"
        if order["fuse"]:
            run(order["fuse"], "-o", options, root)
        else:
            mount("overlay", root, "overlay", 0, f"{options},userxattr,volatile")
    os.chmod(root, 0o755)  # noqa: S103  # as every image's root is
    for name in ("dev", "proc", "sys"):
        place = f"{root}/{name}"
        if os.path.islink(place) or (os.path.exists(place) and not os.path.isdir(place)):
            raise OSError(errno.ENOTDIR, f"/{name} of the image is no folder")
        if not os.path.isdir(place):
            os.mkdir(place, 0o755)
    make_devices(f"{root}/dev")
    try:  # noqa: SIM105  # contextlib costs time
        mount("sysfs", f"{root}/sys", "sysfs", MS_RDONLY | CLOSED)
    except OSError:
        pass  # where the network is not ours; programs do without


def make_devices(dev: str) -> None:
    """Mount a /dev with what programs need."""
    mount("tmpfs", dev, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=64k")
    for name in NODES:
        if os.path.exists(f"/dev/{name}"):
            os.close(os.open(f"{dev}/{name}", os.O_CREAT))
            mount(f"/dev/{name}", f"{dev}/{name}", "none", MS_BIND)
    for name, target in LINKS.items():
        os.symlink(f"/proc/self/{target}", f"{dev}/{name}")
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(f"{dev}/{name}")
    mount("/dev/pts", f"{dev}/pts", "none", MS_BIND)
    os.symlink("pts/ptmx", f"{dev}/ptmx")
    mount("shm", f"{dev}/shm", "tmpfs", CLOSED, "mode=1777,size=64m")
    mount("mqueue", f"{dev}/mqueue", "mqueue", CLOSED)


def run(*argv: str) -> None:
    """Run a helper to its end; raises OSError when it fails."""
    child = os.fork()
    if child == 0:
        try:
            os.execvp(argv[0], argv)  # noqa: S606  # cp, or the toolchain's fuse-overlayfs
        finally:
            os._exit(NOT_FOUND)
    if os.waitpid(child, 0)[1]:
        raise OSError(errno.EIO, f"{argv[0]} failed")


# A process in it.


def start(order: dict[str, Any], process: dict[str, Any], pid: str) -> NoReturn:
    """Become a process of the image, in the root that process PID has, if there is one."""
    if pid:
        with open(f"/proc/{pid}/ns/mnt", "rb") as file:
            check("enter", libc.setns(file.fileno(), CLONE_NEWNS))
        if os.path.exists(order["root"]):
            raise OSError(errno.EAGAIN, "it is not in the image yet")
    else:
        check("unshare", libc.unshare(CLONE_NEWNS))
        pivot(order["root"])
        for name, text in order["files"].items():
            write(name, text)
    if not process["argv"]:
        raise OSError(errno.ENOENT, "the image names nothing to start")
    uid, gid, groups, home = identity(process["user"])
    environment = {"HOME": home, **process["env"]}
    environment.setdefault("PATH", USUAL_PATH)
    os.umask(0o022)
    limit_processes()
    for capability in range(64):
        if capability not in CAPABILITIES:
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    become_user(uid, gid, groups)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # another user's would not hold
    enter_folder(process["cwd"] or "/")
    for number in range(1, signal.NSIG):
        if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
            signal.signal(number, signal.SIG_DFL)
    become(process["argv"], environment)


def become_user(uid: int, gid: int, groups: list[int]) -> None:
    """Take a user's ids."""
    try:
        os.setgroups(groups)
        os.setgid(gid)
        if uid:
            os.setuid(uid)
    except OSError as error:
        what = f"user {uid}, group {gid}: not among the ids that this machine gives to images"
        raise OSError(error.errno, what) from error
    if not uid:
        keep_capabilities()


def pivot(root: str) -> None:
    """Let the image's root be this process's, and nothing of the machine's be left.

    /proc is of this process's own pid namespace, which only its first process can mount.
    """
    os.chdir(root)
    mount("proc", "proc", "proc", CLOSED)
    check("pivot_root", libc.pivot_root(b".", b"."))
    check("umount", libc.umount2(b".", MNT_DETACH))
    os.chdir("/")
    keep_modes()


def keep_modes() -> None:
    """Let nobody change what in /proc is the machine's: root could."""
    if os.stat("/proc/version").st_uid != os.getuid():
        return
    with os.scandir("/proc") as entries:
        shared = [e.path for e in entries if not e.name.isdigit() and not e.is_symlink()]
    for path in shared:
        mount(path, path, "none", MS_BIND)
        mount("none", path, "none", MS_REMOUNT | MS_BIND | MS_RDONLY | CLOSED)


def write(name: str, text: str) -> None:
    """Write a file of the image, which is this process's root by now; a read-only place stays."""
    try:
        os.makedirs(os.path.dirname(name), exist_ok=True)
        if os.path.islink(name):
            os.unlink(name)  # noqa: PTH108
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        sys.stderr.write(f"podbuild: {name}: {error.strerror}\n")


def identity(user: str) -> tuple[int, int, list[int], str]:
    """Give uid, gid, further groups and home of USER (image-spec config.md); raises OSError."""
    name, _, group = user.partition(":")
    row = find("/etc/passwd", name or "0")
    if row is None and name and not name.isdecimal():
        raise OSError(errno.ENOENT, f"user {name!r} is not in /etc/passwd")
    uid = int(row[2]) if row else int(name or "0")
    gid = int(row[3]) if row else 0
    if group:
        found = find("/etc/group", group)
        if found is None and not group.isdecimal():
            raise OSError(errno.ENOENT, f"group {group!r} is not in /etc/group")
        gid = int(found[2]) if found else int(group)
    more = [
        int(each[2])
        for each in rows("/etc/group")
        if row and not group and row[0] in each[3].split(",")
    ]
    home = row[5] if row and len(row) > 5 and row[5] else "/"  # noqa: PLR2004
    return uid, gid, sorted({gid, *more}), home


def find(table: str, wanted: str) -> list[str] | None:
    """Give the row of a name or a number."""
    at = 2 if wanted.isdecimal() else 0
    return next((row for row in rows(table) if row[at] == wanted), None)


def rows(table: str) -> list[list[str]]:
    """Give the rows of a user database that can be read."""
    try:
        with open(table, encoding="utf-8", errors="replace") as file:
            split = [line.rstrip("\n").split(":") for line in file]
    except OSError:
        return []
    return [each for each in split if len(each) > 3 and each[2].isdecimal()]  # noqa: PLR2004


def limit_processes() -> None:
    """Let what forks without end reach its own end before the machine's."""
    _, most = resource.getrlimit(resource.RLIMIT_NPROC)
    limit = PROCESSES if most == resource.RLIM_INFINITY else min(PROCESSES, most)
    resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))


def keep_capabilities() -> None:
    """Keep of root's rights what a container has (capset(2))."""
    kept = sum(1 << each for each in CAPABILITIES)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    check("capset", libc.capset(header, (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)))


def enter_folder(folder: str) -> None:
    """Go to WORKDIR; engines make one that is missing."""
    os.makedirs(folder, exist_ok=True) if not os.path.isdir(folder) else None
    os.chdir(folder)


def become(argv: list[str], environment: dict[str, str]) -> NoReturn:
    """Start the program as a container's engine would: PATH is the image's."""
    folders = [""] if "/" in argv[0] else environment["PATH"].split(":")
    reason = errno.ENOENT
    for folder in folders:
        path = f"{folder}/{argv[0]}" if folder else argv[0]
        try:
            os.execve(path, argv, environment)  # noqa: S606  # what the image says
        except OSError as error:
            if error.errno != errno.ENOENT or path_exists(path):
                reason = error.errno or reason
    missing = reason == errno.ENOENT
    sys.stderr.write(f"podbuild: {argv[0]}: {os.strerror(reason)}\n")
    os._exit(NOT_FOUND if missing else CANNOT_RUN)


def path_exists(path: str) -> bool:
    """Tell whether a file is there, whose interpreter may be missing."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def main() -> None:
    """Do what the arguments say."""
    what, path = sys.argv[1:3]
    with open(path, encoding="utf-8") as file:
        order = json.load(file)
    try:
        if what == "mount":
            make_root(order)
        else:
            kind, _, number = sys.argv[4].partition("=")
            if kind == "wake":
                os.set_inheritable(int(number), False)  # it ends as the program begins
            pid = number if kind == "pid" else ""
            start(order, order["processes"][int(sys.argv[3])], pid)
    except OSError as error:
        sys.stderr.write(f"podbuild: {error.strerror or error}\n")
        os._exit(CANNOT_RUN)


if __name__ == "__main__":
    main()
