"""Start dockerd in a user namespace inside podbuild's. Runs alone: `python -I -S`, with a command.

It maps 65536 ids to themselves. podbuild's own namespace maps all ids, and so runc takes it for
none and asks for what only the host's root may do: its devices(7) and cgroup rules. The user's
/run gets covered: containerd's shims have their sockets there, whatever its settings say.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MAP = "0 0 65536\n"  # inside, outside, count

libc = ctypes.CDLL(None, use_errno=True)


def call(what: str, result: int) -> None:
    """Leave with the reason when a libc call has failed."""
    if result != 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")


def unshare() -> None:
    """Enter new namespaces; only a process outside of them may map the ids."""
    awaited, telling = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(awaited, 1)
        for kind in ("uid", "gid"):
            Path(f"/proc/{os.getppid()}/{kind}_map").write_text(MAP)
        os._exit(0)
    call("unshare", libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))
    os.write(telling, b".")
    if os.waitpid(child, 0)[1]:
        sys.exit("the ids can't be mapped")


def main() -> None:
    """Become the command."""
    unshare()
    call("mount /run", libc.mount(b"run", b"/run", b"tmpfs", 0, None))
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606  # the benchmark's own dockerd


if __name__ == "__main__":
    main()
