"""Runs an image's program for whoever sits before it: `python -I -S attach.py ORDER`.

With a terminal, the program gets one of its own, and what is typed and shown goes through; without
one it has our stdin, stdout and stderr. Ends with the program's code, 128 and more for a signal.
"""

# pathlib would double the start
# ruff: noqa: PTH123

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import termios
from typing import Any

CLONE_NEWUTS, CLONE_NEWPID, CLONE_NEWNET = 0x04000000, 0x20000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1  # netdevice(7)
CHUNK = 1 << 16
LOOK = 0.5  # seconds between two looks at the terminal's size
REFUSED = 126
CONTAIN = os.path.join(os.path.dirname(__file__), "contain.py")  # noqa: PTH118, PTH120

libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Have namespaces of our own, or end."""
    if flags and libc.unshare(flags) != 0:
        sys.stderr.write(f"podbuild: unshare: {os.strerror(ctypes.get_errno())}\n")
        sys.exit(REFUSED)


def loopback() -> None:
    """Bring lo up in a new network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(sock, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))


def begin(path: str, terminal: int | None) -> int:
    """Start the program, on this terminal if there is one; give its process."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if terminal is not None:
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
            for number in (0, 1, 2):
                os.dup2(terminal, number)
        argv = (sys.executable, "-I", "-S", CONTAIN, "start", path, "0", "own=")
        os.execv(argv[0], argv)  # noqa: S606  # ourselves
    return pid


def show(master: int, pid: int) -> int:
    """Carry what is typed and shown until the program ends; give its status.

    What it does not read yet waits here, or neither would go on where much is typed and shown.
    """
    os.set_blocking(master, False)
    size, typed, shown, waiting, ended = b"", [0], [master], b"", (0, 0)
    while True:
        now = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
        if now != size:
            fcntl.ioctl(master, termios.TIOCSWINSZ, now)
            size = now
        wanted = [*shown] if waiting else [*typed, *shown]
        ready, free, _ = select.select(wanted, [master] if waiting else [], [], LOOK)
        if free:
            waiting = waiting[accepted(master, waiting) :]
        if 0 in ready:
            waiting = os.read(0, CHUNK)
            typed = [0] if waiting else []
        if master in ready:
            data = received(master)
            shown = [master] if data else []
            pass_on(1, data)
        ended = ended if ended[0] else os.waitpid(pid, os.WNOHANG)
        if ended[0] and not (shown and select.select(shown, [], [], 0)[0]):
            return ended[1]


def accepted(master: int, data: bytes) -> int:
    """Write what the terminal has room for; give how much that was."""
    try:
        return os.write(master, data)
    except BlockingIOError:
        return 0


def received(master: int) -> bytes:
    """Read what was shown; nothing once the last one has closed the terminal (pty(7))."""
    try:
        return os.read(master, CHUNK)
    except OSError:
        return b""


def pass_on(number: int, data: bytes) -> None:
    """Write all of it."""
    while data:
        data = data[os.write(number, data) :]


def carry_out(path: str, order: dict[str, Any]) -> int:
    """Run the program; give its status."""
    network = CLONE_NEWNET if order["network"] == "none" else 0
    unshare(CLONE_NEWUTS | network)
    if network:
        loopback()
    socket.sethostname("image")
    argv = (sys.executable, "-I", "-S", CONTAIN, "mount", path)
    if os.spawnv(os.P_WAIT, argv[0], argv):  # noqa: S606  # ourselves
        sys.exit(REFUSED)
    unshare(CLONE_NEWPID if order["pids"] else 0)
    if not order["terminal"]:
        return os.waitpid(begin(path, None), 0)[1]
    master, slave = os.openpty()
    pid = begin(path, slave)
    os.close(slave)
    return show(master, pid)


def main() -> None:
    """Do what the order says; a stop ends all at once."""
    path = sys.argv[1]
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(128 + signal.SIGTERM))
    signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(128 + signal.SIGINT))
    with open(path, encoding="utf-8") as file:
        order = json.load(file)
    code = os.waitstatus_to_exitcode(carry_out(path, order))
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
