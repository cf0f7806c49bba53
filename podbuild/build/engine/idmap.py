"""User and group ids inside a user namespace (user_namespaces(7), subuid(5), newuidmap(1))."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podbuild.errors import ToolError
from podbuild.system.process import CommandError, Runner

# What common images need: nobody is 65534. A user inside a rootless container has exactly so many.
MIN_IDS = 65535


@dataclass(frozen=True)
class IdRange:
    """`count` ids from `inside` on are the ids from `outside` on (user_namespaces(7))."""

    inside: int
    outside: int
    count: int

    def __str__(self) -> str:
        return f"{self.inside} {self.outside} {self.count}"


def map_ids(runner: Runner, pid: int) -> None:
    """Map the holder's ids: for root its own, one to one; else this user and its ranges."""
    if os.geteuid() == 0:
        for kind in ("uid", "gid"):
            ranges = identity_ranges(Path(f"/proc/self/{kind}_map").read_text())
            _write_map(Path(f"/proc/{pid}/{kind}_map"), ranges)
        return
    user = user_name()
    for kind, own in (("uid", os.getuid()), ("gid", os.getgid())):
        ranges = (IdRange(0, own, 1), *subordinate_ranges(user, kind))
        if len(ranges) == 1:
            raise too_few_ids(1)
        numbers = " ".join(map(str, ranges)).split()
        try:
            runner(f"new{kind}map", str(pid), *numbers)
        except CommandError as error:
            raise ToolError(
                f"new{kind}map refused to map the ids of {user}: {' '.join(error.details)}",
                hint=f"{ids_command(user)}; it must be installed set-user-ID root",
            ) from None
        except ToolError:
            raise too_few_ids(1) from None


def _write_map(path: Path, ranges: Sequence[IdRange]) -> None:
    try:
        path.write_text("".join(f"{found}\n" for found in ranges))
    except OSError as error:
        raise ToolError(
            f"root may not map ids here ({path}: {error.strerror})",
            hint="this container lacks CAP_SETUID and CAP_SETGID; run podbuild as an ordinary "
            "user or give it these",
        ) from None


def identity_ranges(text: str) -> tuple[IdRange, ...]:
    r"""Give the one-to-one map over exactly the ids that a /proc/self/uid_map has.

    >>> [str(found) for found in identity_ranges("0 1000 1\n1 100000 65536\n")]
    ['0 0 1', '1 1 65536']
    """
    rows = (map(int, line.split()) for line in text.splitlines())
    return tuple(IdRange(inside, inside, count) for inside, _outside, count in rows)


def subordinate_ranges(user: str, kind: str, folder: Path = Path("/etc")) -> tuple[IdRange, ...]:
    """Give the map of a user's subordinate ids, from id 1 on (subuid(5), subgid(5))."""
    path = folder / f"sub{kind}"
    text = path.read_text() if path.exists() else ""
    return parse_subordinate(text, (user, str(os.getuid())))


def parse_subordinate(text: str, owners: Sequence[str]) -> tuple[IdRange, ...]:
    r"""Give the map for the lines of these owners; a line that is none is left out.

    >>> [str(found) for found in parse_subordinate("ci:100000:65536\nci:300000:10\n", ["ci"])]
    ['1 100000 65536', '65537 300000 10']
    """
    found: list[IdRange] = []
    inside = 1
    for line in text.splitlines():
        match line.strip().split(":"):
            case [owner, start, count] if owner in owners and start.isdigit() and count.isdigit():
                found.append(IdRange(inside, int(start), int(count)))
                inside += int(count)
            case _:
                continue
    return tuple(found)


def user_name() -> str:
    """Give the name of this user; its number where there is no name (containers)."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def ids_command(user: str) -> str:
    """Give the command, for root, that lets a user map ids."""
    return (
        "as root: apt-get install uidmap && "
        f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
    )


def too_few_ids(ids: int) -> ToolError:
    """Give the error for a machine that maps only so many ids."""
    user = user_name()
    return ToolError(
        f"user {user} can map {ids} user {'id' if ids == 1 else 'ids'}, images need {MIN_IDS}",
        hint=ids_command(user),
    )
