"""Whose process is at the other end of a connection on this machine.

The kernel tells: sock_diag(7), and /proc/net/tcp (proc_net(5)) where that is not to be had.
"""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import suppress
from pathlib import Path

_TABLE = Path("/proc/net/tcp")
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_HEAD = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ASKED = struct.Struct("=BBBBI")  # family, protocol, extensions, -, states
_ENDS = struct.Struct("=2s2s16s16sIII")  # two ports, two addresses, interface, cookie
_TOLD = struct.Struct("=4s48sIIIII")  # state, ends, expires, two queues, user, inode
_NO_COOKIE = 0xFFFFFFFF
_SECONDS = 1.0


def peer_user(connection: socket.socket, table: Path = _TABLE) -> int | None:
    """Give the user id of who holds the other end of a connection over IPv4 loopback.

    None where the kernel does not say, as of one that has been closed.
    """
    try:
        (host, port), (own_host, own_port) = connection.getpeername(), connection.getsockname()
    except OSError:  # it is gone
        return None
    ends = ((socket.inet_aton(host), port), (socket.inet_aton(own_host), own_port))
    with suppress(OSError):
        return _asked(*ends)
    with suppress(OSError):
        return _listed(*ends, table.read_text("ascii"))
    return None


def _asked(theirs: tuple[bytes, int], ours: tuple[bytes, int]) -> int | None:
    """Ask for one socket; raises OSError where it is not known or nobody answers."""
    ends = _ENDS.pack(
        theirs[1].to_bytes(2, "big"),
        ours[1].to_bytes(2, "big"),
        theirs[0],
        ours[0],
        0,
        _NO_COOKIE,
        _NO_COOKIE,
    )
    asked = _ASKED.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + ends
    size = _HEAD.size + len(asked)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(_SECONDS)
        kernel.send(_HEAD.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + asked)
        answer = kernel.recv(4096)
    kind = _HEAD.unpack_from(answer)[1]
    if kind == _NLMSG_ERROR or len(answer) < _HEAD.size + _TOLD.size:
        raise OSError(errno.ENOENT, "no such socket")
    *_, user, inode = _TOLD.unpack_from(answer, _HEAD.size)
    return int(user) if inode else None  # closed ones are no one's


def _listed(theirs: tuple[bytes, int], ours: tuple[bytes, int], table: str) -> int | None:
    here, there = (
        f"{int.from_bytes(host, 'little'):08X}:{port:04X}" for host, port in (theirs, ours)
    )
    for line in table.splitlines():
        fields = line.split()
        if fields[1:3] == [here, there]:
            return int(fields[7]) if fields[9] != "0" else None
    return None
