"""Mounts an overlay in a folder and uses it. Runs alone in a namespace: `python -I -S`.

Arguments: an empty folder, and fuse-overlayfs's path for that instead of the kernel's own. Ends
with 0 when files can be written, deleted (a whiteout) and given to another user there.
"""

# pathlib would double the start
# ruff: noqa: PTH102, PTH108, PTH110, PTH123

from __future__ import annotations

import ctypes
import os
import sys

CHAR_DEVICE = 0o020000
MNT_DETACH = 2
OTHER_USER = 1000

libc = ctypes.CDLL(None, use_errno=True)


def make(base: str) -> tuple[str, str]:
    """Make the layers; give the mount's options and its place."""
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(f"{base}/{name}")
    with open(f"{base}/lower/old", "w") as file:
        file.write("old")
    options = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
    return options, f"{base}/merged"


def mount_native(options: str, merged: str) -> bool:
    """Mount the kernel's overlay as containers/storage does without root."""
    data = f"{options},userxattr".encode()
    done: int = libc.mount(b"overlay", merged.encode(), b"overlay", 0, data)
    return done == 0


def mount_fuse(program: str, options: str, merged: str) -> bool:
    """Mount with fuse-overlayfs, which stays as a process until the end of the mount."""
    child = os.fork()
    if child == 0:
        os.execv(program, [program, "-o", options, merged])  # noqa: S606  # of the toolchain
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def use(base: str, *, native: bool) -> bool:
    """Write, hand over and delete through the mount; look for the whiteout below."""
    merged = f"{base}/merged"
    with open(f"{merged}/new", "w") as file:
        file.write("new")
    os.chown(f"{merged}/new", OTHER_USER, OTHER_USER)
    os.unlink(f"{merged}/old")
    gone = not os.path.exists(f"{merged}/old")
    if not native:
        return gone
    mode = os.lstat(f"{base}/upper/old").st_mode
    return gone and mode & 0o170000 == CHAR_DEVICE


def main() -> int:
    """Give 0 for an overlay that works."""
    base, program = sys.argv[1], sys.argv[2]
    options, merged = make(base)
    mounted = mount_fuse(program, options, merged) if program else mount_native(options, merged)
    if not mounted:
        return 1
    try:
        return 0 if use(base, native=not program) else 1
    except OSError:
        return 1
    finally:
        libc.umount2(merged.encode(), MNT_DETACH)


if __name__ == "__main__":
    sys.exit(main())
