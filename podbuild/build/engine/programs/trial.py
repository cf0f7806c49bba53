"""Tries an image in a network of its own and says how it went: `python -I -S trial.py ORDER`.

ORDER is a file of JSON: what is started, what is asked of it, and how long that may take. Output
goes to its log, a line of JSON about the end to stdout. When this process ends, all that it
started ends with it: it is the first of its pid namespace, or else kills what is left.
"""

# pathlib would double the start
# ruff: noqa: PTH123

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import select
import signal
import socket
import struct
import sys
import time
from http.client import HTTPException, HTTPResponse
from io import BytesIO
from typing import Any

CLONE_NEWUTS, CLONE_NEWPID, CLONE_NEWNET = 0x04000000, 0x20000000, 0x40000000
PR_SET_CHILD_SUBREAPER = 36
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1  # netdevice(7)
PORTS = "sys/net/ipv4/ip_unprivileged_port_start"
CLOSED = 14  # no set-user-id, no devices, no programs
MNT_DETACH = 2
LOG_CAP = 8 << 20  # bytes of a log
TEXT_CAP = 1 << 20  # bytes of output, or of a page, that are looked at
CHUNK = 1 << 16
PAUSE = 0.1  # seconds between two looks
ASKING = 5.0  # seconds that one answer over HTTP may take
CONTAIN = os.path.join(os.path.dirname(__file__), "contain.py")  # noqa: PTH118, PTH120

libc = ctypes.CDLL(None, use_errno=True)


class Over(Exception):  # noqa: N818  # of a trial
    """What became of it; with `ok` it passed."""

    def __init__(self, why: str, *, ok: bool = False) -> None:
        super().__init__(why)
        self.ok = ok


def own_network(work: str) -> None:
    """Have a network of our own, with loopback alone and ports for everybody, and a host name."""
    if libc.unshare(CLONE_NEWNET | CLONE_NEWUTS) != 0:
        raise OSError(ctypes.get_errno(), "no network of its own")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(sock, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))
    proc = f"{work}/proc"  # root's own /proc is closed here
    os.mkdir(proc)  # noqa: PTH102
    if libc.mount(b"proc", proc.encode(), b"proc", CLOSED, None) == 0:
        with open(f"{proc}/{PORTS}", "w", encoding="ascii") as file:
            file.write("0")  # as container engines have it
        libc.umount2(proc.encode(), MNT_DETACH)
    socket.sethostname("image")


class Attempt:
    """One trial: processes of the image, and what they say."""

    def __init__(self, path: str, order: dict[str, Any]) -> None:
        self.path = path
        self.order = order
        self.began = self.ready = self.until = time.monotonic()
        self.log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self.logged = 0
        self.out = b""  # of the program, as far as it is looked at
        self.pipes: dict[int, bool] = {}  # whether what comes there is looked at
        self.code: int | None = None  # of the program
        self.pid = 0

    # Processes.

    def start(self, index: int, *, beside: bool = False, every: bool = False) -> int:
        """Start one of the order's processes; `every`: stderr is looked at too."""
        out, err, (ready, waking) = os.pipe(), os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.set_inheritable(waking, True)
            stdin = os.open(self.order["processes"][index]["stdin"] or os.devnull, os.O_RDONLY)
            for number, target in ((stdin, 0), (out[1], 1), (err[1], 2)):
                os.dup2(number, target)
            argv = [sys.executable, "-I", "-S", CONTAIN, "start", self.path, str(index)]
            argv.append(f"pid={self.pid}" if beside else f"wake={waking}")
            os.execv(argv[0], argv)  # noqa: S606  # ourselves
        for end in (out[1], err[1], waking):
            os.close(end)
        if not beside:  # whoever joins it before would be in our root
            os.read(ready, 1)
        os.close(ready)
        self.pipes[out[0]] = not beside
        self.pipes[err[0]] = every and not beside
        return pid

    def run(self, index: int) -> None:
        """Start the program; it is the first process of its own pid namespace."""
        if self.order["pids"] and libc.unshare(CLONE_NEWPID) != 0:
            raise OSError(ctypes.get_errno(), "no processes of its own")
        self.pid = self.start(index, every=bool(self.order["start"]))
        self.began = self.ready = time.monotonic()
        self.until = self.began + self.order["within"]

    def ended(self, pid: int) -> int | None:
        """Give a process's code once it has ended; shells' 128 and more for signals."""
        try:
            found, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return 0
        if not found:
            return None
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    # Output.

    def pump(self, seconds: float) -> None:
        """Take what is said within this time, at most; return early when something is."""
        ready, _, _ = select.select([*self.pipes], [], [], max(0.0, seconds))
        for pipe in ready:
            data = os.read(pipe, CHUNK)
            if not data:
                del self.pipes[pipe]
                os.close(pipe)
                continue
            if self.pipes[pipe] and len(self.out) < TEXT_CAP:
                self.out += data
            self.write(data)
        if not self.pipes:
            select.select([], [], [], min(PAUSE, max(0.0, seconds)))

    def write(self, data: bytes) -> None:
        """Write to the log, as far as it goes."""
        if self.logged <= LOG_CAP:
            os.write(self.log, data)
            self.logged += len(data)
            if self.logged > LOG_CAP:
                os.write(self.log, b"\npodbuild: the rest is left out\n")

    def drain(self) -> None:
        """Take what was said before the end."""
        for _ in range(64):
            if not self.pipes or not select.select([*self.pipes], [], [], 0)[0]:
                return
            self.pump(0)

    def wait(self, pid: int, until: float) -> int:
        """Give the code of a process; raises Over when the time is over first."""
        while True:
            code = self.ended(pid)
            if code is not None:
                self.drain()
                return code
            if time.monotonic() >= until:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                self.drain()
                raise Over(f"it still ran after {until - self.began:.0f} s")
            self.pump(min(PAUSE, until - time.monotonic()))

    # What is asked.

    def command(self) -> None:
        """Run a command to its end."""
        self.run(0)
        code = self.wait(self.pid, self.until)
        if code:
            raise Over(f"it ended with code {code}")
        self.require_match(self.out, "its output")

    def require_match(self, data: bytes, what: str) -> None:
        """Raise Over where the pattern is not in there."""
        pattern = self.order["match"]
        if pattern and not re.search(pattern, data.decode("utf-8", "replace"), re.MULTILINE):
            raise Over(f"{what} does not match {pattern!r}")

    def service(self) -> None:
        """Start what the image starts, and ask it until it says what is wanted."""
        self.run(0)
        ask = {"http": self.http, "health": self.health, "match": self.said}[self.order["ask"]]
        why = ""
        while True:
            try:
                ask()
            except Over as over:
                if not why or time.monotonic() < self.until:  # the last one is cut short
                    why = str(over)
            else:
                self.ready = time.monotonic()
                raise Over("", ok=True)
            self.code = self.code if self.code is not None else self.ended(self.pid)
            if self.code is not None:
                self.drain()
                raise Over(f"what it starts ended with code {self.code}; {why}")
            if time.monotonic() >= self.until:
                raise Over(f"{why}, after {self.until - self.began:.0f} s")
            self.pause()

    def pause(self) -> None:
        """Listen for a moment, whatever is said meanwhile."""
        until = min(self.until, time.monotonic() + self.order["every"])
        while (left := until - time.monotonic()) > 0:
            self.pump(left)
            self.code = self.ended(self.pid)
            if self.code is not None:
                return

    def said(self) -> None:
        """Look for the pattern in all that was said."""
        self.drain()
        self.require_match(self.out, "its output")

    def health(self) -> None:
        """Ask as HEALTHCHECK says."""
        try:
            pid = self.start(1, beside=True)
        except OSError:  # its pid namespace ended with the program
            raise Over("HEALTHCHECK came too late") from None
        try:
            code = self.wait(pid, min(self.until, time.monotonic() + self.order["timeout"]))
        except Over:
            raise Over("HEALTHCHECK had no end in time") from None
        if code:
            raise Over(f"HEALTHCHECK ended with code {code}")

    def http(self) -> None:
        """Ask for the page."""
        host, port, path, name = self.order["http"]
        try:
            status, page = self.get((host, port), path, name)
        except (OSError, HTTPException) as error:
            raise Over(f"{name} gave no answer: {error}") from None
        if status != self.order["status"]:
            raise Over(f"{name} answered {status}, not {self.order['status']}")
        self.require_match(page, f"what {name} answered")

    def get(self, place: tuple[str, int], path: str, name: str) -> tuple[int, bytes]:
        """Give status and page; what the program says meanwhile is taken, lest it wait for us."""
        until = min(self.until, time.monotonic() + ASKING)
        with socket.create_connection(place, max(0.1, until - time.monotonic())) as sock:
            sock.sendall(
                f"GET {path} HTTP/1.1\r\nHost: {name.split('/')[2]}\r\nUser-Agent: podbuild\r\n"
                "Accept: */*\r\nConnection: close\r\n\r\n".encode()
            )
            sock.setblocking(False)
            data = b""
            while True:
                left = until - time.monotonic()
                ready = select.select([sock.fileno(), *self.pipes], [], [], max(0.0, left))[0]
                if not ready:
                    raise OSError("no whole answer in time")
                if sock.fileno() not in ready:
                    self.pump(0)
                    continue
                part = sock.recv(CHUNK)
                data += part
                answer = parsed(data, whole=not part or len(data) > TEXT_CAP)
                if answer is not None:
                    return answer


class Received:
    """Bytes that came, for `HTTPResponse`."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def makefile(self, _mode: str) -> BytesIO:
        """Give them as a file."""
        return BytesIO(self.data)


def parsed(data: bytes, *, whole: bool) -> tuple[int, bytes] | None:
    """Give status and page of an answer; None where more of it is to come."""
    if b"\r\n\r\n" not in data and b"\n\n" not in data and not whole:
        return None
    response = HTTPResponse(Received(data), method="GET")  # type: ignore[arg-type]  # no socket
    try:
        response.begin()
        if response.length is None and not response.chunked and not whole:
            return None  # it ends with the connection
        page = response.read()
    except HTTPException:
        if whole and response.status:
            return int(response.status), data
        if whole:
            raise
        return None
    return response.status, page


def end_all() -> None:
    """End what is left, where no pid namespace does it."""
    try:
        while True:
            with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
                children = [int(each) for each in file.read().split()]
            for child in children:
                os.kill(child, signal.SIGKILL)
            os.waitpid(-1, 0)
    except (OSError, ValueError):
        return


def judge(path: str, order: dict[str, Any]) -> dict[str, Any]:
    """Give how it went."""
    trial = Attempt(path, order)
    own_network(order["work"])
    argv = (sys.executable, "-I", "-S", CONTAIN, "mount", path)
    code = os.spawnv(os.P_WAIT, argv[0], argv)  # noqa: S606  # ourselves
    if code:
        raise OSError(code, "the image's files can't be mounted")
    try:
        trial.service() if order["start"] else trial.command()
    except Over as over:
        why, passed = str(over), over.ok
    else:
        why, passed = "", True
    ended = time.monotonic()
    return {
        "ok": passed,
        "why": why,
        "code": trial.code,
        "seconds": round(ended - trial.began, 3),
        "ready": round(trial.ready - trial.began, 3) if order["start"] and passed else None,
    }


def stop(_number: int, _frame: object) -> None:
    """End all at once."""
    end_all()
    os._exit(128 + signal.SIGTERM)


def main() -> None:
    """Do what the order says; a stop ends all at once."""
    path = sys.argv[1]
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with open(path, encoding="utf-8") as file:
        order = json.load(file)
    try:
        said = judge(path, order)
    except OSError as error:
        said = {"error": f"{error.strerror or error}"}
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    end_all()
    os._exit(0)


if __name__ == "__main__":
    main()
