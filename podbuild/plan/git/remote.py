"""The URL of a remote, as it may be shown and published."""

from __future__ import annotations

import re

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_END = re.compile(r"[/?#]")  # of the authority, RFC 3986 §3.2
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^:\[\]\\%]*)(?::\d*)?")


def public_url(remote: str) -> str:
    """Give a remote's URL or path without login, query and fragment.

    A login ends with the last `@`. Where nobody can tell what belongs to it, only the scheme is
    left.

    >>> public_url("https://user:p@ss@example.com/acme/shop.git?private_token=x#y")
    'https://example.com/acme/shop.git'
    >>> public_url("git@github.com:acme/shop.git")
    'github.com:acme/shop.git'
    """
    found = _SCHEME.match(remote)
    scheme, rest = (found[0], remote[found.end() :]) if found else ("", remote)
    if not scheme and rest.startswith(("/", ".")):
        return rest  # a path, where `@` and `?` are ordinary
    end = _END.search(rest)
    authority, tail = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    _, login, host = authority.rpartition("@")
    is_odd = bool(scheme) and not _HOST.fullmatch(host)
    if "@" in tail and (login or is_odd):
        return scheme  # a password may hold `/`, `?` and `#`; so may what comes after it hold `@`
    return scheme if is_odd else scheme + host + re.split(r"[?#]", tail, maxsplit=1)[0]
